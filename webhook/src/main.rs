// SPDX-License-Identifier: Apache-2.0
//! The admission webhook's program; see the library's documentation.

use std::process::ExitCode;

use clap::Parser;
use gateherald_runtime::{crypto, logging};
use gateherald_webhook::{args::Args, run};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    logging::init(&args.log)?;
    crypto::install_provider();
    let Err(error) = run::run(args).await else { return Ok(ExitCode::SUCCESS) };
    tracing::error!(error = format!("{error:#}"), "stopped");
    Ok(ExitCode::FAILURE)
}
