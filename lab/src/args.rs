// SPDX-License-Identifier: Apache-2.0
//! The command line of `gateherald-lab`.

use clap::{Parser, Subcommand};

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
    /// Tell Gateherald's story, from a silent address to one that survives its node.
    Demo(DemoArgs),
}

/// Flags of `demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Leave everything running at the end, until Ctrl-C.
    #[arg(long)]
    pub keep: bool,
}
