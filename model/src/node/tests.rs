// SPDX-License-Identifier: Apache-2.0
use serde_json::{Value, json};

use super::*;

fn view(object: Value) -> NodeView {
    NodeView::from(&serde_json::from_value::<Node>(object).unwrap())
}

#[test]
fn a_node_is_reduced_to_what_announcing_needs() {
    let view = view(json!({
        "metadata": {"name": "n1", "labels": {"zone": "a", EXCLUDE_LABEL: ""}},
        "spec": {"unschedulable": true},
        "status": {"addresses": [
            {"type": "InternalIP", "address": "192.168.99.11"},
            {"type": "InternalIP", "address": "fd00::11"},
            {"type": "Hostname", "address": "n1"},
        ]},
    }));
    assert_eq!(view.name, "n1");
    assert_eq!(view.addresses, ["192.168.99.11", "fd00::11"].map(|text| text.parse::<IpAddr>().unwrap()));
    assert!(view.excluded() && !view.opted_out() && !view.network_unavailable);
}

#[test]
fn network_unavailable_counts_only_when_true() {
    for (condition, status, expected) in [
        ("NetworkUnavailable", "True", true),
        ("NetworkUnavailable", "False", false),
        ("NetworkUnavailable", "Unknown", false),
        ("MemoryPressure", "True", false),
    ] {
        let view = view(json!({"status": {"conditions": [{"type": condition, "status": status}]}}));
        assert_eq!(view.network_unavailable, expected, "{condition} {status}");
    }
}

#[test]
fn only_the_word_false_takes_a_node_out() {
    for (value, expected) in [("false", true), ("true", false), ("", false)] {
        assert_eq!(
            view(json!({"metadata": {"labels": {ANNOUNCE: value}}})).opted_out(),
            expected,
            "{value:?}"
        );
    }
    assert!(!view(json!({})).opted_out());
}
