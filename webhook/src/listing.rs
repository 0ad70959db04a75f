// SPDX-License-Identifier: Apache-2.0
//! Lists for people, cut where they would become too long.

/// As many whole names as fit into `bytes`, each counted with its separator; and how many are left out.
pub(crate) fn fitting(names: &[String], separator: &str, bytes: usize) -> (String, usize) {
    let mut used = 0;
    let mut fits = |name: &&String| {
        used += name.len() + separator.len();
        used <= bytes
    };
    let shown = names.iter().take_while(|name| fits(name)).count();
    (names[..shown].join(separator), names.len() - shown)
}
