// SPDX-License-Identifier: Apache-2.0
//! The plugin's program; see the library's documentation.

use std::process::ExitCode;

use clap::Parser;
use gateherald_cli::{args::Args, run::run};

#[tokio::main]
async fn main() -> ExitCode {
    run(Args::parse()).await
}
