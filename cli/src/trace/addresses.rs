// SPDX-License-Identifier: Apache-2.0
//! From pool and policy to the address.

use std::net::IpAddr;

use gateherald_model::{
    announcement::{NotAnnounced, Why},
    policy::PolicyId,
    service::{ANNOUNCE, ServiceKey},
};

use super::{AddressTrace, Holding, Link, LinkKind, holding};
use crate::{
    finding::Finding,
    picture::{Picture, ServiceFacts},
};

/// One chain per address; one without an address when there is none.
pub(super) fn all(
    picture: &Picture<'_>,
    facts: &ServiceFacts<'_>,
    pool: &Link,
    policy: &Link,
    selecting: &[&PolicyId],
) -> Vec<AddressTrace> {
    let mut addresses: Vec<IpAddr> = facts.addresses().collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return vec![without_address(picture, facts, pool)];
    }
    addresses.into_iter().map(|address| one(picture, facts, policy, selecting, address)).collect()
}

fn one(
    picture: &Picture<'_>,
    facts: &ServiceFacts<'_>,
    policy: &Link,
    selecting: &[&PolicyId],
    address: IpAddr,
) -> AddressTrace {
    let announcing = picture.announcing(facts, address);
    let to_address = if !announcing.is_empty() {
        Link::good(LinkKind::Address, "")
    } else if selecting.is_empty() {
        let says = if policy.holds() { "no policy could be read" } else { "no policy selects its Service" };
        Link { state: policy.state.min(super::State::Waiting), ..Link::good(LinkKind::Address, says) }
    } else {
        Link::judged(LinkKind::Address, "", refused(picture, &facts.view.key, address))
    };
    let to_address = match to_address.findings.first() {
        Some(first) => Link { says: first.says.clone(), ..to_address },
        None => to_address,
    };
    holding::of_address(picture, facts, address, &announcing, to_address)
}

fn refused(picture: &Picture<'_>, service: &ServiceKey, address: IpAddr) -> Vec<Finding> {
    let about = |r: &&NotAnnounced| r.address.is_none() || r.address == Some(address);
    picture.refusals(service).iter().filter(about).map(|r| finding(picture, service, r)).collect()
}

fn without_address(picture: &Picture<'_>, facts: &ServiceFacts<'_>, pool: &Link) -> AddressTrace {
    let kind = LinkKind::Address;
    let service = format!("Service {}", facts.view.key);
    let entries: Vec<Finding> = picture
        .refusals(&facts.view.key)
        .iter()
        .filter(|r| !matches!(r.why, Why::NoAddress | Why::NoPolicy))
        .map(|refusal| finding(picture, &facts.view.key, refusal))
        .collect();
    let to_address = if !entries.is_empty() {
        Link::judged(kind, entries[0].says.clone(), entries)
    } else if !facts.wants_an_address() {
        let finding = Finding::warning(34, service.clone(), "spec.type")
            .says(format!("a Service of type {} gets no address", facts.kind()))
            .mend(format!("Set spec.type of {service} to LoadBalancer where its controller is configured."));
        Link::found(kind, finding)
    } else if pool.holds() {
        let finding = Finding::error(34, service.clone(), "status.loadBalancer.ingress")
            .says(format!("it has no address{}", ipam(facts)))
            .mend(format!(
                "See that the allocator runs and that its pool has free addresses: the conditions in status.conditions \
                 of {service}."
            ));
        Link::found(kind, finding)
    } else {
        Link::waiting(kind, "no pool selects its Service")
    };
    let after = |kind| Link::waiting(kind, "there is no address yet");
    AddressTrace {
        address: None,
        to_address,
        claim: after(LinkKind::Claim),
        session: after(LinkKind::Session),
        node: after(LinkKind::Node),
        interface: after(LinkKind::Interface),
        holding: Holding::default(),
    }
}

/// What the allocator says itself.
fn ipam(facts: &ServiceFacts<'_>) -> String {
    let conditions =
        facts.object.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let bad = conditions.iter().find(|c| c.status == "False");
    bad.map_or_else(String::new, |c| format!(" ({}: {})", c.reason, c.message))
}

/// A refusal of the model as something that can be mended.
fn finding(picture: &Picture<'_>, service: &ServiceKey, refusal: &NotAnnounced) -> Finding {
    let object = format!("Service {service}");
    let policy = refusal.policy.as_ref().map_or_else(String::new, ToString::to_string);
    let address = refusal.address.map_or_else(String::new, |address| address.to_string());
    let says =
        if address.is_empty() { refusal.why.to_string() } else { format!("{address}: {}", refusal.why) };
    let policy_field = |field: &str, value: &str| {
        Finding::error(35, policy.clone(), field).mend(format!("Set {field} of {policy} to {value}."))
    };
    let finding = match &refusal.why {
        Why::ServiceOptedOut => Finding::warning(48, object.clone(), format!("metadata.annotations[{ANNOUNCE}]"))
            .mend(format!("Remove the annotation {ANNOUNCE} from {object}.")),
        Why::OtherLoadBalancerClass(class) => Finding::error(33, object.clone(), "spec.loadBalancerClass").mend(format!(
            "Make {object} again without spec.loadBalancerClass, or add {class:?} to announcer.loadBalancerClasses of the \
             chart."
        )),
        Why::HostnameOnly(_) | Why::BadAddress(_) => {
            Finding::error(34, object.clone(), "status.loadBalancer.ingress[].ip")
                .mend("Use an allocator that writes addresses: Cilium's LB-IPAM or MetalLB's controller.")
        }
        Why::IpModeProxy => Finding::warning(35, object.clone(), "status.loadBalancer.ingress[].ipMode")
            .mend("Nothing: clients reach such an address through a proxy."),
        Why::ExternalIpsOff => policy_field("spec.externalIPs", "true"),
        Why::LoadBalancerIpsOff | Why::SelectsNothing => policy_field("spec.loadBalancerIPs", "true"),
        Why::OutsideAddresses => policy_field("spec.addresses", &format!("networks with {address}")),
        Why::OutsideExternalIpCidrs => {
            let set = picture.settings.announcer.as_deref().unwrap_or("gateherald-announcer");
            Finding::error(35, format!("DaemonSet {set}"), "--external-ip-cidrs").mend(format!(
                "Add a network with {address} to --external-ip-cidrs of DaemonSet {set} (announcer.externalIpCidrs of the \
                 chart)."
            ))
        }
        Why::NotAVirtualAddress(_) => {
            Finding::error(35, object.clone(), "status.loadBalancer.ingress[].ip").mend(format!(
                "Give {object} an address that nobody else has: it is announced by nobody."
            ))
        }
        _ => Finding::error(35, object.clone(), "").mend(format!("See {}.", refusal.why.name())),
    };
    finding.says(says)
}
