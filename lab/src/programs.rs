// SPDX-License-Identifier: Apache-2.0
//! Where the project's own programs are.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The path of one of the project's programs: beside the running one, as Cargo builds them.
///
/// # Errors
/// When it was not built.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find the own program")?;
    let directory = own.parent().context("the own program's directory")?;
    // Test programs are in `deps`.
    let directory =
        if directory.ends_with("deps") { directory.parent().unwrap_or(directory) } else { directory };
    let path = directory.join(name);
    if !path.is_file() {
        bail!("{} is missing: run `cargo build --bins` first", path.display());
    }
    if let Some(source) = newer_source(&path) {
        tracing::warn!("{name} is older than {source}: run `cargo build --bins`");
    }
    Ok(path)
}

/// A source file that changed after the program was built, by Cargo's list beside it.
pub(crate) fn newer_source(program: &Path) -> Option<String> {
    let built = program.metadata().and_then(|data| data.modified()).ok()?;
    let list = std::fs::read_to_string(program.with_extension("d")).ok()?;
    let sources = list.split_once(": ")?.1.split_ascii_whitespace().map(str::to_owned);
    sources.into_iter().find(|source| {
        Path::new(source).metadata().and_then(|data| data.modified()).is_ok_and(|changed| changed > built)
    })
}
