// SPDX-License-Identifier: Apache-2.0
use serde_json::{Value, json};

use super::*;

fn view(object: Value) -> ServiceView {
    ServiceView::from(&serde_json::from_value::<Service>(object).unwrap())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn entries_keep_what_was_found_where() {
    let view = view(json!({
        "metadata": {"namespace": "prod", "name": "web", "labels": {"a": "b"}},
        "spec": {"externalIPs": ["10.0.0.1", "010.0.0.2"], "loadBalancerClass": "io.cilium/l2-announcer"},
        "status": {"loadBalancer": {"ingress": [
            {"ip": "192.168.99.130", "ipMode": "VIP"},
            {"ip": "fd00::1"},
            {"ip": "192.168.99.131", "ipMode": "Proxy"},
            {"hostname": "lb.example.com"},
            {"ip": "192.168.99.132", "hostname": "both.example.com"},
            {"ip": "", "hostname": "empty.example.com"},
            {},
            {"ip": "192.168.99.300", "ipMode": "Proxy"},
        ]}},
    }));
    assert_eq!(view.key.to_string(), "prod/web");
    assert_eq!(view.load_balancer_class.as_deref(), Some("io.cilium/l2-announcer"));
    let balanced = |text| AddressEntry::Address(ip(text), AddressSource::LoadBalancer);
    assert_eq!(
        view.entries,
        [
            AddressEntry::Address(ip("10.0.0.1"), AddressSource::External),
            AddressEntry::Unreadable("010.0.0.2".into()),
            balanced("192.168.99.130"),
            balanced("fd00::1"),
            AddressEntry::Proxy(ip("192.168.99.131")),
            AddressEntry::Hostname("lb.example.com".into()),
            balanced("192.168.99.132"),
            AddressEntry::Hostname("empty.example.com".into()),
            AddressEntry::Unreadable("192.168.99.300".into()),
        ]
    );
}

#[test]
fn a_bare_service_has_no_entries() {
    let view = view(json!({"metadata": {"namespace": "a", "name": "b"}}));
    assert!(view.entries.is_empty() && view.labels.is_empty() && !view.opted_out);
}

#[test]
fn only_the_policy_local_binds_a_service_to_its_endpoints() {
    for (policy, expected) in [(json!("Local"), true), (json!("Cluster"), false), (Value::Null, false)] {
        assert_eq!(view(json!({"spec": {"externalTrafficPolicy": policy}})).local, expected);
    }
}

#[test]
fn only_the_word_false_opts_out() {
    for (value, expected) in [("false", true), ("true", false), ("False", false), ("", false)] {
        let view = view(json!({"metadata": {"annotations": {ANNOUNCE: value}}}));
        assert_eq!(view.opted_out, expected, "{value:?}");
    }
}

#[test]
fn pseudo_labels_win_over_labels_of_the_same_name() {
    let view = view(json!({"metadata": {
        "namespace": "prod", "name": "web", "labels": {NAME_LABEL: "fake", NAMESPACE_LABEL: "fake", "a": "b"},
    }}));
    assert_eq!(view.label(NAME_LABEL), Some("web"));
    assert_eq!(view.label(NAMESPACE_LABEL), Some("prod"));
    assert_eq!(view.label("a"), Some("b"));
    assert_eq!(view.label("c"), None);
}

#[test]
fn keys_do_not_collide_when_their_texts_would() {
    assert_ne!(ServiceKey::new("a-b", "c"), ServiceKey::new("a", "b-c"));
    assert_ne!(ServiceKey::new("a-b", "c").to_string(), ServiceKey::new("a", "b-c").to_string());
}
