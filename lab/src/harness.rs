// SPDX-License-Identifier: Apache-2.0
//! The frame of a test: a control plane, and a runtime whose threads live in its namespace.

use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use futures::FutureExt;
use kube::Client;

use crate::binaries;
use crate::chart;
use crate::control_plane::{ControlPlane, Options};
use crate::lan::Lan;
use crate::netns::Netns;
use crate::process::{Spec, tail};
use crate::standin;
use crate::webhook::Webhook;
use crate::{sys, webhook};

/// How much of each log a failed test shows.
const TAIL: usize = 25;

/// Runs `test` with the control plane that all tests of this process share (started by the first one, with default
/// [`Options`]). Its threads are in the control plane's namespace, so that clients and sockets reach it directly.
///
/// When the test fails, the ends of the logs of what it started are printed and the log directory is kept.
///
/// # Errors
/// Those of `test`, and when the control plane does not start.
pub fn run<T: Send>(test: impl AsyncFnOnce(&Lab) -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    run_on(shared()?, test)
}

/// Runs `test` with a control plane of its own, for tests that kill, freeze or restart parts of it, or that need other
/// things installed.
///
/// # Errors
/// As [`run`].
pub fn run_alone<T: Send>(
    options: &Options,
    test: impl AsyncFnOnce(&Lab) -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    run_on(Arc::new(start(options)?), test)
}

/// Waits for Ctrl-C or SIGTERM.
pub(crate) async fn until_stopped() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result.context("cannot wait for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}

/// What a test works with.
pub struct Lab {
    bench: Arc<Bench>,
    client: Client,
}

impl Lab {
    /// One on this control plane, whose client belongs to the calling runtime.
    pub(crate) async fn on(plane: ControlPlane) -> anyhow::Result<Self> {
        Self::on_shared(Arc::new(plane)).await
    }

    async fn on_shared(plane: Arc<ControlPlane>) -> anyhow::Result<Self> {
        let client = plane.client().await?;
        Ok(Self { bench: Arc::new(Bench { plane, logs: Mutex::default() }), client })
    }

    pub(crate) fn bench(&self) -> &Arc<Bench> {
        &self.bench
    }

    /// A client with an administrator's rights.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The control plane.
    pub fn control_plane(&self) -> &ControlPlane {
        &self.bench.plane
    }

    /// A new, empty LAN. Its name, and the prefix of its nodes' names, is `prefix` and a number.
    ///
    /// # Errors
    /// When the kernel refuses a link.
    pub fn lan(&self, prefix: &str) -> anyhow::Result<Lan> {
        let number = self.bench.plane.next_lan()?;
        Lan::create(Arc::clone(&self.bench), self.client(), &format!("{prefix}{number}"), number)
    }

    /// A new, empty LAN with exactly this name and the addresses 192.168.`third_octet`.0/24.
    ///
    /// # Errors
    /// When the kernel refuses a link.
    pub fn named_lan(&self, name: &str, third_octet: u8) -> anyhow::Result<Lan> {
        Lan::create(Arc::clone(&self.bench), self.client(), name, third_octet)
    }

    /// Makes a Kubernetes namespace with a name that starts with `prefix` and was not used before.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn namespace(&self, prefix: &str) -> anyhow::Result<String> {
        let name = format!("{prefix}-{}", self.bench.plane.next_number());
        self.kubectl(&["create", "namespace", &name]).await?;
        Ok(name)
    }

    /// Starts a webhook replica in a "pod" of its own behind the chart's Service, and waits until it is ready.
    ///
    /// # Errors
    /// When it exits or is not ready within a minute.
    pub async fn run_webhook(&self, args: &[&str]) -> anyhow::Result<Webhook> {
        let webhook = self.start_webhook(args).await?;
        webhook.wait_ready().await?;
        Ok(webhook)
    }

    /// As [`Lab::run_webhook`], without waiting.
    ///
    /// # Errors
    /// When it can't be started.
    pub async fn start_webhook(&self, args: &[&str]) -> anyhow::Result<Webhook> {
        webhook::start(&self.bench, self.client(), args, Vec::new()).await
    }

    /// As [`Lab::start_webhook`], on a machine whose clock is wrong by `offset`, like `+5m`.
    ///
    /// # Errors
    /// When libfaketime is missing, or it can't be started.
    pub async fn start_webhook_by_clock(&self, offset: &str, args: &[&str]) -> anyhow::Result<Webhook> {
        webhook::start(&self.bench, self.client(), args, webhook::wrong_clock(offset)?).await
    }

    /// The webhook replica that the tests of this process share; started, and waited for, by the first caller.
    /// For tests that do not stop it.
    ///
    /// # Errors
    /// As [`Lab::run_webhook`].
    pub async fn shared_webhook(&self) -> anyhow::Result<&'static Webhook> {
        static WEBHOOK: tokio::sync::OnceCell<Webhook> = tokio::sync::OnceCell::const_new();
        WEBHOOK.get_or_try_init(|| self.run_webhook(&[])).await
    }

    /// Installs Gateway API's CRDs, into a control plane that was started without them.
    ///
    /// # Errors
    /// With kubectl's message.
    pub async fn install_gateway_api(&self) -> anyhow::Result<()> {
        binaries::install_gateway_api(self.control_plane()).await
    }

    /// Runs kubectl as an administrator.
    ///
    /// # Errors
    /// With kubectl's message.
    pub async fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.control_plane().kubectl(args).await
    }

    /// Applies YAML.
    ///
    /// # Errors
    /// With kubectl's message.
    pub async fn apply(&self, yaml: &str) -> anyhow::Result<()> {
        self.control_plane().apply(yaml).await
    }
}

/// A control plane and the list of logs that belong to one test.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) plane: Arc<ControlPlane>,
    logs: Mutex<Vec<(String, PathBuf)>>,
}

impl Bench {
    /// A process description with a log of its own.
    pub(crate) fn spec(&self, name: &str, program: PathBuf, args: Vec<String>, netns: &Netns) -> Spec {
        let log = self.plane.state().log(&format!("{name}-{}", self.plane.next_number()));
        self.watch_log(name, log.clone());
        Spec {
            name: name.to_owned(),
            program,
            args,
            env: Vec::new(),
            netns: netns.clone(),
            log,
            polite: true,
        }
    }

    /// Has the end of this log printed when a test fails.
    pub(crate) fn watch_log(&self, name: &str, log: PathBuf) {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).push((name.to_owned(), log));
    }

    pub(crate) fn report(&self) {
        self.plane.state().keep();
        let mut text = String::new();
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, log) in logs.iter() {
            let _ = writeln!(text, "--- the end of {name}'s log\n{}", tail(log, TAIL));
        }
        let _ =
            writeln!(text, "--- the end of kube-apiserver's log\n{}", self.plane.api_server().log_tail(10));
        let _ = writeln!(text, "--- all logs: {}", self.plane.state().kept_path().join("logs").display());
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

/// A runtime whose threads are in `netns`.
pub(crate) fn runtime_inside(netns: &Netns) -> anyhow::Result<tokio::runtime::Runtime> {
    let inside = netns.clone();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(move || {
            if let Err(error) = inside.move_thread_in() {
                tracing::error!(%error, "a thread of the lab is in the wrong network namespace");
            }
        })
        .build()
        .context("cannot start a runtime")
}

fn run_on<T: Send>(
    plane: Arc<ControlPlane>,
    test: impl AsyncFnOnce(&Lab) -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let netns = plane.netns().clone();
    run_inside(&netns, async move || {
        let lab = Lab::on_shared(plane).await?;
        let outcome = AssertUnwindSafe(test(&lab)).catch_unwind().await;
        if !matches!(outcome, Ok(Ok(_))) {
            lab.bench.report();
        }
        outcome.unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Runs `work` on a thread in `netns` with a runtime whose threads are there too.
fn run_inside<T: Send>(
    netns: &Netns,
    work: impl AsyncFnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    netns.enter(|| runtime_inside(netns)?.block_on(work()))
}

/// Starts a control plane.
pub(crate) fn start(options: &Options) -> anyhow::Result<ControlPlane> {
    // The first one wins; any later call finds it installed, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let netns = Netns::new("cp")?;
    run_inside(&netns, async || {
        let plane = ControlPlane::start(netns.clone(), options).await?;
        if options.gateway_api {
            binaries::install_gateway_api(&plane).await?;
        }
        if options.cilium_policies {
            standin::cilium::install_policy_kind(&plane).await?;
        }
        if let Some(values) = &options.chart {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            chart::install(&plane, &values).await?;
        }
        Ok(plane)
    })
}

static SHARED: Mutex<Option<Result<Arc<ControlPlane>, String>>> = Mutex::new(None);

fn shared() -> anyhow::Result<Arc<ControlPlane>> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let plane = shared.get_or_insert_with(|| {
        sys::at_exit(end_shared);
        start(&Options::default()).map(Arc::new).map_err(|error| format!("{error:#}"))
    });
    plane.clone().map_err(|error| anyhow::anyhow!("the shared control plane did not start: {error}"))
}

/// Ends the control plane of a lab that is never dropped.
pub(crate) fn end_with(lab: &Lab) {
    lab.bench.plane.end();
}

/// Statics are never dropped, so the shared control plane's directory is removed here. (Its processes die anyway.)
extern "C" fn end_shared() {
    let shared = SHARED.try_lock().ok().and_then(|mut shared| shared.take());
    if let Some(Ok(plane)) = shared {
        plane.end();
    }
}
