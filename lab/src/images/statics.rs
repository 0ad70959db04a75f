// SPDX-License-Identifier: Apache-2.0
//! Programs without shared libraries, and without a trace of where they were compiled.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::source::run;
use crate::settings;

/// The platform. It is named although it is the machine's own: without `--target`, the flags would go to proc-macros and
/// build scripts too, and those can't be static.
#[cfg(target_arch = "x86_64")]
pub(super) const TARGET: &str = "x86_64-unknown-linux-gnu";
#[cfg(target_arch = "aarch64")]
pub(super) const TARGET: &str = "aarch64-unknown-linux-gnu";

/// The source tree.
pub(super) fn workspace() -> PathBuf {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    lab.parent().unwrap_or(lab).to_owned()
}

/// Where [`build`] leaves a program.
pub(super) fn program(name: &str) -> PathBuf {
    workspace().join("target").join(TARGET).join("release").join(name)
}

/// Builds the programs of these packages.
pub(super) fn build(packages: &[&str]) -> anyhow::Result<()> {
    let workspace = workspace();
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--locked", "--bins", "--target", TARGET]);
    command.args(packages.iter().flat_map(|package| ["--package", package]));
    command.arg("--target-dir").arg(workspace.join("target"));
    command.current_dir(&workspace).envs(flags(&workspace)?);
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo build: {status}");
    }
    Ok(())
}

/// The flags of the compilers of Rust and of C (`aws-lc-sys`): paths are written as from nowhere in particular.
fn flags(workspace: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let sysroot = run(Command::new("rustc").current_dir(workspace).args(["--print", "sysroot"]))?;
    let places = [
        (workspace.display().to_string(), "/gateherald"),
        (settings::cargo_home()?.display().to_string(), "/cargo"),
        (format!("{sysroot}/lib/rustlib/src/rust"), "/rust"),
    ];
    let mut rust = vec!["-Ctarget-feature=+crt-static".to_owned()];
    let mut c = Vec::new();
    for (from, to) in places {
        rust.push(format!("--remap-path-prefix={from}={to}"));
        c.push(format!("-ffile-prefix-map={from}={to}"));
    }
    Ok(vec![
        ("CARGO_ENCODED_RUSTFLAGS".to_owned(), rust.join("\u{1f}")),
        (format!("CFLAGS_{}", TARGET.replace('-', "_")), c.join(" ")),
    ])
}
