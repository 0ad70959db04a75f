// SPDX-License-Identifier: Apache-2.0
use serde_json::json;

use super::*;
use crate::{
    address::Taken,
    announcement::{Rules, evaluate},
    endpoints::{Endpoints, SliceKey, SliceView},
    interfaces::{Family, Link},
    node::NodeView,
    policy::{Policies, PolicyId, PolicyKind},
    service::ServiceView,
};

const VIP: &str = "192.168.99.130";
const VIP6: &str = "fd00:99::130";

/// A Service with the one address, and where its endpoints are: `None` for the external traffic policy Cluster.
type Sharer<'a> = (&'a str, Option<&'a str>);

fn service(name: &str, local: bool) -> ServiceView {
    let policy = if local { "Local" } else { "Cluster" };
    let object = json!({
        "metadata": { "namespace": "prod", "name": name },
        "spec": { "externalTrafficPolicy": policy },
        "status": { "loadBalancer": { "ingress": [{ "ip": VIP }, { "ip": VIP6 }] } },
    });
    ServiceView::from(&serde_json::from_value::<k8s_openapi::api::core::v1::Service>(object).unwrap())
}

/// IPv4 endpoints: `n1 n2`, `-` for one on no node, `n1!` for one that is not ready, `n1~` for one that still serves.
fn slice(service: &str, endpoints: &str) -> (SliceKey, SliceView) {
    let mut view = SliceView {
        service: Some(ServiceKey::new("prod", service)),
        family: Some(Family::V4),
        ..SliceView::default()
    };
    for endpoint in endpoints.split_whitespace() {
        view.placed |= endpoint != "-";
        view.unplaced |= endpoint == "-";
        if let Some(node) = endpoint.strip_suffix('~') {
            view.draining.insert(node.to_owned());
        } else if endpoint != "-" && !endpoint.ends_with('!') {
            view.ready.insert(endpoint.to_owned());
        }
    }
    (SliceKey { namespace: "prod".to_owned(), name: format!("{service}-1") }, view)
}

/// What the node says of the IPv4 address: the Services that it is announced for, and the refusals.
fn seen_from(node: &str, sharers: &[Sharer<'_>], known: bool) -> (Vec<String>, Vec<String>) {
    let spec = serde_json::from_value(json!({ "interfaces": ["^ens18$"], "loadBalancerIPs": true })).unwrap();
    let mut policies = Policies::default();
    policies.apply(PolicyId::new(PolicyKind::Gateherald, "p"), &spec);
    let links =
        [Link { index: 2, name: "ens18".into(), mac: Some([2, 0, 0, 0, 0, 1]), up: true, ..Link::default() }];
    let own = NodeView { name: node.to_owned(), ..NodeView::default() };
    let taken = Taken::new([], &links);
    let endpoints: Endpoints = sharers.iter().filter_map(|(name, at)| at.map(|at| slice(name, at))).collect();
    let inputs = Inputs {
        policies: &policies,
        rules: &Rules::default(),
        node: Some(&own),
        links: &links,
        taken: &taken,
        endpoints: if known { Ok(&endpoints) } else { Err("RBAC does not allow to list endpointslices") },
    };
    let views: Vec<ServiceView> = sharers.iter().map(|(name, at)| service(name, at.is_some())).collect();
    let evaluation = evaluate(&inputs, &views);
    let wanting = sharers.iter().filter(|(_, at)| at.is_some()).count();
    assert_eq!(evaluation.local.len(), wanting);
    let of = evaluation.desired.get(&VIP.parse().unwrap());
    let served = of.iter().flat_map(|desired| desired.services.iter().map(|key| key.name.clone())).collect();
    let refusals =
        evaluation.not_announced.iter().filter(|refused| refused.address == Some(VIP.parse().unwrap()));
    let text = |refused: &super::super::NotAnnounced| {
        format!("{}: {}", refused.service.as_ref().map_or("-", |key| &key.name), refused.why.name())
    };
    (served, refusals.map(text).collect())
}

#[test]
fn an_address_follows_the_endpoints_of_its_service() {
    for (endpoints, node, refusal) in [
        ("n1 n2", "n1", None),
        ("n1 n2", "n2", None),
        ("n1 n2", "n3", Some("web: NoLocalEndpoint")),
        ("", "n1", Some("web: NoEndpoints")),
        ("n1! n2!", "n1", Some("web: NoEndpoints")),
        ("n1~ n2", "n1", Some("web: NoLocalEndpoint")),
        ("n1~", "n1", None),
        ("n1~", "n2", Some("web: NoLocalEndpoint")),
        ("-", "n3", None),
        ("- n1", "n3", Some("web: NoLocalEndpoint")),
        ("- n1", "n1", None),
    ] {
        let (served, refusals) = seen_from(node, &[("web", Some(endpoints))], true);
        assert_eq!(refusals, Vec::from_iter(refusal), "{endpoints:?} from {node}");
        assert_eq!(served.is_empty(), refusal.is_some(), "{endpoints:?} from {node}");
    }
}

#[test]
fn what_is_not_known_is_not_announced_and_only_for_those_who_ask() {
    let (served, refusals) = seen_from("n1", &[("web", Some("n1"))], false);
    assert!(served.is_empty());
    assert_eq!(refusals, ["web: EndpointsUnknown"]);
    let (served, refusals) = seen_from("n1", &[("web", None)], false);
    assert_eq!((served.len(), refusals.len()), (1, 0));
    // Who shares the address shares its fate.
    let (served, refusals) = seen_from("n1", &[("a", None), ("b", Some("n1"))], false);
    assert!(served.is_empty());
    assert_eq!(refusals, ["a: EndpointsUnknown", "b: EndpointsUnknown"]);
}

/// Each row: the Services, and for each node whom it would announce the address for, and the refusals.
#[test]
fn services_that_share_an_address_share_the_choice_of_its_node() {
    type Row<'a> = (&'a [Sharer<'a>], &'a [(&'a str, &'a str, &'a str)]);
    let rows: [Row<'_>; 6] = [
        // Cluster is content with any node, so with the one that Local needs.
        (
            &[("a", None), ("b", Some("n1"))],
            &[("n1", "a b", ""), ("n2", "", "a: SharedElsewhere, b: NoLocalEndpoint")],
        ),
        // Without any endpoint a Service cannot be served anywhere, and does not take others down.
        (&[("a", None), ("b", Some("n1!"))], &[("n1", "a", "b: NoEndpoints"), ("n2", "a", "b: NoEndpoints")]),
        (
            &[("a", Some("-")), ("b", Some("n1"))],
            &[("n1", "a b", ""), ("n2", "", "a: SharedElsewhere, b: NoLocalEndpoint")],
        ),
        // Where all of them have endpoints.
        (
            &[("a", Some("n1 n2")), ("b", Some("n2 n3"))],
            &[
                ("n1", "", "a: NoLocalEndpoint, b: NoLocalEndpoint"),
                ("n2", "a b", ""),
                ("n3", "", "a: NoLocalEndpoint, b: NoLocalEndpoint"),
            ],
        ),
        // Nothing in common: the first one by name is served.
        (
            &[("a", Some("n1")), ("b", Some("n2"))],
            &[("n1", "a", "b: SharedElsewhere"), ("n2", "", "a: NoLocalEndpoint, b: SharedElsewhere")],
        ),
        (
            &[("a", Some("n1 n2")), ("b", Some("n3")), ("c", Some("n2"))],
            &[
                ("n1", "", "a: NoLocalEndpoint, b: SharedElsewhere, c: NoLocalEndpoint"),
                ("n2", "a c", "b: SharedElsewhere"),
                ("n3", "", "a: NoLocalEndpoint, b: SharedElsewhere, c: NoLocalEndpoint"),
            ],
        ),
    ];
    for (sharers, nodes) in rows {
        for (node, served, refusals) in nodes {
            let (found, refused) = seen_from(node, sharers, true);
            assert_eq!(
                (found.join(" "), refused.join(", ")),
                ((*served).to_owned(), (*refusals).to_owned()),
                "{node} {sharers:?}"
            );
        }
    }
}

#[test]
fn the_families_of_a_service_are_judged_apart() {
    // All endpoints are of IPv4: nobody can serve the IPv6 address.
    let spec = serde_json::from_value(json!({ "interfaces": ["^ens18$"], "loadBalancerIPs": true })).unwrap();
    let mut policies = Policies::default();
    policies.apply(PolicyId::new(PolicyKind::Gateherald, "p"), &spec);
    let links =
        [Link { index: 2, name: "ens18".into(), mac: Some([2, 0, 0, 0, 0, 1]), up: true, ..Link::default() }];
    let own = NodeView { name: "n1".to_owned(), ..NodeView::default() };
    let taken = Taken::new([], &links);
    let endpoints: Endpoints = [slice("web", "n1")].into_iter().collect();
    let inputs = Inputs {
        policies: &policies,
        rules: &Rules::default(),
        node: Some(&own),
        links: &links,
        taken: &taken,
        endpoints: Ok(&endpoints),
    };
    let evaluation = evaluate(&inputs, &[service("web", true)]);
    assert_eq!(evaluation.desired.keys().collect::<Vec<_>>(), [&VIP.parse::<IpAddr>().unwrap()]);
    let refused: Vec<_> = evaluation.not_announced.iter().map(|r| (r.address, r.why.name())).collect();
    assert_eq!(refused, [(Some(VIP6.parse().unwrap()), "NoEndpoints")]);
}
