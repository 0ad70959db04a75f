// SPDX-License-Identifier: Apache-2.0
//! Figures, and the table that they go into.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

/// What was measured, in the order in which it was. Each row is printed as soon as it is known.
#[derive(Debug, Default)]
pub(super) struct Report {
    rows: Vec<[String; 4]>,
}

/// A sample of durations, sorted.
#[derive(Debug)]
pub(super) struct Sample(Vec<Duration>);

/// Prints a line, or several.
pub(super) fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("cannot print")
}

impl Report {
    /// Adds and prints a row: what, the figure, the target and the peers' figures (both may be empty).
    pub(super) fn row(&mut self, row: [&str; 4]) -> anyhow::Result<()> {
        let [what, measured, target, peers] = row;
        let mut text = format!("{what}\n    {measured}");
        for (name, beside) in [("target", target), ("peers", peers)] {
            if !beside.is_empty() {
                let _ = write!(text, "\n    {name}: {beside}");
            }
        }
        say(&text)?;
        self.rows.push(row.map(str::to_owned));
        Ok(())
    }

    /// Rows that another program printed, in the form of [`Report::markdown`]'s.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let row = |line: &str| -> anyhow::Result<[String; 4]> {
            let cells: Vec<_> =
                line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
            cells.try_into().ok().with_context(|| format!("{}: no row of four: {line}", path.display()))
        };
        Ok(Self {
            rows: text.lines().filter(|line| line.starts_with('|')).map(row).collect::<Result<_, _>>()?,
        })
    }

    /// The machine and the table.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("{}.\n\n| what | measured | target | peers |\n|---|---|---|---|\n", machine());
        for row in &self.rows {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        text
    }
}

impl Sample {
    pub(super) fn new(mut values: Vec<Duration>) -> Self {
        values.sort_unstable();
        Self(values)
    }

    pub(super) fn median(&self) -> Duration {
        self.percentile(50)
    }

    /// Median, p99 and the longest, in milliseconds.
    pub(super) fn millis(&self) -> String {
        self.show("ms", |value| format!("{:.1}", value.as_secs_f64() * 1e3))
    }

    /// Median, p99 and the longest, in milliseconds to the microsecond.
    pub(super) fn fine_millis(&self) -> String {
        self.show("ms", |value| format!("{:.2}", value.as_secs_f64() * 1e3))
    }

    /// Median, p99 and the longest, in microseconds.
    pub(super) fn micros(&self) -> String {
        self.show("µs", |value| format!("{:.1}", value.as_secs_f64() * 1e6))
    }

    fn show(&self, unit: &str, text: impl Fn(Duration) -> String) -> String {
        let [median, p99, max] = [50, 99, 100].map(|rank| text(self.percentile(rank)));
        format!("p50 {median}, p99 {p99}, max {max} {unit} (n = {})", self.0.len())
    }

    /// The smallest value that this percentage of the sample does not exceed (nearest rank); zero of an empty one.
    fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let model = if model.is_empty() { std::env::consts::ARCH } else { model };
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    let memory = read("/proc/meminfo");
    let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let gib = kib.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / f64::from(1 << 20);
    format!("Machine: {cores} cores of {model}, {gib:.1} GiB, Linux {}", kernel.trim())
}

#[cfg(test)]
mod tests;
