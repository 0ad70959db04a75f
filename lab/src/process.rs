// SPDX-License-Identifier: Apache-2.0
//! A child process with a log file, that can be stopped, frozen and started again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::sync::watch;

use crate::netns::Netns;
use crate::patience::{self, Look};
use crate::spawner;

/// How long a program may take to exit after SIGTERM.
const GRACE: Duration = Duration::from_secs(15);

/// What to run and where.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What messages and the log file call it.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables beside the inherited ones.
    pub env: Vec<(String, String)>,
    /// The namespace it runs in.
    pub netns: Netns,
    /// Where its output goes; appended to at a restart.
    pub log: PathBuf,
    /// Whether dropping the [`Process`] asks it to exit before it is killed.
    pub polite: bool,
}

/// A running (or exited) child. Dropping it ends the child.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    running: Mutex<Running>,
}

#[derive(Debug)]
struct Running {
    /// None once reaped, so that no signal reaches a process that got the same id later.
    pid: Arc<Mutex<Option<Pid>>>,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// When the program can't be started or the log can't be opened.
    pub fn start(spec: Spec) -> anyhow::Result<Self> {
        let running = Mutex::new(launch(&spec)?);
        Ok(Self { spec, running })
    }

    /// Starts it again after it exited, or ends it first.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub async fn restart(&self) -> anyhow::Result<()> {
        self.restart_with(self.spec.args.clone()).await
    }

    /// As [`Process::restart`], with other arguments.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub async fn restart_with(&self, args: Vec<String>) -> anyhow::Result<()> {
        if self.is_running() {
            self.kill().await?;
        }
        *self.running() = launch(&Spec { args, ..self.spec.clone() })?;
        Ok(())
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What it was started with.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        let pid = *lock(&self.running().pid);
        pid.and_then(|pid| u32::try_from(pid.as_raw()).ok())
    }

    /// Whether it has not exited.
    pub fn is_running(&self) -> bool {
        self.running().exit.borrow().is_none()
    }

    /// Sends SIGTERM and waits for the exit.
    ///
    /// # Errors
    /// When it does not exit within 15 s.
    pub async fn terminate(&self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.exited(GRACE).await
    }

    /// Sends SIGKILL and waits for the exit.
    ///
    /// # Errors
    /// When it was not running.
    pub async fn kill(&self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        self.exited(GRACE).await
    }

    /// Stops it as by SIGSTOP: it keeps its sockets and its memory, and does nothing.
    ///
    /// # Errors
    /// When it is not running.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets a frozen process go on.
    ///
    /// # Errors
    /// When it is not running.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Sends any signal.
    ///
    /// # Errors
    /// When it is not running.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let shared = Arc::clone(&self.running().pid);
        let pid = lock(&shared);
        let Some(pid) = *pid else { bail!("{} is not running: it can't get {signal}", self.spec.name) };
        kill(pid, signal).with_context(|| format!("cannot send {signal} to {}", self.spec.name))
    }

    /// Waits until it exits by itself.
    ///
    /// # Errors
    /// When it still runs after `within`.
    pub async fn exited(&self, within: Duration) -> anyhow::Result<ExitStatus> {
        let mut exit = self.running().exit.clone();
        let status = tokio::time::timeout(within, exit.wait_for(Option::is_some)).await;
        match status {
            Ok(Ok(status)) => status.context("exit status"),
            Ok(Err(_)) => bail!("{} was lost", self.spec.name),
            Err(_) => bail!("{} still runs after {within:?}\n{}", self.spec.name, self.log_tail(15)),
        }
    }

    /// Everything it wrote so far, over all restarts.
    pub fn log(&self) -> String {
        std::fs::read(&self.spec.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The last lines it wrote.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.spec.log, lines)
    }

    /// Waits for the first line that `wanted` accepts.
    ///
    /// # Errors
    /// When none appears within the time.
    pub async fn log_line(&self, within: Duration, wanted: impl Fn(&str) -> bool) -> anyhow::Result<String> {
        patience::until(&format!("a line in the log of {}", self.spec.name), within, async || {
            Ok(match self.log().lines().find(|line| wanted(line)) {
                Some(line) => Look::Found(line.to_owned()),
                None => Look::NotYet(self.log_tail(5)),
            })
        })
        .await
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        lock(&self.running)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let running = self.running();
        let wait = |limit: Duration| {
            let step = Duration::from_millis(5);
            let mut waited = Duration::ZERO;
            while running.exit.borrow().is_none() && waited < limit {
                std::thread::sleep(step);
                waited += step;
            }
        };
        let send = |signal| {
            if let Some(pid) = *lock(&running.pid) {
                let _ = kill(pid, signal);
            }
        };
        if self.spec.polite {
            send(Signal::SIGTERM);
            send(Signal::SIGCONT);
            wait(Duration::from_secs(3));
        }
        send(Signal::SIGKILL);
        wait(Duration::from_secs(3));
    }
}

fn launch(spec: &Spec) -> anyhow::Result<Running> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(&spec.log)
        .with_context(|| format!("cannot open {}", spec.log.display()))?;
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.args)
        .envs(spec.env.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    // An own process group: Ctrl-C in the terminal is for the lab, which ends its children in order.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let child = spawner::spawn(command, Some(spec.netns.clone()))?;
    Ok(watch_exit(child))
}

/// Waits for the exit on a thread of its own, and forgets the id before the kernel may give it to somebody else.
fn watch_exit(mut child: Child) -> Running {
    let raw = Pid::from_raw(child.id().cast_signed());
    let pid = Arc::new(Mutex::new(Some(raw)));
    let (sender, exit) = watch::channel(None);
    let shared = Arc::clone(&pid);
    std::thread::spawn(move || {
        while let Err(nix::Error::EINTR) = waitid(Id::Pid(raw), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
        }
        *lock(&shared) = None;
        if let Ok(status) = child.wait() {
            sender.send_replace(Some(status));
        }
    });
    Running { pid, exit }
}

/// The last lines of a log file.
pub(crate) fn tail(log: &Path, lines: usize) -> String {
    let text =
        std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
