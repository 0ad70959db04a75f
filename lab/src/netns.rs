// SPDX-License-Identifier: Apache-2.0
//! Network namespaces that exist only as a file descriptor of this process.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::{Command, Output};
use std::sync::Arc;

use anyhow::{Context, bail};
use nix::sched::{CloneFlags, setns, unshare};

use crate::frame::Mac;
use crate::spawner;

/// A network namespace. The kernel frees it when the last clone and the last process in it are gone.
#[derive(Clone, Debug)]
pub struct Netns {
    name: Arc<str>,
    file: Arc<File>,
}

impl Netns {
    /// Makes an empty namespace with its loopback up. `name` is for messages only.
    ///
    /// # Errors
    /// Without `CAP_SYS_ADMIN`.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let file = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    unshare(CloneFlags::CLONE_NEWNET)
                        .context("cannot make a network namespace (the lab needs root)")?;
                    File::open("/proc/thread-self/ns/net").context("cannot open the new network namespace")
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        let netns = Self { name: name.into(), file: Arc::new(file) };
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Moves the calling thread into this namespace, for good.
    ///
    /// # Errors
    /// Without `CAP_SYS_ADMIN`.
    pub fn move_thread_in(&self) -> anyhow::Result<()> {
        setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter the network namespace {}", self.name))
    }

    /// Runs `work` on a thread inside this namespace and hands its result back. Sockets it opens stay in here.
    ///
    /// # Errors
    /// When the namespace can't be entered, and those of `work`.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.move_thread_in()?;
                    work()
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `ip` with the space-separated `arguments` in here.
    ///
    /// # Errors
    /// With what `ip` wrote, when it fails.
    pub fn ip(&self, arguments: &str) -> anyhow::Result<String> {
        let mut command = Command::new("ip");
        command.args(arguments.split_ascii_whitespace());
        let output = self.output(command)?;
        if !output.status.success() {
            bail!("ip {arguments} (in {}): {}", self.name, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Makes the bridge `name`, with `mac` for good: a bridge that was given none takes the lowest of its ports' and so changes it
    /// whenever ports come and go, and whoever has it in a neighbour cache loses the bridge for a dozen seconds.
    ///
    /// # Errors
    /// With what `ip` wrote, when it fails.
    pub fn add_bridge(&self, name: &str, mac: Mac) -> anyhow::Result<()> {
        self.ip(&format!("link add {name} address {mac} type bridge")).map(drop)
    }

    /// Runs `command` in here to its end and collects what it wrote.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn output(&self, command: Command) -> anyhow::Result<Output> {
        spawner::output(command, Some(self.clone()))
    }

    /// As [`Netns::output`], with `input` on its standard input.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn output_with_input(&self, command: Command, input: &str) -> anyhow::Result<Output> {
        spawner::output_with_input(command, self.clone(), input)
    }

    /// Has nftables take in `rules`, as `nft -f` reads them, in here.
    ///
    /// # Errors
    /// With what `nft` wrote, when it fails.
    pub fn nft(&self, rules: &str) -> anyhow::Result<()> {
        let mut command = Command::new("nft");
        command.args(["-f", "-"]);
        let output = self.output_with_input(command, rules)?;
        if !output.status.success() {
            bail!("nft (in {}): {}", self.name, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Writes a network sysctl (`net/ipv4/…`) of this namespace.
    ///
    /// # Errors
    /// When the kernel has no such setting or refuses the value.
    pub fn sysctl(&self, path: &str, value: &str) -> anyhow::Result<()> {
        self.enter(|| {
            std::fs::write(format!("/proc/sys/{path}"), value).with_context(|| format!("cannot write {path}"))
        })
    }

    /// A path that other programs of this machine can use for the namespace while this process lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
