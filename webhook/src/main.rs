// SPDX-License-Identifier: Apache-2.0
//! The admission webhook's program; see the library's documentation.

use clap::Parser;
use gateherald_runtime::{crypto, logging};
use gateherald_webhook::{args::Args, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    logging::init(&args.log)?;
    crypto::install_provider();
    run::run(args).await.inspect_err(|error| tracing::error!(error = format!("{error:#}"), "stopped"))
}
