// SPDX-License-Identifier: Apache-2.0
//! Files in the source tree that are made from the chart: `gateherald-lab chart-files` writes them, a test compares them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

use super::{NAMESPACE, RELEASE, directory, readme};
use crate::binaries::{Binaries, Program};

/// The Kubernetes version that the defaults are rendered for.
const KUBERNETES: &str = "1.36.0";

/// A file: where it belongs, and what it should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its path.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// All of them as they should be.
///
/// # Errors
/// When Helm cannot render the chart, or a value has no comment.
pub fn made() -> anyhow::Result<Vec<Made>> {
    let chart = directory();
    let read =
        |name: &str| fs::read_to_string(chart.join(name)).with_context(|| format!("cannot read {name}"));
    let readme = readme::render(&read("README.md.in")?, &read("values.yaml")?)?;
    let golden = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/chart-defaults.yaml"));
    Ok(vec![Made { path: chart.join("README.md"), text: readme }, Made { path: golden, text: defaults()? }])
}

/// Writes them.
///
/// # Errors
/// As [`made`], and those of the file system.
pub fn write() -> anyhow::Result<()> {
    for Made { path, text } in made()? {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn defaults() -> anyhow::Result<String> {
    let helm = Binaries::prepare()?.path(Program::Helm).to_owned();
    let output = Command::new(helm)
        .args(["template", RELEASE, &directory().to_string_lossy(), "--namespace", NAMESPACE])
        .args(["--kube-version", KUBERNETES])
        .output()
        .context("cannot run helm")?;
    if !output.status.success() {
        bail!("helm template: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
