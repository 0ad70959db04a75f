// SPDX-License-Identifier: Apache-2.0
//! Writes the man pages, one per command, into the directory that is named.

use std::{env, error::Error, fs, path::PathBuf};

use clap::CommandFactory;
use gateherald_cli::args::Args;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(env::args_os().nth(1).ok_or("which directory?")?);
    fs::create_dir_all(&directory)?;
    clap_mangen::generate_to(Args::command(), directory)?;
    Ok(())
}
