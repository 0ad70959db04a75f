// SPDX-License-Identifier: Apache-2.0
//! What the lab takes from its surroundings: the only place that reads the environment.
#![allow(
    clippy::disallowed_methods,
    reason = "tests have no command line of their own; the lab's settings are variables"
)]

use std::env;
use std::path::PathBuf;

use anyhow::Context;

/// Where built control planes are kept: `$XDG_CACHE_HOME/gateherald`, else `~/.cache/gateherald`.
pub(crate) fn cache_dir() -> anyhow::Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => PathBuf::from(env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
            .join(".cache"),
    };
    Ok(base.join("gateherald"))
}

/// The directory of ready-made control plane binaries that the user named.
pub(crate) fn kubebuilder_assets() -> Option<PathBuf> {
    env::var_os("KUBEBUILDER_ASSETS").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

/// The directories of PATH.
pub(crate) fn search_path() -> Vec<PathBuf> {
    env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default()
}

/// Whether output may carry colours: a terminal, and the user did not say `NO_COLOR`.
pub(crate) fn colours() -> bool {
    use std::io::IsTerminal;
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::io::stdout().is_terminal()
}

/// Whether a failed test's state directory is kept whole, by `GATEHERALD_LAB_KEEP=1`.
pub(crate) fn keep_state() -> bool {
    env::var_os("GATEHERALD_LAB_KEEP").is_some_and(|value| !value.is_empty())
}

/// The time that images say they were made at, in seconds since 1970, if the user named one.
pub(crate) fn source_date_epoch() -> Option<String> {
    env::var("SOURCE_DATE_EPOCH").ok().filter(|seconds| !seconds.is_empty())
}

/// Where Cargo keeps the sources of packages.
pub(crate) fn cargo_home() -> anyhow::Result<PathBuf> {
    if let Some(dir) = env::var_os("CARGO_HOME").filter(|dir| !dir.is_empty()) {
        return Ok(PathBuf::from(dir));
    }
    Ok(PathBuf::from(env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?).join(".cargo"))
}
