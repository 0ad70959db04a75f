// SPDX-License-Identifier: Apache-2.0
//! Installing the chart as a user does.

use std::path::PathBuf;

use crate::control_plane::ControlPlane;

/// The release's name.
pub const RELEASE: &str = "gateherald";
/// The release's namespace.
pub const NAMESPACE: &str = "gateherald-system";

/// The chart's directory in the source tree.
pub fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/gateherald"))
}

/// Installs the chart, or changes an installed one to exactly these values (`key=value`); the result is Helm's output.
///
/// # Errors
/// With Helm's message.
pub async fn install(plane: &ControlPlane, values: &[&str]) -> anyhow::Result<String> {
    let directory = directory();
    let directory = directory.to_string_lossy();
    let mut args =
        vec!["upgrade", "--install", RELEASE, &*directory, "--namespace", NAMESPACE, "--create-namespace"];
    for value in values {
        args.extend(["--set", value]);
    }
    plane.helm(&args).await
}

/// Removes the release.
///
/// # Errors
/// With Helm's message.
pub async fn uninstall(plane: &ControlPlane) -> anyhow::Result<()> {
    plane.helm(&["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait"]).await.map(drop)
}
