// SPDX-License-Identifier: Apache-2.0
//! `make bench`: first the wire, then the API server, then the processes. Prints what it measured, and writes it
//! between the markers of `docs/performance.md`.
//!
//! Nothing here judges: medians and ratios against something that ran side by side, and the ranges.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::binaries::Binaries;
use crate::control_plane::Options;
use crate::harness::{Lab, run_alone};
use ground::Ground;
use report::Report;

mod admission;
mod ground;
mod load;
mod report;
mod wire;

const BEGIN: &str = "<!-- results: begin -->";
const END: &str = "<!-- results: end -->";

/// Measures everything.
///
/// # Errors
/// When something that is to be measured does not work at all.
pub fn run() -> anyhow::Result<ExitCode> {
    Binaries::prepare()?;
    let options = Options { chart: Some(vec!["webhook.enabled=true".to_owned()]), ..Options::default() };
    let report = run_alone(&options, measure)?;
    let text = report.markdown();
    report.print()?;
    write(&text)?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(lab: &Lab) -> anyhow::Result<Report> {
    let mut report = Report::new();
    let webhook = lab.run_webhook(&[]).await?;
    admission::creations(lab, &mut report).await?;
    report.row("RSS of the webhook", &load::resident(webhook.process())?, "≤ 25 MiB with 10,000 Gateways");
    let ground = Ground::set(lab).await?;
    wire::latency(&ground, &mut report).await?;
    wire::planned_moves(&ground, &mut report).await?;
    wire::restarts(&ground, &mut report).await?;
    wire::freezes(&ground, &mut report).await?;
    load::announcers(&ground, &mut report).await?;
    Ok(report)
}

fn write(results: &str) -> anyhow::Result<()> {
    let page = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/performance.md"));
    let text = std::fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    let (before, rest) = text.split_once(BEGIN).context("docs/performance.md has lost its first marker")?;
    let (_, after) = rest.split_once(END).context("docs/performance.md has lost its second marker")?;
    std::fs::write(&page, format!("{before}{BEGIN}\n{results}{END}{after}"))
        .with_context(|| format!("cannot write {}", page.display()))
}
