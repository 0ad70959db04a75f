// SPDX-License-Identifier: Apache-2.0
//! The first process of a machine: it mounts, starts containerd, kubelet and kube-proxy, starts them again when they exit,
//! and waits for orphans. Its death is the machine's: the kernel kills every process of its namespace.

use std::convert::Infallible;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::blueprint::{Blueprint, PLACE, SOCKET};
use super::mounts;
use crate::patience::block_until;

/// Before a program that exited is started again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long containerd may take to come up and take the images.
const PATIENCE: Duration = Duration::from_mins(1);
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs the machine, for as long as it lives.
///
/// # Errors
/// When it is not the first process of a namespace, and when a program does not start.
pub fn run(blueprint: &Path) -> anyhow::Result<Infallible> {
    ensure!(
        nix::unistd::getpid().as_raw() == 1,
        "this command is for the lab itself: it starts machines by it"
    );
    let machine = Blueprint::read(blueprint)?;
    nix::unistd::sethostname(&machine.name).context("cannot set the host's name")?;
    mounts::make(&machine)?;
    machine.configure()?;
    let containerd = Program::start("containerd", "containerd", &["-c", "containerd.toml", "-l", "warn"])?;
    for archive in machine.archives() {
        import(&archive)?;
    }
    let addresses =
        [format!("--node-ip={}", machine.address), format!("--hostname-override={}", machine.name)];
    let kubelet = ["--config=kubelet.yaml", "--kubeconfig=kubelet.conf", &addresses[0], &addresses[1]];
    let kubelet = Program::start("kubelet", "./kubelet", &kubelet)?;
    let proxy = Program::start("kube-proxy", "./kube-proxy", &["--config=kube-proxy.yaml"])?;
    keep([containerd, kubelet, proxy])
}

/// A program that shall run.
struct Program {
    name: &'static str,
    path: &'static str,
    args: Vec<String>,
    pid: Pid,
}

impl Program {
    fn start(name: &'static str, path: &'static str, args: &[&str]) -> anyhow::Result<Self> {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut program = Self { name, path, args, pid: Pid::from_raw(0) };
        program.launch()?;
        Ok(program)
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        let log = format!("/var/log/{}.log", self.name);
        let log = File::options().create(true).append(true).open(&log).with_context(|| log.clone())?;
        let child = command(self.path)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        self.pid = Pid::from_raw(child.id().cast_signed());
        Ok(())
    }
}

/// Waits for children, those that were left to this process included.
fn keep(mut programs: [Program; 3]) -> anyhow::Result<Infallible> {
    loop {
        let status = match waitpid(None, None) {
            Ok(status) => status,
            Err(nix::Error::EINTR) => continue,
            Err(error) => bail!("cannot wait for children: {error}"),
        };
        let Some(program) = programs.iter_mut().find(|program| Some(program.pid) == status.pid()) else {
            continue;
        };
        tracing::warn!("{} ended ({status:?}), and is started again", program.name);
        std::thread::sleep(PAUSE);
        program.launch()?;
    }
}

/// Hands an archive to containerd, as soon as that answers.
fn import(archive: &str) -> anyhow::Result<()> {
    let mut refusal = String::new();
    let taken = block_until(PATIENCE, || {
        let output = command("ctr")
            .args(["--address", SOCKET, "--namespace", "k8s.io", "images", "import", archive])
            .stdin(Stdio::null())
            .output()
            .context("cannot run ctr")?;
        String::from_utf8_lossy(&output.stderr).trim().clone_into(&mut refusal);
        Ok(output.status.success())
    })?;
    ensure!(taken, "containerd does not take {archive}: {refusal}");
    Ok(())
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(PLACE).env("PATH", PATH);
    command
}
