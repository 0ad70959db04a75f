// SPDX-License-Identifier: Apache-2.0
//! etcd, kube-apiserver and kube-controller-manager in a namespace of their own.

mod launch;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, bail};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};

use crate::binaries::{Binaries, Program};
use crate::frame::Mac;
use crate::helm3::Extras;
use crate::kubeconfig;
use crate::netns::Netns;
use crate::patience::{self, LONG, Look};
use crate::pki::{Pair, Pki};
use crate::process::{Process, Spec};
use crate::state::StateDir;
use launch::Launch;

/// The API server's address on the management network.
pub const API_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// And its port there.
pub const API_PORT: u16 = 6443;
/// Its Ethernet address: that of the management bridge.
const API_MAC: Mac = Mac([0x52, 0x54, 0, 0x63, 0, 1]);
/// Lifetime of the programs' ServiceAccount tokens: longer than any lab lives.
const TOKEN_SECONDS: i64 = 24 * 3600;

/// What a new control plane starts with.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own, named where it is set")]
pub struct Options {
    /// Install Gateway API's CRDs.
    pub gateway_api: bool,
    /// Install the stand-in for Cilium's `CiliumL2AnnouncementPolicy` CRD.
    pub cilium_policies: bool,
    /// Whether nodes are machines with kubelets: the control plane watches whether they are alive, and schedules pods.
    pub machines: bool,
    /// Install the chart with these values (`key=value`); `None`: not at all.
    pub chart: Option<Vec<String>>,
    /// Have etcd wait for the disk at each write, as in a cluster.
    pub fsync: bool,
}

impl Default for Options {
    /// Everything installed, with the chart's default values; etcd does not wait for the disk.
    fn default() -> Self {
        Self {
            gateway_api: true,
            cilium_policies: true,
            machines: false,
            chart: Some(Vec::new()),
            fsync: false,
        }
    }
}

/// A running control plane. Dropping it ends its processes and removes its state.
#[derive(Debug)]
pub struct ControlPlane {
    scheduler: Mutex<Option<Process>>,
    controller_manager: Process,
    api_server: Process,
    etcd: Process,
    netns: Netns,
    binaries: Binaries,
    pki: Pki,
    serving: Pair,
    kubeconfig: PathBuf,
    next_address: AtomicU16,
    next_lan: AtomicU16,
    next_name: AtomicU16,
    machines: bool,
    state: StateDir,
}

impl ControlPlane {
    /// Starts one in `netns`, with nothing installed. The calling runtime's threads must be in that namespace.
    ///
    /// # Errors
    /// With the tail of the log of the process that failed.
    pub(crate) async fn start(netns: Netns, options: &Options) -> anyhow::Result<Self> {
        let machines = options.machines;
        let binaries = tokio::task::spawn_blocking(Binaries::prepare).await??;
        let state = StateDir::create()?;
        netns.add_bridge("br0", API_MAC)?;
        netns.ip(&format!("addr add {API_ADDRESS}/16 dev br0"))?;
        netns.ip("link set br0 up")?;
        let pki = Pki::create(&state.path().join("pki"))?;
        let launch = Launch { netns: &netns, binaries: &binaries, state: &state, machines };
        let etcd = launch.etcd(options.fsync)?;
        let serving = serving(&pki)?;
        let api_server = launch.api_server(&pki, &serving)?;
        let dir = state.path().join("kubeconfigs");
        let kubeconfig = admin(&dir, &pki)?;
        wait_ready(&kubeconfig, &server(), &[&etcd, &api_server]).await?;
        let controller_manager = launch.controller_manager(&pki, &dir)?;
        pki.client("system:kube-scheduler", None)
            .and_then(|pair| user(&dir, &pki, "scheduler", &pair))
            .context("cannot make the scheduler's kubeconfig")?;
        let plane = Self {
            scheduler: Mutex::new(None),
            controller_manager,
            api_server,
            etcd,
            netns,
            binaries,
            pki,
            serving,
            kubeconfig,
            next_address: AtomicU16::new(256),
            next_lan: AtomicU16::new(1),
            next_name: AtomicU16::new(1),
            machines,
            state,
        };
        if machines {
            plane.start_scheduler()?;
        }
        Ok(plane)
    }

    /// The API server's process, to kill, freeze and restart.
    pub fn api_server(&self) -> &Process {
        &self.api_server
    }

    /// etcd's process.
    pub fn etcd(&self) -> &Process {
        &self.etcd
    }

    /// kube-controller-manager's process (garbage collector, ServiceAccounts, EndpointSlices; no node life cycle).
    pub fn controller_manager(&self) -> &Process {
        &self.controller_manager
    }

    /// Starts kube-scheduler, which the lab leaves out until somebody needs it.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_scheduler(&self) -> anyhow::Result<()> {
        let (netns, binaries, state) = (&self.netns, &self.binaries, &self.state);
        let launch = Launch { netns, binaries, state, machines: self.machines };
        let config = self.state.path().join("kubeconfigs/scheduler");
        let process = launch.start(
            Program::Scheduler,
            &[
                format!("--kubeconfig={}", config.display()),
                "--leader-elect=false".into(),
                "--bind-address=127.0.0.1".into(),
            ],
        )?;
        *self.scheduler.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(process);
        Ok(())
    }

    /// Waits until the API server says that it is ready, for example after a restart.
    ///
    /// # Errors
    /// When it exited or is not ready within a minute.
    pub async fn wait_ready(&self) -> anyhow::Result<()> {
        wait_ready(&self.kubeconfig, &server(), &[&self.etcd, &self.api_server]).await
    }

    /// Starts another API server on the same etcd, at [`API_ADDRESS`] and `port`, and waits until it is ready. Nobody uses it
    /// who is not told to: see [`crate::Node::balance`].
    ///
    /// # Errors
    /// When it exits or is not ready within a minute.
    pub async fn start_another_api_server(&self, port: u16) -> anyhow::Result<Process> {
        let first = self.api_server.spec();
        let mut spec = Spec { name: format!("{}-{port}", first.name), ..first.clone() };
        spec.log = self.state.log(&spec.name);
        // Of a flag that is given twice the last one counts.
        spec.args.push(format!("--secure-port={port}"));
        let audit = self.state.path().join(format!("logs/audit-{port}.jsonl"));
        spec.args.push(format!("--audit-log-path={}", audit.display()));
        let process = Process::start(spec)?;
        let url = format!("https://{API_ADDRESS}:{port}");
        wait_ready(&self.kubeconfig, &url, &[&self.etcd, &process]).await?;
        Ok(process)
    }

    /// The API server's certificate and key.
    pub(crate) fn serving(&self) -> (&Path, &Path) {
        (&self.serving.certificate, &self.serving.key)
    }

    /// The namespace of the control plane.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its directory: logs, kubeconfigs, keys.
    pub fn state(&self) -> &StateDir {
        &self.state
    }

    /// The kubeconfig of a cluster administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The certificate of the authority that signed the API server's certificate.
    pub fn ca(&self) -> &Path {
        &self.pki.ca
    }

    /// A new client with an administrator's rights, bound to the calling runtime.
    ///
    /// # Errors
    /// When the kubeconfig is gone.
    pub async fn client(&self) -> anyhow::Result<kube::Client> {
        Ok(kube::Client::try_from(kubeconfig::load(&self.kubeconfig).await?)?)
    }

    /// The API server's audit log: one JSON object per line; all requests as metadata, Services with their bodies.
    pub fn audit_log(&self) -> PathBuf {
        self.state.path().join("logs/audit.jsonl")
    }

    /// Writes a kubeconfig with a token of this ServiceAccount, so that its holder may do what RBAC grants, not more.
    ///
    /// # Errors
    /// When the ServiceAccount does not exist.
    pub async fn kubeconfig_of(&self, namespace: &str, service_account: &str) -> anyhow::Result<PathBuf> {
        let path = self
            .state
            .path()
            .join(format!("kubeconfigs/{namespace}.{service_account}.{}", self.next_number()));
        let api: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let spec = TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..Default::default() };
        let request = TokenRequest { spec, ..Default::default() };
        let answer = api
            .create_token_request(service_account, &PostParams::default(), &request)
            .await
            .with_context(|| format!("cannot get a token of ServiceAccount {namespace}/{service_account}"))?;
        let token = answer.status.context("the API server made no token")?.token;
        kubeconfig::with_token(&path, &server(), &self.pki.ca, &token)
    }

    /// Writes a kubeconfig for a user of this name and group, with everything that it refers to inside.
    pub(crate) fn kubeconfig_of_user(&self, name: &str, group: Option<&str>) -> anyhow::Result<PathBuf> {
        let pair = self.pki.client(name, group)?;
        let file = format!("kubeconfigs/{}.{}", name.replace(':', "-"), self.next_number());
        kubeconfig::complete(&self.state.path().join(file), &server(), &self.pki.ca, &pair)
    }

    /// Runs kubectl as an administrator and returns what it wrote to standard output.
    ///
    /// # Errors
    /// With what it wrote to standard error, when it fails.
    pub async fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        success("kubectl", args, &self.tool(Program::Kubectl, args, None).await?)
    }

    /// Runs kubectl as an administrator and returns what it wrote to standard error: warnings of the API server.
    ///
    /// # Errors
    /// With the same, when it fails.
    pub async fn kubectl_warnings(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = self.tool(Program::Kubectl, args, None).await?;
        success("kubectl", args, &output)?;
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Applies YAML, server-side, as the user `lab` of field managers.
    ///
    /// # Errors
    /// With kubectl's message.
    pub async fn apply(&self, yaml: &str) -> anyhow::Result<()> {
        let args = ["apply", "--server-side", "--force-conflicts", "--field-manager=lab", "-f", "-"];
        success("kubectl", &args, &self.tool(Program::Kubectl, &args, Some(yaml.to_owned())).await?).map(drop)
    }

    /// Runs Helm as an administrator and returns what it wrote to standard output.
    ///
    /// # Errors
    /// With what it wrote to standard error, when it fails.
    pub async fn helm(&self, args: &[&str]) -> anyhow::Result<String> {
        success("helm", args, &self.tool(Program::Helm, args, None).await?)
    }

    /// Runs Helm 3 as an administrator and returns what it wrote to standard output.
    ///
    /// # Errors
    /// With what it wrote to standard error, when it fails.
    pub async fn helm3(&self, args: &[&str]) -> anyhow::Result<String> {
        let extras = tokio::task::spawn_blocking(Extras::prepare).await??;
        success("helm (3)", args, &self.run(Command::new(extras.helm3), args, None).await?)
    }

    /// Runs kubectl as an administrator with `input` as its standard input.
    ///
    /// # Errors
    /// With what it wrote to standard error, when it fails.
    pub async fn kubectl_with_input(&self, args: &[&str], input: String) -> anyhow::Result<String> {
        success("kubectl", args, &self.tool(Program::Kubectl, args, Some(input)).await?)
    }

    /// Kills everything and removes the state, for a control plane that is never dropped.
    pub(crate) fn end(&self) {
        for process in [&self.controller_manager, &self.api_server, &self.etcd] {
            let _ = process.signal(nix::sys::signal::Signal::SIGKILL);
        }
        self.state.clear();
    }

    /// A number that nobody else of this control plane got: for names.
    pub fn next_number(&self) -> u16 {
        self.next_name.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    pub(crate) fn next_lan(&self) -> anyhow::Result<u8> {
        u8::try_from(self.next_lan.fetch_add(1, Ordering::Relaxed)).context("more than 255 LANs")
    }

    /// Plugs `netns` into the management network and returns its address there.
    pub(crate) fn attach(&self, netns: &Netns, interface: &str) -> anyhow::Result<Ipv4Addr> {
        let number = self.next_address.fetch_add(1, Ordering::Relaxed);
        let [high, low] = number.to_be_bytes();
        let address = Ipv4Addr::new(10, 99, high, low);
        self.netns
            .ip(&format!("link add m{number} type veth peer name {interface} netns {}", netns.path()))?;
        self.netns.ip(&format!("link set m{number} master br0 up"))?;
        netns.ip(&format!("addr add {address}/16 dev {interface}"))?;
        netns.ip(&format!("link set {interface} up"))?;
        Ok(address)
    }

    async fn tool(&self, program: Program, args: &[&str], input: Option<String>) -> anyhow::Result<Output> {
        self.run(Command::new(self.binaries.path(program)), args, input).await
    }

    async fn run(
        &self,
        mut command: Command,
        args: &[&str],
        input: Option<String>,
    ) -> anyhow::Result<Output> {
        let helm = self.state.path().join("helm");
        command.args(args).env("KUBECONFIG", &self.kubeconfig).env("HOME", &helm);
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, &helm);
        }
        let netns = self.netns.clone();
        tokio::task::spawn_blocking(move || match input {
            Some(text) => netns.output_with_input(command, &text),
            None => netns.output(command),
        })
        .await?
    }
}

fn success(tool: &str, args: &[&str], output: &Output) -> anyhow::Result<String> {
    if !output.status.success() {
        bail!("{tool} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn server() -> String {
    format!("https://{API_ADDRESS}:{API_PORT}")
}

/// The certificate of every API server, and of whatever stands before one.
fn serving(pki: &Pki) -> anyhow::Result<Pair> {
    let address = API_ADDRESS.to_string();
    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "localhost",
        "127.0.0.1",
        "10.96.0.1",
        &address,
    ];
    pki.server("kube-apiserver", &names)
}

fn admin(dir: &Path, pki: &Pki) -> anyhow::Result<PathBuf> {
    user(dir, pki, "admin", &pki.client("lab-admin", Some("system:masters"))?)
}

fn user(dir: &Path, pki: &Pki, file: &str, pair: &Pair) -> anyhow::Result<PathBuf> {
    kubeconfig::with_certificate(&dir.join(file), &server(), &pki.ca, pair)
}

async fn wait_ready(kubeconfig: &Path, url: &str, processes: &[&Process]) -> anyhow::Result<()> {
    let mut config = kubeconfig::load(kubeconfig).await?;
    config.cluster_url = url.parse()?;
    let client = kube::Client::try_from(config)?;
    patience::until("the API server is ready", LONG, async || {
        for process in processes {
            if !process.is_running() {
                bail!("{} exited\n{}", process.name(), process.log_tail(20));
            }
        }
        let request = http::Request::get("/readyz").body(Vec::new())?;
        Ok(match client.request_text(request).await {
            Ok(_) => Look::Found(()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .await
}
