// SPDX-License-Identifier: Apache-2.0
//! `make bench`: first the wire, then the announcers' load, then the webhook. Prints each figure when it is known, and at the
//! end writes the table between the markers of `docs/performance.md`.
//!
//! Nothing here judges. Figures are medians and tails, where possible beside something measured by turns with them; targets
//! and peers' figures stand next to them.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::binaries::Binaries;
use crate::control_plane::Options;
use crate::harness::{Lab, run_alone};
use admission::Gateways;
use ground::Ground;
use report::Report;

mod admission;
mod gaps;
mod ground;
mod latency;
mod load;
mod report;

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
    write(&report.markdown())?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(lab: &Lab) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let ground = Ground::set(lab).await?;
    latency::measure(&ground, &mut report).await?;
    gaps::planned_moves(&ground, &mut report).await?;
    gaps::restarts(&ground, &mut report).await?;
    gaps::cables(&ground, &mut report).await?;
    gaps::freezes(&ground, &mut report).await?;
    load::announcers(&ground, &mut report).await?;
    let webhook = lab.run_webhook(&[]).await?;
    let gateways = Gateways::new(lab).await?;
    admission::creations(lab, &webhook, &gateways, &mut report).await?;
    load::webhook(&webhook, &gateways.0, &mut report).await?;
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
