// SPDX-License-Identifier: Apache-2.0
//! A replica of the webhook in a "pod": a namespace with an address on the management network.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context;
use kube::Client;

use crate::admin::{self, Response};
use crate::chart::NAMESPACE;
use crate::harness::Bench;
use crate::netns::Netns;
use crate::node::wait_ready;
use crate::patience::LONG;
use crate::process::{Process, Spec};
use crate::programs::program;
use crate::standin::endpoints;

/// The webhook's ServiceAccount, and its Service.
pub const WEBHOOK: &str = "gateherald-webhook";
const ADMIN_PORT: u16 = 9470;
/// Where it serves reviews.
pub const ADMISSION_PORT: u16 = 8443;

/// A running webhook replica. Dropping it sends SIGTERM, later SIGKILL.
pub struct Webhook {
    process: Process,
    netns: Netns,
    address: Ipv4Addr,
    slice: String,
    api: Client,
}

/// Starts a replica, with an endpoint behind the Service, and these variables in its environment.
pub(crate) async fn start(
    bench: &Bench,
    api: Client,
    args: &[&str],
    env: Vec<(String, String)>,
) -> anyhow::Result<Webhook> {
    let name = format!("webhook-{}", bench.plane.next_number());
    let netns = Netns::new(&name)?;
    let address = bench.plane.attach(&netns, "eth0")?;
    let kubeconfig = bench.plane.kubeconfig_of(NAMESPACE, WEBHOOK).await?;
    let kubeconfig = kubeconfig.to_string_lossy();
    let usual = ["--namespace", NAMESPACE, "--kubeconfig", &*kubeconfig, "--log-format", "json"];
    // As in its pod: without any capability.
    let mut command = vec!["--no-new-privs".to_owned(), "--bounding-set=-all".to_owned()];
    command.push(program(WEBHOOK)?.to_string_lossy().into_owned());
    command.extend(usual.iter().chain(args).map(|&arg| arg.to_owned()));
    let spec = Spec { env, ..bench.spec(&name, PathBuf::from("setpriv"), command, &netns) };
    let process = Process::start(spec)?;
    endpoints::set(api.clone(), NAMESPACE, WEBHOOK, &name, address, true).await?;
    Ok(Webhook { process, netns, address, slice: name, api })
}

/// The environment in which a program's wall clock is wrong by `offset`, like `+5m`; its monotonic clock stays right.
pub(crate) fn wrong_clock(offset: &str) -> anyhow::Result<Vec<(String, String)>> {
    let directories = std::fs::read_dir("/usr/lib").context("cannot read /usr/lib")?;
    let library = directories
        .filter_map(|entry| Some(entry.ok()?.path().join("faketime/libfaketimeMT.so.1")))
        .find(|path| path.is_file())
        .context("libfaketime is missing: run `make setup`")?;
    let set = [
        ("LD_PRELOAD", library.to_string_lossy().into_owned()),
        ("FAKETIME", offset.to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ];
    Ok(set.map(|(variable, value)| (variable.to_owned(), value)).into())
}

impl Webhook {
    /// The process: to terminate, kill, freeze, thaw, restart, and read its log (with the audit lines).
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its address on the management network.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Waits until /ready answers 200.
    ///
    /// # Errors
    /// When it exits or is not ready within a minute.
    pub async fn wait_ready(&self) -> anyhow::Result<()> {
        wait_ready(&self.process, &self.netns, self.admin(), LONG).await
    }

    /// GETs a path of the admin port: `/ready`, `/live`, `/metrics`.
    ///
    /// # Errors
    /// When nothing listens there.
    pub async fn get(&self, path: &str) -> anyhow::Result<Response> {
        admin::get(&self.netns, self.admin(), path).await
    }

    /// Writes the endpoint's readiness, as the EndpointSlice controller would after the pod's probes.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn set_endpoint_ready(&self, ready: bool) -> anyhow::Result<()> {
        endpoints::set(self.api.clone(), NAMESPACE, WEBHOOK, &self.slice, self.address, ready).await
    }

    /// The lines of its log that are audit records.
    pub fn audit(&self) -> Vec<serde_json::Value> {
        let records = self.process.log();
        let parse = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok();
        records.lines().filter_map(parse).filter(|record| record["target"] == "audit").collect()
    }

    /// Takes the endpoint away and stops the process in good order.
    ///
    /// # Errors
    /// When it does not exit, and those of the API server.
    pub async fn stop(self) -> anyhow::Result<()> {
        endpoints::remove(self.api.clone(), NAMESPACE, &self.slice).await?;
        self.process.terminate().await.map(drop)
    }

    fn admin(&self) -> SocketAddr {
        (self.address, ADMIN_PORT).into()
    }
}
