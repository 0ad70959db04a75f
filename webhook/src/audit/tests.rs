// SPDX-License-Identifier: Apache-2.0
use super::*;

#[test]
fn a_long_list_of_keys_is_cut_with_a_count() {
    let names: Vec<_> = (0..1000).map(|number| format!("key-{number:04}")).collect();
    let text = joined(&names);
    assert!(text.len() < ANNOTATION_BYTES + 20, "{}", text.len());
    assert!(text.starts_with("key-0000,key-0001,") && text.ends_with(" and 887 more"), "{text}");
    assert_eq!(joined(&names[..2]), "key-0000,key-0001");
}
