// SPDX-License-Identifier: Apache-2.0
//! What the source tree says of itself: packages, licences, the commit and its time.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

use super::statics::TARGET;
use crate::settings;

/// The source tree.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) version: String,
    /// The commit, `-dirty` behind it when files differ from it; empty outside a Git checkout.
    pub(super) revision: String,
    /// When the commit was made (RFC 3339), or `SOURCE_DATE_EPOCH`.
    pub(super) created: String,
    pub(super) url: String,
    pub(super) licences: String,
    /// `cargo metadata`, for this platform.
    pub(super) metadata: Value,
}

impl Source {
    /// Reads it.
    pub(super) fn look(workspace: &Path) -> anyhow::Result<Self> {
        let manifest = workspace.join("Cargo.toml");
        let args = ["metadata", "--format-version=1", "--locked", "--filter-platform", TARGET];
        let output = run(Command::new("cargo").args(args).arg("--manifest-path").arg(manifest))?;
        let metadata: Value = serde_json::from_str(&output).context("cargo metadata")?;
        let package = package(&metadata, "gateherald-webhook")?;
        let text = |field: &str| package[field].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            version: text("version"),
            url: text("repository"),
            licences: text("license"),
            revision: revision(workspace),
            created: created(workspace)?,
            metadata,
        })
    }

    /// The description of a package.
    pub(super) fn description(&self, name: &str) -> anyhow::Result<String> {
        let description = package(&self.metadata, name)?["description"].as_str();
        Ok(description.with_context(|| format!("{name} has no description in its Cargo.toml"))?.to_owned())
    }
}

/// The workspace's package of this name.
pub(super) fn package<'a>(metadata: &'a Value, name: &str) -> anyhow::Result<&'a Value> {
    let packages = metadata["packages"].as_array().context("cargo metadata without packages")?;
    packages
        .iter()
        .find(|package| package["name"] == name && package["source"].is_null())
        .with_context(|| format!("no package {name}"))
}

/// Runs a command to its end; what it wrote.
pub(super) fn run(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn git(workspace: &Path, args: &[&str]) -> anyhow::Result<String> {
    // The tests run as root in a tree that is somebody else's.
    run(Command::new("git").args(["-c", "safe.directory=*", "-C"]).arg(workspace).args(args))
}

fn revision(workspace: &Path) -> String {
    git(workspace, &["describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]).unwrap_or_default()
}

fn created(workspace: &Path) -> anyhow::Result<String> {
    let seconds = match settings::source_date_epoch() {
        Some(seconds) => seconds,
        None => git(workspace, &["log", "-1", "--format=%ct"])
            .context("no commit tells how old the source is: set SOURCE_DATE_EPOCH")?,
    };
    let seconds: i64 = seconds.parse().with_context(|| format!("SOURCE_DATE_EPOCH={seconds}"))?;
    Ok(jiff::Timestamp::from_second(seconds).context("SOURCE_DATE_EPOCH")?.to_string())
}
