// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::{
    fixtures::{broken, golden, objects, report, snapshot},
    render::Style,
};

#[test]
fn reports_are_written_as_before() {
    let mut differences = Vec::new();
    for (name, snapshot) in [("story", snapshot(&objects())), ("broken", broken())] {
        let report = report(&snapshot);
        let signs = Style { signs: true, ..Style::default() };
        differences.extend(golden(&format!("{name}.check.txt"), &render::report::full(&report, signs)));
        differences.extend(golden(
            &format!("{name}.check.plain.txt"),
            &render::report::full(&report, Style::default()),
        ));
        differences.extend(golden(&format!("{name}.check.short.txt"), &render::report::short(&report)));
        differences
            .extend(golden(&format!("{name}.check.json"), &format!("{:#}\n", render::report::json(&report))));
    }
    assert!(differences.is_empty(), "{differences:#?}");
}
