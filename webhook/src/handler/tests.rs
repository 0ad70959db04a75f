// SPDX-License-Identifier: Apache-2.0
use gateherald_model::{alignment::Changes, injection::Outcome};

use super::*;

fn reinjected(keys: &[&str]) -> Option<String> {
    let reinjected = keys.iter().map(|key| (*key).to_owned()).collect();
    let labels = Changes { reinjected, ..Changes::default() };
    warning(&Decision { labels, ..Decision::untouched(Outcome::Injected) })
}

#[test]
fn a_warning_names_the_label_and_the_opt_out_within_the_limit() {
    assert_eq!(reinjected(&[]), None);
    let text = reinjected(&["mdhlabs-arp"]).unwrap();
    assert_eq!(
        text,
        "Gateherald put back mdhlabs-arp of the Gateway; opt out: annotation gateherald.io/inject=false"
    );
    assert!(reinjected(&["a", "b", "c"]).unwrap().contains(" a (+2) of"));
    let long = format!("{}/{}", "p".repeat(253), "n".repeat(63));
    let many: Vec<_> = std::iter::repeat_n(long.as_str(), 100_000).collect();
    for keys in [&many[..1], &many] {
        assert!(reinjected(keys).unwrap().len() <= WARNING_CHARS);
    }
}
