// SPDX-License-Identifier: Apache-2.0
//! `gateherald-announcer`: see the library of the same name.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, error::ErrorKind};
use gateherald_announcer::{args::Args, run::run, verdict};
use gateherald_runtime::logging;

fn main() -> ExitCode {
    let args = Args::parse();
    let config = args.config();
    if let Err(error) = config.validate() {
        Args::command().error(ErrorKind::ValueValidation, error).exit();
    }
    let filter = logging::init(&args.log)
        .unwrap_or_else(|error| Args::command().error(ErrorKind::ValueValidation, error).exit());
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build();
    verdict::of(runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(args, config, filter))))
}
