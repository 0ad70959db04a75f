// SPDX-License-Identifier: Apache-2.0
//! The admission webhook's program; see the library's documentation.

use std::process::ExitCode;

use clap::Parser;
use gateherald_runtime::{chain::chain, crypto, logging};
use gateherald_webhook::{args::Args, run};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let filter = logging::init(&args.log)?;
    crypto::install_provider();
    let Err(error) = run::run(args, filter).await else { return Ok(ExitCode::SUCCESS) };
    tracing::error!(error = chain(error.as_ref()), "stopped");
    Ok(ExitCode::FAILURE)
}
