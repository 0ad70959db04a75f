// SPDX-License-Identifier: Apache-2.0
//! `kubectl gateherald` as a person runs it.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::Context;
use gateherald_lab::process::{Process, Spec};
use gateherald_lab::programs::program;
use gateherald_lab::{Lab, Netns};
use serde_json::Value;

/// The plugin's program.
const PROGRAM: &str = "kubectl-gateherald";

/// What a run of the plugin came to.
#[derive(Debug)]
pub struct Run {
    /// The exit code.
    pub code: i32,
    /// What it wrote to standard output.
    pub out: String,
    /// What it wrote to standard error.
    pub err: String,
}

impl Run {
    /// What it wrote, as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("no JSON: {}{}", self.out, self.err))
    }
}

/// Runs the plugin with `kubeconfig`, in a network namespace.
///
/// # Errors
/// When it cannot be started, or is killed.
pub async fn plugin_in(netns: &Netns, kubeconfig: &Path, args: &[&str]) -> anyhow::Result<Run> {
    let mut command = Command::new(program(PROGRAM)?);
    command.args(args).env("KUBECONFIG", kubeconfig).env_remove("NO_COLOR");
    let netns = netns.clone();
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || netns.output(command)).await??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Run { code: status.code().context("killed")?, out: text(stdout), err: text(stderr) })
}

/// Runs the plugin as an administrator.
///
/// # Errors
/// As [`plugin_in`].
pub async fn plugin(lab: &Lab, args: &[&str]) -> anyhow::Result<Run> {
    let plane = lab.control_plane();
    plugin_in(plane.netns(), plane.kubeconfig(), args).await
}

/// A plugin that goes on, by an administrator: its output is [`Process::log`]. Dropping it ends it.
///
/// # Errors
/// When it cannot be started.
pub fn going_on(lab: &Lab, args: &[&str]) -> anyhow::Result<Process> {
    let plane = lab.control_plane();
    let (_, log) = tempfile::NamedTempFile::new_in(plane.state().path())?.keep()?;
    Process::start(Spec {
        name: args.join(" "),
        program: program(PROGRAM)?,
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: vec![("KUBECONFIG".to_owned(), plane.kubeconfig().display().to_string())],
        netns: plane.netns().clone(),
        log,
        polite: true,
    })
}
