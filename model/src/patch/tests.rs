// SPDX-License-Identifier: Apache-2.0
use serde_json::json;

use super::*;
use crate::{
    alignment::{RemovalReason, Removed},
    injection::Outcome,
};

fn labels(pairs: &[(&str, &str)]) -> LabelMap {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

#[test]
fn an_absent_map_is_added_as_a_whole() {
    let changes = Changes {
        injected: labels(&[("a/b", "1")]),
        memory: MemoryChange::Write("{}".into()),
        ..Changes::default()
    };
    let decision = Decision { labels: changes, ..Decision::untouched(Outcome::Injected) };
    let patch = serde_json::to_value(operations(&Metadata::default(), &decision)).unwrap();
    let expected = json!([
        {"op": "add", "path": "/metadata/labels", "value": {"a/b": "1"}},
        {"op": "add", "path": "/metadata/annotations", "value": {"gateherald.io/injected-labels": "{}"}},
    ]);
    assert_eq!(patch, expected);
}

#[test]
fn entries_of_a_map_are_added_and_removed_one_by_one_with_escaped_keys() {
    let service = Metadata { labels: labels(&[("x", "y"), ("o/~p", "1")]), ..Metadata::default() };
    let changes = Changes {
        injected: labels(&[("a/~b", "1")]),
        updated: labels(&[("x", "z")]),
        removed: vec![Removed { key: "o/~p".into(), reason: RemovalReason::GatewayLacks }],
        memory: MemoryChange::Remove,
        ..Changes::default()
    };
    let decision = Decision { labels: changes, ..Decision::untouched(Outcome::Injected) };
    let patch = serde_json::to_value(operations(&service, &decision)).unwrap();
    let expected = json!([
        {"op": "add", "path": "/metadata/labels/a~1~0b", "value": "1"},
        {"op": "add", "path": "/metadata/labels/x", "value": "z"},
        {"op": "remove", "path": "/metadata/labels/o~1~0p"},
        {"op": "remove", "path": "/metadata/annotations/gateherald.io~1injected-labels"},
    ]);
    assert_eq!(patch, expected);
}

#[test]
fn no_change_is_no_patch() {
    assert!(operations(&Metadata::default(), &Decision::untouched(Outcome::Unchanged)).is_empty());
}
