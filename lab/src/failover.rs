// SPDX-License-Identifier: Apache-2.0
//! `make failover`: what the tests of failover recorded, as a table in `docs/failover.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;

const BEGIN: &str = "<!-- gaps: begin -->";
const END: &str = "<!-- gaps: end -->";

/// What was recorded of one fault: milliseconds without an answer, by mode.
type Gaps = BTreeMap<String, Vec<u64>>;

/// Reads the records, one line for each run of a fault in a mode, and rewrites the table.
///
/// # Errors
/// When there are no records, or the page has lost its markers.
pub fn write(records: &Path) -> anyhow::Result<()> {
    let text =
        std::fs::read_to_string(records).with_context(|| format!("cannot read {}", records.display()))?;
    let table = table(&text)?;
    let page = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/failover.md"));
    let old = std::fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    let lost = |marker: &str| format!("docs/failover.md has lost {marker}");
    let (before, rest) = old.split_once(BEGIN).with_context(|| lost(BEGIN))?;
    let (_, after) = rest.split_once(END).with_context(|| lost(END))?;
    std::fs::write(&page, format!("{before}{BEGIN}\n{table}{END}{after}"))
        .with_context(|| format!("cannot write {}", page.display()))
}

/// By the shortest silence first.
fn table(records: &str) -> anyhow::Result<String> {
    let mut faults: BTreeMap<&str, Gaps> = BTreeMap::new();
    for line in records.lines() {
        let mut fields = line.split('\t');
        let (Some(fault), Some(mode), Some(gap)) = (fields.next(), fields.next(), fields.next()) else {
            anyhow::bail!("not a record: {line}");
        };
        let gap = gap.parse().with_context(|| format!("not a record: {line}"))?;
        faults.entry(fault).or_default().entry(mode.to_owned()).or_default().push(gap);
    }
    faults.values_mut().flat_map(BTreeMap::values_mut).for_each(|gaps| gaps.sort_unstable());
    let mut rows: Vec<_> = faults.iter().collect();
    rows.sort_by_key(|(_, gaps)| [median(gaps, "hold"), median(gaps, "fence")]);
    let mut table = "| fault | `fence`, ms | `hold`, ms | runs |\n|---|---|---|---|\n".to_owned();
    for (fault, gaps) in rows {
        let runs = gaps.values().map(Vec::len).min().unwrap_or_default();
        writeln!(table, "| {fault} | {} | {} | {runs} |", cell(gaps, "fence"), cell(gaps, "hold"))?;
    }
    Ok(table)
}

fn median(gaps: &Gaps, mode: &str) -> u64 {
    gaps.get(mode).and_then(|gaps| gaps.get(gaps.len() / 2)).copied().unwrap_or_default()
}

fn cell(gaps: &Gaps, mode: &str) -> String {
    match gaps.get(mode).map(Vec::as_slice) {
        Some([least, .., most]) => format!("{} ({least} to {most})", median(gaps, mode)),
        Some([only]) => only.to_string(),
        _ => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests;
