// SPDX-License-Identifier: Apache-2.0
use super::*;

#[test]
fn a_paragraph_is_wrapped_between_words() {
    let text = "word ".repeat(50);
    let wrapped = wrap(&text);
    assert!(wrapped.lines().all(|line| line.chars().count() <= WIDTH), "{wrapped}");
    assert_eq!(wrapped.split_ascii_whitespace().count(), 50);
}

#[test]
fn a_story_that_showed_nothing_or_one_wrong_thing_did_not_hold() {
    let mut narrator = Narrator::new();
    assert!(!narrator.all_held());
    narrator.check(true, "a").unwrap();
    assert!(narrator.all_held());
    narrator.check(false, "b").unwrap();
    assert!(!narrator.all_held());
}
