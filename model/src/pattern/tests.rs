// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;

use super::*;

#[test]
fn stars_stand_for_anything() {
    for (pattern, key, expected) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("*", "", true),
        ("*", "any/thing", true),
        ("b/*", "b/c", true),
        ("b/*", "b", false),
        ("b/*", "xb/c", false),
        ("*.istio.io/*", "networking.istio.io/rev", true),
        ("*.istio.io/*", "istio.io/rev", false),
        ("a*a", "a", false),
        ("a*a", "aa", true),
        ("a*b*c", "aXbXbXc", true),
        ("a*b*c", "aXcXb", false),
        ("**", "x", true),
        ("", "", true),
        ("", "x", false),
        ("ab*ba", "aba", false),
    ] {
        assert_eq!(Pattern::new(pattern).matches(key), expected, "{pattern} {key}");
    }
}

#[test]
fn a_list_ignores_spaces_and_empty_parts() {
    assert_eq!(Pattern::list(" a, ,b/* ,"), [Pattern::new("a"), Pattern::new("b/*")]);
    assert!(Pattern::list("").is_empty());
}

proptest! {
    #[test]
    fn matching_agrees_with_a_regular_expression(pattern in "[ab*é]{0,6}", key in "[abé]{0,8}") {
        let expression = format!("^{}$", pattern.replace('*', ".*"));
        let expected = regex::Regex::new(&expression).unwrap().is_match(&key);
        prop_assert_eq!(Pattern::new(pattern).matches(&key), expected);
    }
}
