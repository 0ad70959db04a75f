// SPDX-License-Identifier: Apache-2.0
use serde_json::{Value, json};

use super::*;
use crate::{
    address::NotVirtual,
    policy::{PolicyKind, PolicyVersion},
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn id(name: &str) -> PolicyId {
    PolicyId::new(PolicyKind::Gateherald, name)
}

fn policies(specs: &[(&str, Value)]) -> Policies {
    let mut policies = Policies::default();
    for (name, spec) in specs {
        policies.apply(id(name), PolicyVersion::from(&serde_json::from_value(spec.clone()).unwrap()));
    }
    policies
}

fn node(name: &str, labels: &[(&str, &str)]) -> NodeView {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let addresses = vec![ip("192.168.99.11")];
    NodeView { name: name.to_owned(), labels, addresses, ..NodeView::default() }
}

fn service(name: &str, spec: &Value, addresses: &[&str]) -> ServiceView {
    let ingress: Vec<_> = addresses.iter().map(|ip| json!({ "ip": ip })).collect();
    let object = json!({
        "metadata": { "namespace": "prod", "name": name, "labels": { "app": name } },
        "spec": spec, "status": { "loadBalancer": { "ingress": ingress } },
    });
    ServiceView::from(&serde_json::from_value::<k8s_openapi::api::core::v1::Service>(object).unwrap())
}

fn overview(policies: &Policies, nodes: &[NodeView], services: &[ServiceView]) -> Overview {
    let addresses = nodes.iter().flat_map(|node| node.addresses.iter().map(|a| (node.name.as_str(), *a)));
    let taken = Taken::new(addresses, &[]);
    Overview::new(policies, &Rules::default(), nodes.iter(), &taken, services.iter())
}

#[test]
fn services_addresses_and_nodes_are_counted_for_each_policy() {
    let policies = policies(&[
        ("all", json!({ "loadBalancerIPs": true })),
        (
            "web",
            json!({
                "loadBalancerIPs": true,
                "serviceSelector": { "matchLabels": { "app": "web" } },
                "nodeSelector": { "matchLabels": { "zone": "a" } },
            }),
        ),
        ("none", json!({ "loadBalancerIPs": true, "nodeSelector": { "matchLabels": { "zone": "x" } } })),
    ]);
    let nodes = [
        node("n1", &[("zone", "a")]),
        node("n2", &[("zone", "b")]),
        node("n3", &[("zone", "a"), ("gateherald.io/announce", "false")]),
    ];
    let services =
        [service("web", &json!({}), &["192.168.99.128"]), service("dns", &json!({}), &["192.168.99.128"])];
    let overview = overview(&policies, &nodes, &services);
    let counts = |name| {
        let selection = &overview.policies[&id(name)];
        (selection.services, selection.addresses.len(), selection.nodes.len())
    };
    assert_eq!((counts("all"), counts("web"), counts("none")), ((2, 1, 2), (1, 1, 1), (2, 1, 0)));
    let selected = &overview.addresses[&ip("192.168.99.128")];
    assert_eq!(selected.services.len(), 2);
    assert_eq!(overview.eligible(selected), BTreeSet::from(["n1", "n2"]));
    assert!(overview.refused.is_empty());
}

#[test]
fn what_nobody_can_announce_is_refused_with_its_reason_and_what_nobody_meant_is_not() {
    let policies = policies(&[
        ("a", json!({ "loadBalancerIPs": true, "addresses": ["192.168.99.0/24"] })),
        ("b", json!({ "loadBalancerIPs": true, "addresses": ["10.0.0.0/8"] })),
    ]);
    let services = [
        service("node", &json!({}), &["192.168.99.11"]),
        service("outside", &json!({}), &["172.16.0.1"]),
        service("one-of-two", &json!({}), &["10.1.2.3"]),
        service("external", &json!({ "externalIPs": ["192.168.99.7"] }), &[]),
        service("other-class", &json!({ "loadBalancerClass": "other" }), &["172.16.0.1"]),
        service("waiting", &json!({}), &[]),
    ];
    let overview = overview(&policies, &[node("n1", &[])], &services);
    let refused: Vec<_> =
        overview.refused.iter().map(|r| (r.service.name.as_str(), r.address, r.why.clone())).collect();
    let taken = Why::NotAVirtualAddress(NotVirtual::NodeAddress("n1".into()));
    assert_eq!(
        refused,
        [
            ("node", Some(ip("192.168.99.11")), taken),
            ("outside", Some(ip("172.16.0.1")), Why::OutsideAddresses)
        ]
    );
    assert_eq!(overview.addresses.keys().copied().collect::<Vec<_>>(), [ip("10.1.2.3")]);
}

#[test]
fn policies_that_are_left_alone_select_nothing() {
    let mut policies = Policies::default();
    let spec = serde_json::from_value(json!({ "loadBalancerIPs": true })).unwrap();
    policies.apply(PolicyId::new(PolicyKind::Cilium, "theirs"), &spec);
    policies.set_aside(PolicyKind::Cilium, Some("Cilium announces itself".to_owned()));
    let overview =
        overview(&policies, &[node("n1", &[])], &[service("web", &json!({}), &["192.168.99.128"])]);
    assert_eq!(overview, Overview::default());
}
