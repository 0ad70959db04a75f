// SPDX-License-Identifier: Apache-2.0
//! Installing the chart as a user does.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_yaml_ng::Value;

use crate::control_plane::ControlPlane;
use crate::images::Component;

pub mod files;
pub mod readme;

/// The release's name.
pub const RELEASE: &str = "gateherald";
/// The release's namespace.
pub const NAMESPACE: &str = "gateherald-system";

/// The chart's directory in the source tree.
pub fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/gateherald"))
}

/// Kinds that a kubelet would have to run. Here the programs are processes, so what the chart has of them is left out.
const WORKLOADS: [&str; 4] = ["Deployment", "DaemonSet", "Job", "Pod"];

/// A copy of the chart in `target` without the templates of workloads; each of those has a file of its own.
///
/// # Errors
/// Those of the file system.
pub fn without_workloads(target: &Path) -> anyhow::Result<()> {
    copy(&directory(), target).with_context(|| format!("cannot copy the chart to {}", target.display()))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
            continue;
        }
        let text = fs::read(entry.path())?;
        if !is_workload(&String::from_utf8_lossy(&text)) {
            fs::write(target, text)?;
        }
    }
    Ok(())
}

fn is_workload(template: &str) -> bool {
    let kinds = template.lines().filter_map(|line| line.strip_prefix("kind: "));
    kinds.into_iter().any(|kind| WORKLOADS.contains(&kind.trim()))
}

/// Installs the chart without its workloads, or changes an installed one to exactly these values (`key=value`); the result is
/// Helm's output.
///
/// # Errors
/// With Helm's message.
pub async fn install(plane: &ControlPlane, values: &[&str]) -> anyhow::Result<String> {
    let directory = plane.state().path().join(format!("chart-{}", plane.next_number()));
    without_workloads(&directory)?;
    let directory = directory.to_string_lossy();
    let mut args =
        vec!["upgrade", "--install", RELEASE, &*directory, "--namespace", NAMESPACE, "--create-namespace"];
    for value in values {
        args.extend(["--set", value]);
    }
    plane.helm(&args).await
}

/// Installs the whole chart in this directory or archive, or changes an installed one to exactly these values (`key=value`),
/// and waits until its workloads are ready. The result is what Helm wrote.
///
/// # Errors
/// With Helm's message.
pub async fn deploy(plane: &ControlPlane, chart: &Path, values: &[&str]) -> anyhow::Result<String> {
    plane.helm(&deployment(&chart.to_string_lossy(), values)).await
}

/// Helm's arguments for [`deploy`].
pub fn deployment<'a>(chart: &'a str, values: &[&'a str]) -> Vec<&'a str> {
    let mut args =
        vec!["upgrade", "--install", RELEASE, chart, "--namespace", NAMESPACE, "--create-namespace"];
    args.extend(["--wait", "--timeout", "3m"]);
    for value in values {
        args.extend(["--set", value]);
    }
    args
}

/// Removes the release.
///
/// # Errors
/// With Helm's message.
pub async fn uninstall(plane: &ControlPlane) -> anyhow::Result<()> {
    plane.helm(&["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait"]).await.map(drop)
}

/// The reference of a component's image, as the chart's values have it.
pub(crate) fn image(component: Component) -> anyhow::Result<String> {
    let file = directory().join("values.yaml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let values: Value = serde_yaml_ng::from_str(&text).with_context(|| format!("{}", file.display()))?;
    let image = &values["image"];
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let own = &image[component.values()];
    let (registry, repository, tag) = (text(image, "registry"), text(own, "repository"), text(own, "tag"));
    ensure!(!repository.is_empty(), "image.{}.repository is empty in {}", component.values(), file.display());
    let place = if registry.is_empty() { repository } else { format!("{registry}/{repository}") };
    // As the chart does: its appVersion is the version of the programs.
    let tag = if tag.is_empty() { env!("CARGO_PKG_VERSION") } else { &tag };
    Ok(format!("{place}:{tag}"))
}
