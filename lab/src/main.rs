// SPDX-License-Identifier: Apache-2.0
//! `gateherald-lab`: a Kubernetes cluster on one machine, and the story told on it.

use std::process::ExitCode;

use clap::Parser;
use gateherald_lab::args::Args;

fn main() -> ExitCode {
    // The API server refuses while it starts and the lab asks again: that is no news.
    let filter = "warn,kube_client::client::builder=off";
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).init();
    Args::parse().command.run().unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::FAILURE
    })
}
