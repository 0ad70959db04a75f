// SPDX-License-Identifier: Apache-2.0
//! The command line of `gateherald-lab`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::bench::{self, Chapter, Kind};
use crate::binaries::Binaries;
use crate::cluster::{boot, stay};
use crate::helm3::Extras;
use crate::{chart, demo, failover, images, up};

/// A Kubernetes cluster on one machine.
#[derive(Clone, Debug, Parser)]
#[command(name = "gateherald-lab", version)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Find or build the control plane's programs, so that later starts are quick.
    Build,
    /// Build the programs' images: static programs in OCI archives, in target/images.
    Images,
    /// A cluster whose nodes run pods, in the background.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Be the first process of a machine of a cluster.
    #[command(hide = true)]
    Machine {
        /// The machine's description.
        blueprint: PathBuf,
    },
    /// Write what is made from the chart: its README.md and the rendering of its defaults.
    ChartFiles,
    /// Start a control plane with a LAN of nodes and leave it running until Ctrl-C.
    Up(UpArgs),
    /// Tell Gateherald's story, from a silent address to one that survives its node.
    Demo(DemoArgs),
    /// Measure, and write docs/performance.md.
    Bench(BenchArgs),
    /// Measure the failovers of any announcer, and print them.
    Failover(FailoverArgs),
    /// Write what the tests of failover recorded into docs/failover.md.
    FailoverPage {
        /// The records
        #[arg(value_name = "PATH", default_value = "target/failover.tsv")]
        records: PathBuf,
    },
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// Those of what it does.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Build => {
                Binaries::prepare()?;
                Extras::prepare()?;
            }
            Self::ChartFiles => chart::files::write()?,
            Self::Images => images::build()?,
            Self::Cluster(ClusterCommand::Up) => stay::up()?,
            Self::Cluster(ClusterCommand::Down) => stay::down()?,
            Self::Cluster(ClusterCommand::Serve) => stay::serve()?,
            Self::Machine { blueprint } => match boot::run(blueprint)? {},
            Self::Up(args) => up::run(args)?,
            Self::Demo(args) => return demo::run(args),
            Self::Bench(args) => return bench::run(args),
            Self::Failover(args) => return bench::failover(args),
            Self::FailoverPage { records } => failover::write(records)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What is done with a cluster.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ClusterCommand {
    /// Start it, and leave it running.
    Up,
    /// Stop it.
    Down,
    /// Be it, until SIGTERM.
    #[command(hide = true)]
    Serve,
}

/// Flags of `up`.
#[derive(Clone, Debug, clap::Args)]
pub struct UpArgs {
    /// How many nodes the LAN has.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=50))]
    pub nodes: u8,
    /// Install the chart, but start neither webhook nor announcers.
    #[arg(long)]
    pub bare: bool,
}

/// Arguments of `bench`.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArgs {
    /// The rows that the webhook's own bench printed, for the chapter `handler`
    #[arg(long, value_name = "PATH", default_value = "target/handler.md")]
    pub handler: PathBuf,
    /// What to measure; everything if none is given.
    pub chapters: Vec<Chapter>,
}

/// Flags of `failover`.
#[derive(Clone, Debug, clap::Args)]
pub struct FailoverArgs {
    /// What runs on each node in Gateherald's place, by `sh -c`, as root in the node's network namespace; the address is in
    /// ADDRESS, see docs/lab.md
    #[arg(long, value_name = "COMMAND")]
    pub announcer: Option<String>,
    /// What runs once before, by `sh -c`, with an administrator's KUBECONFIG.
    #[arg(long, value_name = "COMMAND")]
    pub setup: Option<String>,
    /// How long after its start such an announcer is ready to take over.
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    pub settle: u64,
    /// How often each thing happens.
    #[arg(long, default_value_t = 20)]
    pub runs: usize,
    /// What happens; everything if none is given.
    pub kinds: Vec<Kind>,
}

/// Flags of `demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Leave everything running at the end, until Ctrl-C.
    #[arg(long)]
    pub keep: bool,
    /// What runs at the end, by `sh -c`, beside the control plane: with an administrator's KUBECONFIG, and with kubectl and the
    /// lab's own programs in its PATH.
    #[arg(long, value_name = "COMMAND")]
    pub then: Option<String>,
}
