// SPDX-License-Identifier: Apache-2.0
use serde_json::{Value, json};

use super::*;

fn selector(value: Value) -> Result<Selector, SelectorError> {
    let selector: LabelSelector = serde_json::from_value(value).unwrap();
    Selector::compile(Some(&selector))
}

fn expression(key: &str, operator: &str, values: &[&str]) -> Value {
    json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn an_absent_and_an_empty_selector_select_everything() {
    for labels in [labels(&[]), labels(&[("a", "b")])] {
        assert!(Selector::compile(None).unwrap().matches(&labels));
        assert!(selector(json!({})).unwrap().matches(&labels));
        assert!(selector(json!({"matchLabels": {}, "matchExpressions": []})).unwrap().matches(&labels));
    }
}

#[test]
fn operators_mean_what_kubernetes_means() {
    let (absent, x, y, empty) =
        (labels(&[]), labels(&[("k", "x")]), labels(&[("k", "y")]), labels(&[("k", "")]));
    //                                                            absent  k=x    k=y    k=""
    for (operator, values, expected) in [
        ("In", &["x"][..], [false, true, false, false]),
        ("In", &["x", "y"], [false, true, true, false]),
        ("In", &[""], [false, false, false, true]),
        ("NotIn", &["x"], [true, false, true, true]),
        ("NotIn", &["x", "y"], [true, false, false, true]),
        ("Exists", &[], [false, true, true, true]),
        ("DoesNotExist", &[], [true, false, false, false]),
    ] {
        let selector = selector(expression("k", operator, values)).unwrap();
        let found = [&absent, &x, &y, &empty].map(|labels| selector.matches(labels));
        assert_eq!(found, expected, "{operator} {values:?}");
    }
}

#[test]
fn all_requirements_must_hold() {
    let selector = selector(json!({
        "matchLabels": {"a": "1", "b": "2"},
        "matchExpressions": [{"key": "c", "operator": "Exists"}],
    }))
    .unwrap();
    assert!(selector.matches(&labels(&[("a", "1"), ("b", "2"), ("c", ""), ("d", "4")])));
    assert!(!selector.matches(&labels(&[("a", "1"), ("b", "2")])));
    assert!(!selector.matches(&labels(&[("a", "1"), ("b", "3"), ("c", "")])));
}

#[test]
fn what_cannot_be_evaluated_is_named() {
    let (key, operator) = ("k".to_owned(), |operator: &str| operator.to_owned());
    for (bad, error) in [
        (
            expression("k", "In", &[]),
            SelectorError::MissingValues { key: key.clone(), operator: operator("In") },
        ),
        (
            expression("k", "NotIn", &[]),
            SelectorError::MissingValues { key: key.clone(), operator: operator("NotIn") },
        ),
        (
            expression("k", "Exists", &["x"]),
            SelectorError::UnexpectedValues { key: key.clone(), operator: operator("Exists") },
        ),
        (
            expression("k", "DoesNotExist", &["x"]),
            SelectorError::UnexpectedValues { key: key.clone(), operator: operator("DoesNotExist") },
        ),
        (
            expression("k", "in", &["x"]),
            SelectorError::UnknownOperator { key: key.clone(), operator: operator("in") },
        ),
        (expression("", "Exists", &[]), SelectorError::BadKey(String::new())),
        (json!({"matchLabels": {"a/b/c": "x"}}), SelectorError::BadKey("a/b/c".into())),
        (
            json!({"matchLabels": {"k": "not a value"}}),
            SelectorError::BadValue { key: key.clone(), value: "not a value".into() },
        ),
        (expression("k", "NotIn", &["x", "-"]), SelectorError::BadValue { key, value: "-".into() }),
    ] {
        assert_eq!(selector(bad.clone()), Err(error), "{bad}");
    }
}
