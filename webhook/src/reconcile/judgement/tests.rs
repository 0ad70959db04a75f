// SPDX-License-Identifier: Apache-2.0
use serde_json::json;

use super::*;

#[expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]
fn need(labels: Value, annotations: Value, reason: Reason) -> Need {
    Need {
        patch: json!({ "metadata": { "labels": labels, "annotations": annotations } }),
        reason,
        keys: vec![],
    }
}

#[test]
fn the_same_change_is_the_same_whatever_became_of_the_memory() {
    let with = need(json!({ "a": "1" }), json!({ INJECTED_LABELS: "{}" }), Reason::Injected);
    let without = need(json!({ "a": "1" }), json!({}), Reason::Injected);
    assert!(with.is_again(&without) && without.is_again(&with));
    for other in [
        need(json!({ "a": "2" }), json!({}), Reason::Updated),
        need(json!({ "a": null }), json!({}), Reason::Removed),
        need(json!({ "a": "1" }), json!({ "own": "x" }), Reason::Injected),
    ] {
        assert!(!with.is_again(&other), "{other:?}");
    }
    // Of a change of nothing but the memory the memory is all there is.
    let forget = need(json!({}), json!({ INJECTED_LABELS: null }), Reason::Memory);
    assert!(forget.is_again(&forget.clone()));
    assert!(!forget.is_again(&need(json!({}), json!({ INJECTED_LABELS: "{}" }), Reason::Memory)));
}

#[test]
fn a_service_without_owner_is_a_concern_only_while_it_remembers() {
    let rules = Rules::default();
    let mut service = Metadata::default();
    assert!(!concerns(&rules, &service));
    service.annotations.insert(INJECTED_ANNOTATIONS.into(), r#"{"x":"1"}"#.into());
    assert!(concerns(&rules, &service));
    assert_eq!(owner(&rules, &service), None);
    service.annotations.insert(INJECTED_LABELS.into(), r#"{"a":"1"}"#.into());
    assert_eq!(remembered(&service).into_keys().collect::<Vec<_>>(), ["a", "x"]);
    service.annotations.insert(INJECTED_LABELS.into(), "garbage".into());
    assert_eq!(remembered(&service).into_keys().collect::<Vec<_>>(), ["x"]);
}

#[test]
fn a_gateway_may_be_in_another_namespace_when_labels_name_it() {
    let text =
        "apiVersion: config.gateherald.io/v1alpha1\nkind: LabelRules\nextractors: [{preset: envoy-gateway}]";
    let Ok(rules) = Rules::parse(text) else { panic!("the preset is there") };
    let mut service = Metadata { namespace: "envoy-gateway-system".into(), ..Metadata::default() };
    service.labels.insert("gateway.envoyproxy.io/owning-gateway-name".into(), "gw".into());
    service.labels.insert("gateway.envoyproxy.io/owning-gateway-namespace".into(), "prod".into());
    let expected = GatewayKey { namespace: "prod".into(), name: "gw".into() };
    assert_eq!(owner(&rules, &service), Some(expected));
}
