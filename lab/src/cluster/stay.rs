// SPDX-License-Identifier: Apache-2.0
//! `make cluster` and `make cluster-down`: a cluster that stays when the terminal is free again.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Cluster, options};
use crate::chart;
use crate::harness::{Lab, run_alone, until_stopped};
use crate::patience::block_until;
use crate::{look, settings};

const STEP: Duration = Duration::from_millis(100);
/// From SIGTERM to the end of the cluster.
const PATIENCE: Duration = Duration::from_mins(1);

/// Starts a cluster in the background, waits until it is ready, and tells how to use it.
///
/// # Errors
/// When one runs already, and with its log when it does not come up.
pub fn up() -> anyhow::Result<()> {
    let files = Files::find()?;
    if let Some(process) = files.holder()? {
        bail!("a cluster runs already (process {process}); stop it with `make cluster-down`");
    }
    let _ = fs::remove_file(&files.ready);
    let log = File::create(&files.log).with_context(|| format!("cannot write {}", files.log.display()))?;
    let mut child = Command::new("setsid")
        .arg(std::env::current_exe()?)
        .args(["cluster", "serve"])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot run setsid")?;
    let text = files.wait_ready(&mut child)?;
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// Stops it.
///
/// # Errors
/// When it does not end within a minute.
pub fn down() -> anyhow::Result<()> {
    let files = Files::find()?;
    let Some(process) = files.holder()? else {
        return Ok(writeln!(std::io::stdout(), "no cluster runs")?);
    };
    kill(Pid::from_raw(process), Signal::SIGTERM)
        .with_context(|| format!("cannot stop process {process}"))?;
    if !block_until(PATIENCE, || Ok(files.holder()?.is_none()))? {
        bail!("the cluster (process {process}) does not end; its log is {}", files.log.display());
    }
    Ok(writeln!(std::io::stdout(), "the cluster is gone")?)
}

/// What [`up`] starts: the cluster itself, until SIGTERM.
///
/// # Errors
/// When something does not start.
pub fn serve() -> anyhow::Result<()> {
    let files = Files::find()?;
    let mut lock = File::options().create(true).truncate(false).write(true).open(&files.lock)?;
    lock.try_lock().map_err(|_| anyhow::anyhow!("a cluster runs already"))?;
    lock.set_len(0)?;
    write!(lock, "{}", std::process::id())?;
    let outcome = run_alone(&options(), async |lab| {
        let cluster = tokio::select! {
            cluster = Cluster::start(lab) => cluster?,
            stopped = until_stopped() => return stopped,
        };
        announce(lab, &cluster, &files.ready)?;
        until_stopped().await
    });
    let _ = fs::remove_file(&files.ready);
    outcome
}

fn announce(lab: &Lab, cluster: &Cluster, ready: &Path) -> anyhow::Result<()> {
    let script = look::write(lab.control_plane(), &cluster.places())?;
    let script = script.display();
    let chart = chart::directory().canonicalize()?;
    let text = format!(
        "ready: {} nodes that run pods, on {}/24; Gateway API and the images are there, the chart is yours to install\n\n  \
         {script} cp kubectl get nodes -o wide\n  \
         {script} cp helm install gateherald {} -n {} --create-namespace --wait\n  \
         {script} client arping -I eth0 -c 3 {}\n\nmake cluster-down stops it.\n",
        cluster.machines().len(),
        cluster.lan().address(0),
        chart.display(),
        chart::NAMESPACE,
        cluster.lan().router(),
    );
    let unfinished = ready.with_extension("unfinished");
    fs::write(&unfinished, text)?;
    Ok(fs::rename(unfinished, ready)?)
}

/// Where the two commands meet.
struct Files {
    /// Locked by the cluster that runs, with its process id in it.
    lock: PathBuf,
    log: PathBuf,
    /// What is to be told, once it is ready.
    ready: PathBuf,
}

impl Files {
    fn find() -> anyhow::Result<Self> {
        let directory = settings::cache_dir()?;
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let file = |name: &str| directory.join(name);
        Ok(Self { lock: file("cluster.lock"), log: file("cluster.log"), ready: file("cluster.ready") })
    }

    /// The process of the cluster that runs.
    fn holder(&self) -> anyhow::Result<Option<i32>> {
        let mut lock =
            File::options().create(true).truncate(false).read(true).write(true).open(&self.lock)?;
        if lock.try_lock().is_ok() {
            return Ok(None);
        }
        let mut text = String::new();
        lock.rewind()?;
        lock.read_to_string(&mut text)?;
        Ok(Some(text.trim().parse().with_context(|| format!("{} holds no id", self.lock.display()))?))
    }

    fn wait_ready(&self, child: &mut Child) -> anyhow::Result<String> {
        loop {
            if let Ok(text) = fs::read_to_string(&self.ready) {
                return Ok(text);
            }
            if let Some(status) = child.try_wait()? {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                bail!("the cluster did not start ({status})\n{}", log.trim());
            }
            std::thread::sleep(STEP);
        }
    }
}
