// SPDX-License-Identifier: Apache-2.0
use serde_json::{Value, json};

use super::*;

fn key(name: &str) -> SliceKey {
    SliceKey { namespace: "prod".to_owned(), name: name.to_owned() }
}

fn slice(address_type: &str, endpoints: &Value) -> SliceView {
    let object = json!({
        "metadata": { "namespace": "prod", "name": "web-1", "labels": { SERVICE_NAME: "web" } },
        "addressType": address_type, "endpoints": endpoints,
    });
    SliceView::from(&serde_json::from_value::<EndpointSlice>(object).unwrap())
}

fn on(node: &str, conditions: &Value) -> Value {
    json!({ "addresses": ["10.0.0.1"], "nodeName": node, "conditions": conditions })
}

fn seen(slices: &[SliceView]) -> Endpoints {
    slices.iter().enumerate().map(|(i, slice)| (key(&format!("web-{i}")), slice.clone())).collect()
}

/// `nowhere`, `anywhere`, or the nodes.
fn of(slices: &[SliceView], family: Family) -> String {
    match seen(slices).of(&ServiceKey::new("prod", "web"), family) {
        Whereabouts::Nowhere => "nowhere".to_owned(),
        Whereabouts::Anywhere => "anywhere".to_owned(),
        Whereabouts::On(nodes) => nodes.into_iter().collect::<Vec<_>>().join(" "),
    }
}

#[test]
fn conditions_mean_what_they_mean_to_kube_proxy() {
    let ending = json!({ "ready": false, "serving": true, "terminating": true });
    for (conditions, expected) in [
        (json!({}), "n1"),
        (json!({ "ready": true, "serving": true, "terminating": false }), "n1"),
        // Without `ready` an endpoint is ready, whatever else is said.
        (json!({ "serving": false }), "n1"),
        (json!({ "ready": false }), "nowhere"),
        (json!({ "ready": false, "serving": true }), "nowhere"),
        (ending.clone(), "n1"),
        // Before `serving` was known: what terminates does not serve.
        (json!({ "ready": false, "terminating": true }), "nowhere"),
        (json!({ "ready": false, "serving": false, "terminating": true }), "nowhere"),
    ] {
        let slices = [slice("IPv4", &json!([on("n1", &conditions)]))];
        assert_eq!(of(&slices, Family::V4), expected, "{conditions}");
    }
    // What ends gets traffic only where nothing is ready.
    let both = [slice("IPv4", &json!([on("n1", &ending), on("n2", &json!({ "ready": true }))]))];
    assert_eq!(of(&both, Family::V4), "n2");
}

#[test]
fn all_slices_of_a_service_count_and_no_other() {
    let first = slice("IPv4", &json!([on("n1", &json!({})), on("n1", &json!({ "ready": false }))]));
    let second = slice("IPv4", &json!([on("n3", &json!({}))]));
    let other = SliceView {
        service: Some(ServiceKey::new("prod", "db")),
        ..slice("IPv4", &json!([on("n2", &json!({}))]))
    };
    let nobodys = SliceView { service: None, ..other.clone() };
    let elsewhere = SliceView { service: Some(ServiceKey::new("test", "web")), ..other.clone() };
    assert_eq!(of(&[first, second, other, nobodys, elsewhere], Family::V4), "n1 n3");
    assert_eq!(of(&[], Family::V4), "nowhere");
    assert_eq!(of(&[slice("IPv4", &json!([]))], Family::V4), "nowhere");
}

#[test]
fn each_family_has_its_own_endpoints() {
    let slices = [
        slice("IPv4", &json!([on("n1", &json!({}))])),
        slice("IPv6", &json!([on("n2", &json!({}))])),
        slice("FQDN", &json!([on("n3", &json!({}))])),
    ];
    assert_eq!(of(&slices, Family::V4), "n1");
    assert_eq!(of(&slices, Family::V6), "n2");
    assert_eq!(of(&slices[..1], Family::V6), "nowhere");
}

#[test]
fn endpoints_without_any_node_leave_the_choice_open() {
    let nowhere = json!({ "addresses": ["192.192.192.192"] });
    let dummy = slice("IPv4", &json!([nowhere]));
    assert_eq!(of(std::slice::from_ref(&dummy), Family::V4), "anywhere");
    assert_eq!(of(std::slice::from_ref(&dummy), Family::V6), "anywhere", "one dummy serves both families");
    let off = slice("IPv4", &json!([{ "addresses": ["192.192.192.192"], "conditions": { "ready": false } }]));
    assert_eq!(of(&[off], Family::V4), "nowhere");
    // One endpoint on a node, and those without are never local.
    let mixed = slice("IPv4", &json!([nowhere, on("n1", &json!({ "ready": false }))]));
    assert_eq!(of(&[mixed], Family::V4), "nowhere");
    let mixed = slice("IPv4", &json!([nowhere, on("n1", &json!({}))]));
    assert_eq!(of(&[dummy, mixed], Family::V4), "n1");
    assert_eq!(of(&[slice("FQDN", &json!([{ "addresses": ["a.example.com"] }]))], Family::V4), "nowhere");
}

#[test]
fn a_slice_that_changes_hands_or_goes_is_forgotten() {
    let web = ServiceKey::new("prod", "web");
    let mut endpoints = seen(&[slice("IPv4", &json!([on("n1", &json!({}))]))]);
    let moved = SliceView {
        service: Some(ServiceKey::new("prod", "db")),
        ..slice("IPv4", &json!([on("n2", &json!({}))]))
    };
    endpoints.set(key("web-0"), moved);
    assert_eq!(endpoints.of(&web, Family::V4), Whereabouts::Nowhere);
    endpoints.set(key("web-1"), slice("IPv4", &json!([on("n3", &json!({}))])));
    assert_eq!(endpoints.of(&web, Family::V4), Whereabouts::On(BTreeSet::from(["n3"])));
    endpoints.remove(&key("web-1"));
    endpoints.remove(&key("never-seen"));
    assert_eq!(endpoints.of(&web, Family::V4), Whereabouts::Nowhere);
    assert!(endpoints.by_service.len() == 1 && endpoints.get(&key("web-1")).is_none());
}
