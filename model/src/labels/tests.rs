// SPDX-License-Identifier: Apache-2.0
use super::*;

#[test]
fn keys_and_values_follow_kubernetes_rules() {
    let long = |count| "a".repeat(count);
    for (key, valid) in [
        ("a".into(), true),
        ("A_b.c-D9".into(), true),
        (long(63), true),
        (long(64), false),
        (format!("{}/a", long(253)), true),
        (format!("{}/a", long(254)), false),
        ("a.b/c".into(), true),
        ("A.b/c".into(), false),
        ("a..b/c".into(), false),
        ("/c".into(), false),
        ("a/".into(), false),
        ("a/b/c".into(), false),
        (String::new(), false),
        ("-a".into(), false),
        ("a-".into(), false),
        ("a~b".into(), false),
        ("é".into(), false),
    ] as [(String, bool); 17]
    {
        assert_eq!(is_valid_key(&key), valid, "{key}");
    }
    for (value, valid) in
        [("", true), ("a", true), ("1.2_3-x", true), ("a b", false), ("-", false), ("a/b", false)]
    {
        assert_eq!(is_valid_value(value), valid, "{value}");
    }
}

#[test]
fn names_are_the_serialized_names() {
    for reason in SkipReason::ALL {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
    }
}
