// SPDX-License-Identifier: Apache-2.0
use std::{collections::BTreeSet, fs, path::Path};

use super::*;

#[test]
fn each_code_has_a_page_and_each_page_a_code() {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/checks"));
    let pages: BTreeSet<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    let codes: BTreeSet<String> = CHECKS.iter().map(|check| format!("{}.md", check.code)).collect();
    assert_eq!(pages, codes);
    for check in CHECKS {
        let page = fs::read_to_string(directory.join(format!("{}.md", check.code))).unwrap();
        assert!(page.starts_with(&format!("# {}: {}\n", check.code, check.title)), "{}", check.code);
        for heading in ["## Cause", "## See it by hand", "## Mend it"] {
            assert!(page.contains(heading), "{}: {heading}", check.code);
        }
    }
}

#[test]
fn codes_are_in_order_and_groups_together() {
    assert!(CHECKS.windows(2).all(|pair| pair[0].code < pair[1].code && pair[0].group <= pair[1].group));
}
