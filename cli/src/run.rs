// SPDX-License-Identifier: Apache-2.0
//! From the command line to the exit code.

use std::{error::Error, process::ExitCode};

use crate::{
    args::{Args, Command},
    commands,
    io::terminal::{Terminal, tell},
};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Exit code 0.
    Fine,
    /// Exit code 1.
    SomethingIsWrong,
}

/// It could not be asked, or not be done.
const FAILED: u8 = 2;

/// Runs the command. Exit codes: 0 nothing is wrong, 1 something is wrong, 2 it could not be asked.
pub async fn run(args: Args) -> ExitCode {
    // Only fails when another one is installed, and nobody else does that here.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let terminal = Terminal::new(&args.global);
    let Args { global, command } = args;
    let ending = match command {
        Command::Check(args) => commands::check::run(&global, &args, terminal).await,
        Command::Flow(args) => commands::flow::run(&global, &args, terminal).await,
        Command::Vips(args) => commands::vips::run(&global, &args, terminal).await,
        Command::Preview(args) => commands::preview::run(&global, &args, terminal).await,
        Command::Probe(args) => commands::probe::run(&global, &args, terminal).await,
        Command::Move(args) => commands::moving::one(&global, &args, terminal).await,
        Command::Evacuate(args) => commands::moving::all(&global, &args, terminal).await,
        Command::Audit(args) => commands::audit::run(&global, &args, terminal).await,
        Command::Cleanup(args) => commands::cleanup::run(&global, &args, terminal).await,
        Command::Complete { words } => commands::complete::run(&global, &words, terminal).await,
    };
    match ending {
        Ok(Ending::Fine) => ExitCode::SUCCESS,
        Ok(Ending::SomethingIsWrong) => ExitCode::FAILURE,
        Err(error) => {
            tell(&format!("error: {}", chain(error.as_ref())));
            ExitCode::from(FAILED)
        }
    }
}

/// An error and its causes in one line; a cause that the text before already tells is left out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let told = cause.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        next = cause.source();
    }
    text
}
