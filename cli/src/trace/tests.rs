// SPDX-License-Identifier: Apache-2.0
use serde_json::{Value, json};

use super::*;
use crate::{
    fixtures::{object, objects, remove, snapshot, story, traces},
    snapshot::Snapshot,
};

const SERVICE: &str = "cilium-gateway-cd-arp-gw";
const POLICY: (&str, &str) = ("CiliumL2AnnouncementPolicy", "mdhlabs-layer2-policy");
const POLICY_ID: &str = "CiliumL2AnnouncementPolicy/mdhlabs-layer2-policy";
const CLAIM: &str = "gateherald-vip-192.168.99.128";
const SESSION: &str = "gateherald-node-worker-1";

/// The link that breaks, what breaks it, and the object, the field and the words that mend it.
struct Break {
    link: LinkKind,
    by: fn(&mut Vec<Value>),
    object: &'static str,
    field: &'static str,
    mend: &'static str,
}

fn unclaimed(o: &mut Vec<Value>) {
    remove(o, "Lease", CLAIM);
}

const BREAKS: &[Break] = &[
    Break {
        link: LinkKind::Service,
        by: |o| {
            remove(o, "Service", SERVICE);
            object(o, "Gateway", "cd-arp-gw")["spec"]["gatewayClassName"] = json!("cillium");
        },
        object: "Gateway prod/cd-arp-gw",
        field: "spec.gatewayClassName",
        mend: "to \"cilium\"",
    },
    Break {
        link: LinkKind::Labels,
        by: |o| {
            unclaimed(o);
            let metadata = &mut object(o, "Service", SERVICE)["metadata"];
            (metadata["labels"], metadata["annotations"]) = (json!({}), json!({}));
        },
        object: "Service prod/cilium-gateway-cd-arp-gw",
        field: "metadata.labels[mdhlabs-arp]",
        mend: "kubectl label service -n prod cilium-gateway-cd-arp-gw mdhlabs-arp=enable",
    },
    Break {
        link: LinkKind::Pool,
        by: |o| {
            unclaimed(o);
            object(o, "Service", SERVICE)["status"] = json!({});
            object(o, "CiliumLoadBalancerIPPool", "mdhlabs-pool")["spec"]["serviceSelector"]["matchLabels"] =
                json!({ "mdhlabs-arp": "enabled" });
        },
        object: "CiliumLoadBalancerIPPool/mdhlabs-pool",
        field: "spec.serviceSelector.matchLabels[mdhlabs-arp]",
        mend: "to \"enable\"",
    },
    Break {
        link: LinkKind::Policy,
        by: |o| {
            unclaimed(o);
            let metadata = &mut object(o, "Service", SERVICE)["metadata"];
            metadata["labels"] = json!({ "mdhlabs-arp": "enabled" });
            metadata["annotations"] =
                json!({ "gateherald.io/injected-labels": "{\"mdhlabs-arp\":\"enabled\"}" });
            object(o, "Gateway", "cd-arp-gw")["metadata"]["labels"] = json!({ "mdhlabs-arp": "enabled" });
            object(o, "CiliumLoadBalancerIPPool", "mdhlabs-pool")["spec"]["serviceSelector"] = json!({});
        },
        object: POLICY_ID,
        field: "spec.serviceSelector.matchLabels[mdhlabs-arp]",
        mend: "Set metadata.labels[mdhlabs-arp] of Gateway prod/cd-arp-gw to \"enable\"",
    },
    Break {
        link: LinkKind::Address,
        by: |o| {
            unclaimed(o);
            object(o, POLICY.0, POLICY.1)["spec"]["loadBalancerIPs"] = json!(false);
        },
        object: POLICY_ID,
        field: "spec.loadBalancerIPs",
        mend: "Set spec.loadBalancerIPs of CiliumL2AnnouncementPolicy/mdhlabs-layer2-policy to true.",
    },
    Break {
        link: LinkKind::Claim,
        by: unclaimed,
        object: "Lease gateherald-vip-192.168.99.128",
        field: "spec.holderIdentity",
        mend: "/vips",
    },
    Break {
        link: LinkKind::Session,
        by: |o| {
            unclaimed(o);
            remove(o, "Lease", SESSION);
        },
        object: "DaemonSet gateherald-system/gateherald-announcer",
        field: "status.numberReady",
        mend: "has a ready pod on worker-1",
    },
    Break {
        link: LinkKind::Node,
        by: |o| {
            unclaimed(o);
            object(o, POLICY.0, POLICY.1)["spec"]["nodeSelector"] =
                json!({ "matchLabels": { "kubernetes.io/hostname": "woker-1" } });
        },
        object: POLICY_ID,
        field: "spec.nodeSelector.matchLabels[kubernetes.io/hostname]",
        mend: "to kubernetes.io/hostname=worker-1, which Node worker-1 has",
    },
    Break {
        link: LinkKind::Interface,
        by: |o| {
            unclaimed(o);
            let notes = &mut object(o, "Lease", SESSION)["metadata"]["annotations"];
            (notes["gateherald.io/policies"], notes["gateherald.io/links"]) = (json!("[]"), json!("[]"));
            o.push(json!({
                "node": "worker-1",
                "notAnnounced": [{
                    "reason": "NoInterface", "service": "prod/cilium-gateway-cd-arp-gw", "address": "192.168.99.128",
                    "detail": "NoInterface: enp1s0: NotMatched, lo: NotMatched",
                }],
            }));
        },
        object: POLICY_ID,
        field: "spec.interfaces",
        mend: "matches the interface on the local network: enp1s0.",
    },
];

fn only(snapshot: &Snapshot) -> Trace {
    let mut traces = traces(snapshot);
    assert_eq!(traces.len(), 1, "{traces:?}");
    traces.remove(0)
}

#[test]
fn a_chain_without_a_break_is_good_from_end_to_end() {
    let trace = only(&snapshot(&objects()));
    for link in trace.links() {
        assert_eq!(link.state, State::Good, "{link:?}");
    }
    assert_eq!(trace.addresses[0].holding.node.as_deref(), Some("worker-1"));
    assert_eq!(trace.addresses[0].holding.interfaces, ["ens18"]);
}

#[test]
fn each_link_that_breaks_is_named_alone_with_the_field_that_mends_it() {
    for case in BREAKS {
        let trace = only(&story(case.by));
        let broken: Vec<&Link> = trace.links().filter(|link| link.state == State::Broken).collect();
        let kinds: Vec<LinkKind> = broken.iter().map(|link| link.kind).collect();
        assert_eq!(kinds, [case.link], "{trace:#?}");
        let finding = &broken[0].findings[0];
        assert_eq!(
            (finding.object.as_str(), finding.field.as_str()),
            (case.object, case.field),
            "{finding:?}"
        );
        assert!(finding.mend.contains(case.mend), "{finding:?}");
    }
}

#[test]
fn what_follows_from_a_break_waits_and_is_no_break_of_its_own() {
    let labels = only(&story(BREAKS[1].by));
    assert_eq!((labels.pool.state, labels.policy.state), (State::Waiting, State::Waiting));
    let pool = only(&story(BREAKS[2].by));
    assert_eq!(pool.addresses[0].to_address.state, State::Waiting);
    let node = only(&story(BREAKS[7].by));
    assert_eq!(node.addresses[0].claim.state, State::Waiting);
}

#[test]
fn a_selector_that_no_word_mends_says_what_it_asks_for() {
    let trace = only(&story(|o| {
        unclaimed(o);
        object(o, POLICY.0, POLICY.1)["spec"]["serviceSelector"]["matchLabels"] = json!({ "tier": "edge" });
    }));
    let finding = &trace.policy.findings[0];
    assert_eq!(finding.object, "Service prod/cilium-gateway-cd-arp-gw");
    assert!(
        finding.mend.contains("Label Gateway prod/cd-arp-gw") && finding.mend.contains("tier=edge"),
        "{finding:?}"
    );
}

#[test]
fn a_node_selector_that_excludes_all_nodes_says_what_the_nearest_lacks() {
    let trace = only(&story(|o| {
        unclaimed(o);
        object(o, POLICY.0, POLICY.1)["spec"]["nodeSelector"] = json!({ "matchLabels": { "lan": "yes" } });
    }));
    let finding = &trace.addresses[0].node.findings[0];
    assert!(finding.says.contains("lan=yes excludes all 2 nodes"), "{finding:?}");
    assert!(finding.mend.contains("lacks lan=yes"), "{finding:?}");
}

#[test]
fn interfaces_that_no_announcer_told_are_not_guessed() {
    let trace = only(&story(|o| {
        unclaimed(o);
        let notes = &mut object(o, "Lease", SESSION)["metadata"]["annotations"];
        (notes["gateherald.io/policies"], notes["gateherald.io/links"]) = (json!("[]"), json!("[]"));
    }));
    let finding = &trace.addresses[0].interface.findings[0];
    assert!(finding.says.contains("ens18 matches no interface of worker-1"), "{finding:?}");
    assert!(!finding.says.contains("there is"), "{finding:?}");
}

#[test]
fn what_could_not_be_read_is_unknown_and_not_broken() {
    let mut snapshot = snapshot(&objects());
    snapshot.leases =
        crate::snapshot::Listing::missing(crate::snapshot::Gap::Denied("list leases".to_owned()));
    let trace = only(&snapshot);
    assert_eq!(trace.state(), State::Unknown);
    assert!(trace.addresses[0].claim.says.contains("needs the right to list leases"));
}

#[test]
fn cilium_that_announces_itself_is_left_to_it() {
    let trace = only(&story(|o| {
        unclaimed(o);
        object(o, "ConfigMap", "cilium-config")["data"]["enable-l2-announcements"] = json!("true");
    }));
    assert_eq!(trace.addresses[0].claim.state, State::Unknown);
    assert!(trace.addresses[0].claim.says.contains("Cilium announces it"));
}

#[test]
fn a_service_without_a_gateway_that_nobody_selects_is_a_warning() {
    let snapshot = story(|o| {
        o.push(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "namespace": "other", "name": "web" },
            "spec": { "type": "LoadBalancer" },
            "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.9" }] } },
        }));
    });
    let traces = traces(&snapshot);
    let web = traces.iter().find(|trace| trace.gateway.is_none()).unwrap();
    assert_eq!(web.state(), State::Warning, "{web:#?}");
}

#[test]
fn internal_services_have_no_chain() {
    let snapshot = story(|o| {
        o.push(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "namespace": "other", "name": "db" },
            "spec": { "type": "ClusterIP" },
        }));
    });
    assert_eq!(traces(&snapshot).len(), 1);
}

#[test]
fn an_address_of_an_earlier_pool_is_told() {
    let trace = only(&story(|o| {
        object(o, "CiliumLoadBalancerIPPool", "mdhlabs-pool")["spec"]["blocks"] =
            json!([{ "cidr": "192.168.98.0/24" }]);
        o.push(json!({
            "apiVersion": "cilium.io/v2", "kind": "CiliumLoadBalancerIPPool", "metadata": { "name": "default" },
            "spec": { "blocks": [{ "cidr": "192.168.99.0/24" }], "serviceSelector": { "matchLabels": { "a": "b" } } },
        }));
    }));
    assert_eq!(trace.pool.state, State::Warning);
    assert!(trace.pool.says.contains("is of CiliumLoadBalancerIPPool/default"), "{:?}", trace.pool);
}
