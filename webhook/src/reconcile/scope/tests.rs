// SPDX-License-Identifier: Apache-2.0
use serde_json::json;

use super::*;

fn configuration(entry: &serde_json::Value) -> MutatingWebhookConfiguration {
    let mut entry = entry.clone();
    entry["clientConfig"] = json!({});
    entry["sideEffects"] = json!("None");
    entry["admissionReviewVersions"] = json!(["v1"]);
    serde_json::from_value(json!({ "metadata": { "name": "cfg" }, "webhooks": [entry] })).unwrap()
}

fn service(namespace: &str, labels: &[&str]) -> Metadata {
    let labels = labels.iter().map(|key| ((*key).into(), String::new())).collect();
    Metadata { namespace: namespace.into(), labels, ..Metadata::default() }
}

fn scope(entry: &serde_json::Value) -> Scope {
    let mut scope = Scope::default();
    scope.registered(Registration::read(Some(&configuration(entry)), "cfg", "ours"));
    let named = |name: &str| (name.to_owned(), LabelMap::from([("name".into(), name.into())]));
    scope.all_namespaces(["prod", "kube-system"].map(named).into());
    scope
}

#[test]
fn both_selectors_must_match_and_absent_ones_match_everything() {
    let all = scope(&json!({ "name": "ours" }));
    assert!(all.covers(&service("prod", &["x"])) && all.covers(&service("kube-system", &[])));
    let some = scope(&json!({
        "name": "ours",
        "namespaceSelector": { "matchExpressions": [{ "key": "name", "operator": "NotIn", "values": ["kube-system"] }] },
        "objectSelector": { "matchExpressions": [{ "key": "no", "operator": "DoesNotExist" }] },
    }));
    assert!(some.covers(&service("prod", &["x"])));
    assert!(!some.covers(&service("kube-system", &["x"])));
    assert!(!some.covers(&service("prod", &["no"])));
}

#[test]
fn what_is_not_known_is_not_covered() {
    let mut scope = scope(&json!({ "name": "ours" }));
    assert!(!scope.covers(&service("new", &[])));
    assert!(scope.namespace("new".into(), Some(LabelMap::new())));
    assert!(!scope.namespace("new".into(), Some(LabelMap::new())), "no change");
    assert!(scope.covers(&service("new", &[])));
    assert!(scope.namespace("new".into(), None));
    assert!(!scope.covers(&service("new", &[])));
    assert!(!Scope::default().is_known());
}

#[test]
fn a_registration_that_cannot_be_followed_says_why() {
    let bad = json!({
        "name": "ours",
        "namespaceSelector": { "matchExpressions": [{ "key": "k", "operator": "Near" }] },
    });
    let other = configuration(&json!({ "name": "theirs" }));
    for (found, expected) in [
        (None, "MutatingWebhookConfiguration cfg is missing"),
        (Some(&other), "MutatingWebhookConfiguration cfg has no entry ours"),
        (
            Some(&configuration(&bad)),
            "MutatingWebhookConfiguration cfg: key \"k\": unknown operator \"Near\"",
        ),
    ] {
        let registration = Registration::read(found, "cfg", "ours");
        assert_eq!(registration, Registration::Unusable(expected.into()));
        let mut scope = scope(&json!({ "name": "ours" }));
        assert!(scope.registered(registration));
        assert!(scope.is_known() && !scope.covers(&service("prod", &[])));
    }
}
