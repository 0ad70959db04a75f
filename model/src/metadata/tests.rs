// SPDX-License-Identifier: Apache-2.0
use serde_json::{from_value, json};

use super::*;

#[test]
fn absent_empty_and_null_maps_are_the_same() {
    for value in [
        json!({}),
        json!({"labels": {}}),
        json!({"labels": null, "annotations": null, "ownerReferences": null}),
    ] {
        assert_eq!(from_value::<Metadata>(value).unwrap(), Metadata::default());
    }
}

#[test]
fn fields_that_no_decision_reads_are_not_decoded() {
    let value = json!({"name": "a", "managedFields": [{"anything": 1}], "labels": {"k": "v"}});
    let metadata: Metadata = from_value(value).unwrap();
    assert_eq!((metadata.name.as_str(), metadata.labels["k"].as_str()), ("a", "v"));
}

#[test]
fn a_label_that_is_no_text_is_an_error() {
    assert!(from_value::<Metadata>(json!({"labels": {"k": 1}})).is_err());
}

#[test]
fn a_typed_object_reduces_to_what_its_json_does() {
    let value = json!({
        "name": "a", "namespace": "b", "uid": "u", "deletionTimestamp": "2024-01-02T03:04:05Z",
        "labels": {"k": "v"}, "annotations": {"x": "y"},
        "ownerReferences": [{"apiVersion": "g/v1", "kind": "K", "name": "n", "uid": "o", "controller": true}],
    });
    let typed: ObjectMeta = from_value(value.clone()).unwrap();
    assert_eq!(Metadata::from(typed), from_value(value).unwrap());
}

#[test]
fn a_map_or_list_without_end_is_an_error_and_the_last_of_equal_keys_counts() {
    let many = |n: usize| (0..n).map(|i| (i.to_string(), json!(""))).collect::<serde_json::Map<_, _>>();
    assert!(from_value::<Metadata>(json!({"labels": many(MOST_ENTRIES)})).is_ok());
    for value in [
        json!({"labels": many(MOST_ENTRIES + 1)}),
        json!({"annotations": many(MOST_ENTRIES + 1)}),
        json!({"ownerReferences": vec![json!({}); MOST_ENTRIES + 1]}),
    ] {
        let error = from_value::<Metadata>(value).unwrap_err().to_string();
        assert!(error.contains("at most 16384"), "{error}");
    }
    let twice: Metadata = serde_json::from_str(r#"{"labels":{"k":"1","k":"2"}}"#).unwrap();
    assert_eq!(twice.labels["k"], "2");
}
