// SPDX-License-Identifier: Apache-2.0
//! Figures, and the table that they go into.

use std::io::Write;
use std::time::Duration;

/// What was measured, in the order in which it was.
pub(super) struct Report {
    rows: Vec<[String; 3]>,
}

/// A sample of durations.
pub(super) struct Sample(Vec<Duration>);

impl Sample {
    pub(super) fn new(mut values: Vec<Duration>) -> Self {
        values.sort_unstable();
        Self(values)
    }

    /// The value below which this share of the sample lies; zero of an empty one.
    pub(super) fn quantile(&self, share: f64) -> Duration {
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a sample has thousands of values at the most"
        )]
        let at = ((self.0.len() as f64 - 1.0).max(0.0) * share).round() as usize;
        self.0.get(at).copied().unwrap_or_default()
    }

    pub(super) fn median(&self) -> Duration {
        self.quantile(0.5)
    }

    /// Median and range in milliseconds.
    pub(super) fn millis(&self) -> String {
        let text = |share| format!("{:.1}", self.quantile(share).as_secs_f64() * 1e3);
        format!(
            "{} ms (min {}, p99 {}, max {}; n = {})",
            text(0.5),
            text(0.0),
            text(0.99),
            text(1.0),
            self.0.len()
        )
    }

    /// Median and p99 in microseconds.
    pub(super) fn micros(&self) -> String {
        let text = |share| format!("{:.0}", self.quantile(share).as_secs_f64() * 1e6);
        format!("{} µs (p99 {}; n = {})", text(0.5), text(0.99), self.0.len())
    }
}

impl Report {
    pub(super) fn new() -> Self {
        Self { rows: Vec::new() }
    }

    pub(super) fn row(&mut self, what: &str, measured: &str, target: &str) {
        tracing::info!("{what}: {measured}");
        self.rows.push([what, measured, target].map(str::to_owned));
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = format!("Machine: {}.\n\n| what | measured | target |\n|---|---|---|\n", machine());
        for [what, measured, target] in &self.rows {
            text.push_str(&format!("| {what} | {measured} | {target} |\n"));
        }
        text
    }

    pub(super) fn print(&self) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        for [what, measured, target] in &self.rows {
            writeln!(out, "{what}\n    {measured}\n    target: {target}")?;
        }
        Ok(())
    }
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    format!("{cores} cores, {model}, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}
