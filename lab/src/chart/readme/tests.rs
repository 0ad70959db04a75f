// SPDX-License-Identifier: Apache-2.0
use super::*;

const VALUES: &str = "\
# SPDX-License-Identifier: Apache-2.0

# A group.
webhook:
  # How many,
  # in all.
  replicas: 2
  # Rules.
  rules: {}
    # example: of none

  limits:
    # CPU and memory.
    resources:
      requests: {cpu: 20m}
  # Spread.
  spread:
    - {maxSkew: 1}
# Last.
extra: []
";

#[test]
fn keys_come_with_their_paths_defaults_and_comments() {
    let values = parse(VALUES);
    let shown: Vec<_> = values
        .iter()
        .map(|value| (value.path.as_str(), value.default.as_str(), value.comment.as_str(), value.group))
        .collect();
    assert_eq!(
        shown,
        [
            ("webhook", "", "A group.", true),
            ("webhook.replicas", "2", "How many, in all.", false),
            ("webhook.rules", "{}", "Rules.", false),
            ("webhook.limits", "", "", true),
            ("webhook.limits.resources", "", "CPU and memory.", true),
            ("webhook.limits.resources.requests", "{cpu: 20m}", "", false),
            ("webhook.spread", "", "Spread.", false),
            ("extra", "[]", "Last.", false),
        ]
    );
}

#[test]
fn a_value_without_a_comment_and_a_template_without_a_place_are_refused() {
    let error = render("a <!-- values --> b", VALUES).unwrap_err().to_string();
    assert_eq!(error, "values.yaml: webhook.limits.resources.requests has no comment");
    assert!(render("a b", "# One.\none: 1\n").unwrap_err().to_string().contains("<!-- values -->"));
    let table = render("a\n<!-- values -->\nb\n", "# One.\none: 1\n").unwrap();
    assert_eq!(table, "a\n| value | default | meaning |\n|---|---|---|\n| `one` | `1` | One. |\nb\n");
}
