// SPDX-License-Identifier: Apache-2.0
//! `make bench`: the wire, the announcers' load, the webhook. Prints each figure when it is known, and at the end of a chapter
//! writes its table between the chapter's markers in `docs/performance.md`.
//!
//! Nothing here judges. Figures are medians and tails, where possible beside something measured by turns with them; targets
//! and peers' figures stand next to them.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;

use crate::args::BenchArgs;
use crate::binaries::Binaries;
use crate::control_plane::Options;
use crate::harness::{Lab, run_alone};
use gateways::Gateways;
use ground::Ground;
use report::Report;

mod admission;
mod gaps;
mod gateways;
mod ground;
mod latency;
mod load;
mod reconciling;
mod report;
mod reviews;

/// A part of the measurements that can be taken alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Chapter {
    /// One review inside the webhook's process; measured by `cargo bench`, only written down here.
    Handler,
    /// Answers and failovers on the LAN.
    Wire,
    /// What the announcers cost.
    Load,
    /// Everything about the webhook.
    Webhook,
}

/// Measures these chapters; all of them if none is given.
///
/// # Errors
/// When something that is to be measured does not work at all.
pub fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    Binaries::prepare()?;
    let chapters = if args.chapters.is_empty() { Chapter::value_variants() } else { &args.chapters };
    for chapter in chapters {
        let report = if *chapter == Chapter::Handler {
            Report::read(&args.handler)?
        } else {
            run_alone(&Options::default(), async |lab| chapter.measure(lab).await)?
        };
        chapter.write(&report.markdown())?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Chapter {
    async fn measure(self, lab: &Lab) -> anyhow::Result<Report> {
        let mut report = Report::default();
        match self {
            Self::Handler => {}
            Self::Wire => {
                let ground = Ground::set(lab).await?;
                latency::measure(&ground, &mut report).await?;
                gaps::planned_moves(&ground, &mut report).await?;
                gaps::restarts(&ground, &mut report).await?;
                gaps::cables(&ground, &mut report).await?;
                gaps::freezes(&ground, &mut report).await?;
            }
            Self::Load => load::announcers(&Ground::set(lab).await?, &mut report).await?,
            Self::Webhook => {
                let webhook = lab.run_webhook(&[]).await?;
                let gateways = Gateways::new(lab).await?;
                admission::creations(lab, &webhook, &gateways, &mut report).await?;
                reviews::direct(lab, &webhook, &gateways, &mut report).await?;
                reconciling::one_label_for_many(lab, &gateways, &mut report).await?;
                load::webhook(&webhook, &gateways, &mut report).await?;
            }
        }
        Ok(report)
    }

    /// The chapter's name in the markers.
    fn name(self) -> &'static str {
        match self {
            Self::Handler => "handler",
            Self::Wire => "wire",
            Self::Load => "load",
            Self::Webhook => "webhook",
        }
    }

    fn write(self, results: &str) -> anyhow::Result<()> {
        let page = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/performance.md"));
        let text =
            std::fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
        let [begin, end] = ["begin", "end"].map(|edge| format!("<!-- results: {} {edge} -->", self.name()));
        let lost = |marker: &str| format!("docs/performance.md has lost {marker}");
        let (before, rest) = text.split_once(&begin).with_context(|| lost(&begin))?;
        let (_, after) = rest.split_once(&end).with_context(|| lost(&end))?;
        std::fs::write(&page, format!("{before}{begin}\n{results}{end}{after}"))
            .with_context(|| format!("cannot write {}", page.display()))
    }
}
