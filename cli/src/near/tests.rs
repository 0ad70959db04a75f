// SPDX-License-Identifier: Apache-2.0
use serde_json::json;

use super::*;

fn selector(value: serde_json::Value) -> LabelSelector {
    serde_json::from_value(value).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> LabelMap {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn missed(wanted: serde_json::Value, has: &[(&str, &str)]) -> Option<String> {
    let labels = labels(has);
    miss(&selector(wanted), &labels, &labels).map(|miss| format!("{}: {}", miss.field, miss.says()))
}

#[test]
fn one_letter_too_much_in_the_value_is_a_near_miss() {
    let wanted = json!({ "matchLabels": { "mdhlabs-arp": "enable" } });
    let says = "matchLabels[mdhlabs-arp]: it asks for mdhlabs-arp=enable, and there is mdhlabs-arp=enabled";
    assert_eq!(missed(wanted, &[("mdhlabs-arp", "enabled")]).as_deref(), Some(says));
}

#[test]
fn a_misspelt_key_is_a_near_miss_when_the_value_is_right() {
    let wanted = json!({ "matchLabels": { "mdhlabs-arp": "enable" } });
    assert!(missed(wanted.clone(), &[("mdhlab-arp", "enable")]).is_some());
    assert_eq!(missed(wanted, &[("mdhlab-arp", "yes")]), None);
}

#[test]
fn upper_case_is_a_near_miss() {
    let wanted =
        json!({ "matchExpressions": [{ "key": "tier", "operator": "In", "values": ["edge", "front"] }] });
    assert!(missed(wanted, &[("tier", "Edge")]).is_some());
}

#[test]
fn two_requirements_that_fail_are_no_near_miss() {
    let wanted = json!({ "matchLabels": { "mdhlabs-arp": "enable", "tier": "edge" } });
    assert_eq!(missed(wanted, &[("mdhlabs-arp", "enabled")]), None);
}

#[test]
fn short_words_that_differ_are_different_words() {
    for (a, b) in [("a", "b"), ("on", "no"), ("dev", "div"), ("prod", "test"), ("true", "false")] {
        assert!(!is_close(a, b) || a.len() > 2, "{a} {b}");
    }
    assert!(!is_close("on", "off"));
    assert!(is_close("enable", "enabled") && is_close("mdhlabs-arp", "mdhlabs-apr"));
}

#[test]
fn unmet_requirements_are_told_as_kubectl_writes_selectors() {
    let wanted = selector(json!({
        "matchLabels": { "a": "b" },
        "matchExpressions": [
            { "key": "c", "operator": "Exists" },
            { "key": "d", "operator": "DoesNotExist" },
            { "key": "e", "operator": "NotIn", "values": ["f", "g"] },
        ],
    }));
    assert_eq!(unmet(&wanted, &labels(&[("d", ""), ("e", "f")])), ["a=b", "c", "!d", "e notin (f,g)"]);
    assert_eq!(words(Some(&wanted)), "a=b,c,!d,e notin (f,g)");
    assert_eq!(words(None), "everything");
}
