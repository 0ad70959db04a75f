// SPDX-License-Identifier: Apache-2.0
//! `gateherald-lab`: a Kubernetes cluster on one machine, and the story told on it.

use std::process::ExitCode;

use clap::Parser;
use gateherald_lab::args::{Args, Command};
use gateherald_lab::{bench, binaries::Binaries, chart, demo, failover, helm3::Extras, up};

fn main() -> ExitCode {
    // The API server refuses while it starts and the lab asks again: that is no news.
    let filter = "warn,kube_client::client::builder=off";
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).init();
    let outcome = match Args::parse().command {
        Command::Build => Binaries::prepare().and_then(|_| Extras::prepare()).map(|_| ExitCode::SUCCESS),
        Command::ChartFiles => chart::files::write().map(|()| ExitCode::SUCCESS),
        Command::Up(args) => up::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Demo(args) => demo::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Failover(args) => bench::failover(&args),
        Command::FailoverPage { records } => failover::write(&records).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::FAILURE
    })
}
