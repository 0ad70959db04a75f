// SPDX-License-Identifier: Apache-2.0
//! `gateherald-lab`: builds the control plane's programs and tells the story.

use clap::Parser;
use gateherald_lab::args::{Args, Command};
use gateherald_lab::binaries::Binaries;

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Build => Binaries::prepare().map(drop),
        Command::Demo(_) => Ok(()),
    }
}
