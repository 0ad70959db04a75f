// SPDX-License-Identifier: Apache-2.0
//! Other programs that answer, or let others answer, for the same addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use gateherald_model::policy::PolicyKind;
use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Pod};
use serde_json::Value;

use super::Verdict;
use crate::{
    finding::Finding,
    picture::{Picture, ServiceFacts},
    snapshot::Named,
};

/// Annotations by which Services agree to share an address: Cilium's, its older name, MetalLB's.
const SHARING: [&str; 4] = [
    "lbipam.cilium.io/sharing-key",
    "io.cilium/lb-ipam-sharing-key",
    "metallb.io/allow-shared-ip",
    "metallb.universe.tf/allow-shared-ip",
];
/// A Lease that was renewed within this is alive; Cilium's last 15 s.
const FRESH: i64 = 60;

/// GH060.
pub(super) fn cilium(picture: &Picture<'_>) -> Verdict {
    let settings = &picture.settings;
    if !settings.cilium_announces {
        return Verdict::Found(Vec::new());
    }
    let config = "ConfigMap kube-system/cilium-config";
    let field = "data[enable-l2-announcements]";
    if settings.cilium_policies == "always" {
        return Verdict::Found(vec![
            Finding::error(60, config, field)
                .says("Cilium announces its policies itself, and --cilium-policies=always makes Gateherald do so too")
                .mend(format!("Set {field} of {config} to \"false\", or announcer.ciliumPolicies of the chart to auto.")),
        ]);
    }
    let both = |facts: &&ServiceFacts<'_>| {
        let kinds: Vec<PolicyKind> = picture.selecting(&facts.view).iter().map(|id| id.kind).collect();
        kinds.contains(&PolicyKind::Cilium) && kinds.contains(&PolicyKind::Gateherald)
    };
    if let Some(facts) = picture.services.values().find(both) {
        return Verdict::Found(vec![
            Finding::error(60, format!("Service {}", facts.view.key), "metadata.labels")
                .says("a policy of Cilium's and one of Gateherald's select it, and Cilium announces itself: two nodes answer")
                .mend(format!("Take it out of one of the policies, or set {field} of {config} to \"false\".")),
        ]);
    }
    if picture.specs.keys().all(|id| id.kind == PolicyKind::Gateherald) {
        return Verdict::Good("it is on, without policies".to_owned());
    }
    Verdict::Found(vec![
        Finding::warning(60, config, field)
            .says("Cilium announces its policies itself, so Gateherald leaves them alone")
            .mend(format!(
                "Nothing, or set {field} of {config} to \"false\" to let Gateherald announce them."
            )),
    ])
}

/// GH061.
pub(super) fn cilium_leases(picture: &Picture<'_>) -> Verdict {
    let now = picture.snapshot.now.as_second();
    let alive = |name: &str| {
        picture.snapshot.cilium_leases.items.iter().find(|lease| {
            let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
            lease.key().1 == name && renewed.is_some_and(|time| now - time.0.as_second() < FRESH)
        })
    };
    let finding = |facts: &ServiceFacts<'_>| {
        let key = &facts.view.key;
        let lease = alive(&format!("cilium-l2announce-{}-{}", key.namespace, key.name))?;
        let claim = facts.addresses().find_map(|address| picture.claims.get(&address))?;
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
        Some(
            Finding::error(61, format!("Lease {}", lease.full_name()), "spec.holderIdentity")
                .says(format!(
                    "Cilium on {holder} holds Service {key}, and Gateherald holds its address ({})",
                    claim.lease
                ))
                .mend(format!("Let one of them announce Service {key}: change the serviceSelector of the other's policy.")),
        )
    };
    Verdict::Found(picture.services.values().filter_map(finding).collect())
}

/// GH062.
pub(super) fn metallb(picture: &Picture<'_>) -> Verdict {
    Verdict::Found(running(picture, 62, "metallb/speaker", "speaker", "MetalLB's speaker").collect())
}

/// GH063.
pub(super) fn kube_vip(picture: &Picture<'_>) -> Verdict {
    let sets = running(picture, 63, "kube-vip", "kube-vip", "kube-vip");
    let is_one = |pod: &&Pod| {
        let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
        containers.iter().any(|c| c.image.as_deref().is_some_and(|image| image.contains("kube-vip")))
    };
    // On control planes it is a static pod, of no DaemonSet.
    let pods = picture.snapshot.pods.items.iter().filter(is_one).take(1);
    let pods = pods.map(|pod| beside(63, &format!("Pod {}", pod.full_name()), "kube-vip"));
    Verdict::Found(sets.chain(pods).collect())
}

fn running<'a>(
    picture: &'a Picture<'_>,
    code: u16,
    image: &'a str,
    container: &'a str,
    program: &'a str,
) -> impl Iterator<Item = Finding> + 'a {
    let is_one = move |set: &&DaemonSet| {
        let pod = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let containers = pod.map(|pod| pod.containers.as_slice()).unwrap_or_default();
        let named = |c: &k8s_openapi::api::core::v1::Container| {
            let text = c.image.as_deref().unwrap_or_default();
            text.contains(image)
                || (c.name == container && text.contains(image.split('/').next().unwrap_or(image)))
        };
        containers.iter().any(named)
    };
    let sets = picture.snapshot.daemon_sets.items.iter().filter(is_one);
    sets.map(move |set| beside(code, &format!("DaemonSet {}", set.full_name()), program))
}

fn beside(code: u16, object: &str, program: &str) -> Finding {
    Finding::warning(code, object, "spec.template.spec.containers")
        .says(format!("{program} runs beside: it may answer for the same addresses"))
        .mend(format!("Remove {object}, or give its Services a loadBalancerClass of their own."))
}

/// GH064.
pub(super) fn conflicts(picture: &Picture<'_>) -> Verdict {
    let mut findings = Vec::new();
    for page in &picture.snapshot.announcers {
        for entry in &page.addresses {
            let Some(conflict) = &entry.conflict else { continue };
            findings.push(used_elsewhere(
                entry.address,
                &format!(
                    "{} uses it too ({}), says the announcer on {}",
                    conflict.claimant, conflict.stage, page.node
                ),
            ));
        }
    }
    for event in
        picture.snapshot.events.items.iter().filter(|e| e.reason.as_deref() == Some("AddressConflict"))
    {
        let service = event.involved_object.name.clone().unwrap_or_default();
        let namespace = event.involved_object.namespace.clone().unwrap_or_default();
        findings.push(
            Finding::warning(64, format!("Service {namespace}/{service}"), "status.loadBalancer.ingress")
                .says(event.message.clone().unwrap_or_default())
                .mend("Find the host of that MAC and give it another address, or take the address out of the pool."),
        );
    }
    findings.extend(shared(picture));
    Verdict::Found(findings)
}

fn used_elsewhere(address: IpAddr, says: &str) -> Finding {
    Finding::error(64, format!("Lease gateherald-vip-{address}"), "")
        .says(says)
        .mend(format!("Give that host another address, or take {address} out of the pool."))
}

/// Services with one address that did not agree to share it.
fn shared(picture: &Picture<'_>) -> Vec<Finding> {
    let mut users: BTreeMap<IpAddr, Vec<&ServiceFacts<'_>>> = BTreeMap::new();
    for facts in picture.services.values() {
        for address in facts.addresses() {
            users.entry(address).or_default().push(facts);
        }
    }
    let key = |facts: &ServiceFacts<'_>| {
        SHARING.iter().find_map(|key| facts.metadata.annotations.get(*key).cloned())
    };
    let clash = |(address, users): (IpAddr, Vec<&ServiceFacts<'_>>)| {
        let [first, rest @ ..] = users.as_slice() else { return None };
        let other = rest.iter().find(|other| key(other).is_none() || key(other) != key(first))?;
        Some(
            Finding::warning(64, format!("Service {}", other.view.key), "status.loadBalancer.ingress")
                .says(format!(
                    "it has {address}, and Service {} has it too, without a common sharing key",
                    first.view.key
                ))
                .mend("Give both the same sharing key of their allocator, or one of them another address."),
        )
    };
    users.into_iter().filter_map(clash).collect()
}

/// GH065.
pub(super) fn single_api_server(picture: &Picture<'_>) -> Verdict {
    let slices = picture.snapshot.slices.items.iter().filter(|slice| {
        let service =
            slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
        slice.key().0 == "default" && service.is_some_and(|service| service == "kubernetes")
    });
    let servers: usize =
        slices.flat_map(|slice| &slice.endpoints).map(|endpoint| endpoint.addresses.len()).sum();
    if servers != 1 || !picture.settings.fence {
        return Verdict::Found(Vec::new());
    }
    let set = picture.settings.announcer.clone().unwrap_or_default();
    Verdict::Found(vec![
        Finding::warning(65, format!("DaemonSet {set}"), "--on-api-outage")
            .says("there is one API server, and fence silences every address while it restarts")
            .mend(format!(
                "Set --on-api-outage of DaemonSet {set} to hold (announcer.onApiOutage of the chart)."
            )),
    ])
}

/// GH066.
pub(super) fn kube_proxy(picture: &Picture<'_>) -> Verdict {
    let map = picture.snapshot.config_maps.items.iter().find(|map| map.key().1 == "kube-proxy");
    let Some(map) = map else { return Verdict::Good("its configuration is not in a ConfigMap".to_owned()) };
    let text = map.data.as_ref().and_then(|data| data.get("config.conf")).cloned().unwrap_or_default();
    let config: Value = serde_yaml_ng::from_str(&text).unwrap_or_default();
    if config["mode"] != "ipvs" || config["ipvs"]["strictARP"] == true {
        return Verdict::Found(Vec::new());
    }
    let object = format!("ConfigMap {}", map.full_name());
    Verdict::Found(vec![
        Finding::error(66, object.clone(), "data[config.conf] ipvs.strictARP")
            .says("kube-proxy is in IPVS mode without strictARP: every node answers ARP for every LoadBalancer address")
            .mend(format!("Set ipvs.strictARP in data[config.conf] of {object} to true, and restart kube-proxy.")),
    ])
}
