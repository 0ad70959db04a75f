// SPDX-License-Identifier: Apache-2.0
//! `make bench`: the wire, failovers, the announcers' load, the webhook. Prints each figure when it is known, and at the end of
//! a chapter writes its table between the chapter's markers in `docs/performance.md`.
//!
//! Nothing here judges. Figures are medians and tails, where possible beside something measured by turns with them; targets
//! and peers' figures stand next to them.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use tokio::time::Instant;

use crate::args::{BenchArgs, FailoverArgs};
use crate::binaries::Binaries;
use crate::control_plane::Options;
use crate::harness::{Lab, run_alone};
use cast::Cast;
use gateways::Gateways;
use ground::Ground;
use report::Report;

mod admission;
mod cast;
mod first_answer;
mod foreign;
mod gaps;
mod gateways;
mod ground;
mod latency;
mod load;
mod moves;
mod question;
mod reconciling;
mod report;
mod reviews;
mod roll_call;
mod usage;

pub use gaps::Kind;

/// How often each fault is made: enough for a median, hardly for a tail.
const RUNS: u16 = 20;

/// A part of the measurements that can be taken alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Chapter {
    /// One review inside the webhook's process; measured by `cargo bench`, only written down here.
    Handler,
    /// Answers on the LAN against the kernel's, and what requests for others cost.
    Wire,
    /// From an address's status to its first answer, and through every kind of failure.
    Failover,
    /// A thousand addresses that leave a node.
    Moves,
    /// What the announcers cost with 1 to 10,000 addresses.
    Load,
    /// Everything about the webhook.
    Webhook,
}

/// Measures these chapters; all of them if none is given. One that fails does not keep the others from being measured.
///
/// # Errors
/// When the programs of the control plane are missing.
pub fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    Binaries::prepare()?;
    let chapters = if args.chapters.is_empty() { Chapter::value_variants() } else { &args.chapters };
    let mut outcome = ExitCode::SUCCESS;
    for chapter in chapters {
        let start = Instant::now();
        let name = chapter.name();
        match chapter.report(args).and_then(|report| chapter.write(&report.markdown())) {
            Ok(()) => report::say(&format!("chapter {name}: {} s\n", start.elapsed().as_secs()))?,
            Err(error) => {
                tracing::error!("chapter {name}: {error:#}");
                outcome = ExitCode::FAILURE;
            }
        }
    }
    Ok(outcome)
}

/// Measures the failovers of any announcer.
///
/// # Errors
/// When a process cannot be started, or nobody ever answers.
pub fn failover(args: &FailoverArgs) -> anyhow::Result<ExitCode> {
    Binaries::prepare()?;
    let settle = Duration::from_secs(args.settle);
    let cast = match &args.announcer {
        Some(command) => Cast::Command { command: command.clone(), settle },
        None => Cast::gateherald(&[]),
    };
    let kinds = if args.kinds.is_empty() { Kind::value_variants() } else { &args.kinds };
    run_alone(&measured(), async |lab| {
        if let Some(setup) = &args.setup {
            let mut command = Command::new("sh");
            command.args(["-c", setup]).env("KUBECONFIG", lab.control_plane().kubeconfig());
            let output = lab.control_plane().netns().output(command)?;
            let said = String::from_utf8_lossy(&output.stderr);
            anyhow::ensure!(output.status.success(), "--setup: {said}");
        }
        let ground = Ground::set(lab, 77, &cast).await?;
        let mut report = Report::default();
        for kind in kinds {
            gaps::measure(*kind, args.runs, args.announcer.is_none(), &ground, &mut report).await?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// A control plane as it is measured with: etcd waits for its disk.
fn measured() -> Options {
    Options { fsync: true, ..Options::default() }
}

impl Chapter {
    fn report(self, args: &BenchArgs) -> anyhow::Result<Report> {
        if self == Self::Handler {
            return Report::read(&args.handler);
        }
        run_alone(&measured(), async |lab| {
            let mut report = Report::default();
            self.measure(lab, &mut report).await?;
            Ok(report)
        })
    }

    async fn measure(self, lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
        match self {
            Self::Handler => {}
            Self::Wire => {
                let ground = Ground::set(lab, 77, &Cast::gateherald(&[])).await?;
                latency::measure(&ground, report).await?;
                foreign::measure(&ground, report).await?;
            }
            Self::Failover => {
                let ground = Ground::set(lab, 77, &Cast::gateherald(&[])).await?;
                for kind in Kind::value_variants() {
                    gaps::measure(*kind, RUNS.into(), true, &ground, report).await?;
                }
                drop(ground);
                first_answer::measure(lab, RUNS, report).await?;
            }
            Self::Moves => moves::measure(lab, report).await?,
            Self::Load => load::announcers(lab, report).await?,
            Self::Webhook => {
                let webhook = lab.run_webhook(&[]).await?;
                let gateways = Gateways::new(lab).await?;
                admission::creations(lab, &webhook, &gateways, report).await?;
                reviews::direct(lab, &webhook, &gateways, report).await?;
                reconciling::one_label_for_many(lab, &gateways, report).await?;
                load::webhook(&webhook, &gateways, report).await?;
            }
        }
        Ok(())
    }

    /// The chapter's name in the markers.
    fn name(self) -> &'static str {
        match self {
            Self::Handler => "handler",
            Self::Wire => "wire",
            Self::Failover => "failover",
            Self::Moves => "moves",
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
