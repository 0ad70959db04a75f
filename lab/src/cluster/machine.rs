// SPDX-License-Identifier: Apache-2.0
//! A machine of the cluster, from outside: plugged into LAN and management network, switched on and off.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};

use super::blueprint::Blueprint;
use super::cgroups::Cgroups;
use crate::admin::{self, Response};
use crate::binaries::Program;
use crate::control_plane::API_ADDRESS;
use crate::frame::Mac;
use crate::harness::Bench;
use crate::lan::{NODE_INTERFACE, Port, Segment};
use crate::netns::Netns;
use crate::node::DEBUG_ADDRESS;
use crate::patience::{self, LONG, Look};
use crate::process::{Process, Spec, tail};
use crate::programs::program;

/// The Service range, as the API server has it.
const SERVICES: &str = "10.96.0.0/16";
/// The programs of a machine that write a log.
const LOGGED: [&str; 3] = ["containerd", "kubelet", "kube-proxy"];

/// A machine with a kubelet. Dropping it switches it off.
#[derive(Debug)]
pub struct Machine {
    process: Process,
    name: String,
    netns: Netns,
    port: Port,
    segment: Segment,
    management: Ipv4Addr,
    pods: String,
    directory: PathBuf,
    cgroups: Arc<Cgroups>,
}

/// What all machines of a cluster have in common.
pub(super) struct Plan<'a> {
    pub(super) bench: &'a Bench,
    pub(super) segment: &'a Segment,
    pub(super) cgroups: Arc<Cgroups>,
    pub(super) plugins: PathBuf,
    pub(super) images: Vec<PathBuf>,
}

impl Machine {
    /// Plugs it in and switches it on. `number` is its own, from 1.
    pub(super) fn start(plan: &Plan<'_>, name: &str, number: u8) -> anyhow::Result<Self> {
        let plane = &plan.bench.plane;
        let netns = Netns::new(name)?;
        let port = plan.segment.plug(&netns, name, NODE_INTERFACE)?;
        let management = plane.attach(&netns, "mgmt0")?;
        netns.sysctl("net/ipv4/ip_forward", "1")?;
        netns.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        // What a process of the node itself sends to a Service leaves from the address that the API server can answer.
        netns.ip(&format!("route add {SERVICES} via {API_ADDRESS} dev mgmt0"))?;
        let pods = format!("10.244.{number}.0/24");
        plane.netns().ip(&format!("route add {pods} via {management}"))?;

        let directory = plane.state().path().join("machines").join(name);
        for below in ["lib", "log"] {
            fs::create_dir_all(directory.join(below))?;
        }
        let blueprint = Blueprint {
            name: name.to_owned(),
            address: management,
            pods: pods.clone(),
            directory: directory.clone(),
            cgroup: plan.cgroups.create(name)?,
            kubelet: plane.binaries().path(Program::Kubelet).to_owned(),
            proxy: plane.binaries().path(Program::Proxy).to_owned(),
            kubelet_config: plane.kubeconfig_of_user(&format!("system:node:{name}"), Some("system:nodes"))?,
            proxy_config: plane.kubeconfig_of_user("system:kube-proxy", None)?,
            ca: plane.ca().to_owned(),
            plugins: plan.plugins.clone(),
            images: plan.images.clone(),
        };
        let process = Process::start(spec(plan.bench, name, &netns, &blueprint)?)?;
        for log in LOGGED {
            plan.bench.watch_log(&format!("{name}.{log}"), directory.join("log").join(format!("{log}.log")));
        }
        let segment = plan.segment.clone();
        let cgroups = Arc::clone(&plan.cgroups);
        Ok(Self {
            process,
            name: name.to_owned(),
            netns,
            port,
            segment,
            management,
            pods,
            directory,
            cgroups,
        })
    }

    /// Tells this machine the way to another one's pods.
    pub(super) fn know(&self, other: &Self) -> anyhow::Result<()> {
        self.netns.ip(&format!("route add {} via {}", other.pods, other.management)).map(drop)
    }

    /// The Node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Ethernet address of its LAN interface.
    pub fn mac(&self) -> Mac {
        self.port.mac
    }

    /// Its namespace: what listens on the node, and what a pod on the host's network sees.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Takes the power away: every process of the machine is gone at once, its pods' included.
    ///
    /// # Errors
    /// When it was off.
    pub async fn power_off(&self) -> anyhow::Result<()> {
        self.process.kill().await?;
        self.cgroups.remove(&self.name);
        Ok(())
    }

    /// Switches it on again.
    ///
    /// # Errors
    /// When it can't be started.
    pub async fn power_on(&self) -> anyhow::Result<()> {
        self.cgroups.create(&self.name)?;
        self.process.restart().await
    }

    /// Takes the LAN cable out: the carrier goes; the management network stays.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cut_link(&self) -> anyhow::Result<()> {
        self.segment.set_link(&self.port, false)
    }

    /// Puts the LAN cable back.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn restore_link(&self) -> anyhow::Result<()> {
        self.segment.set_link(&self.port, true)
    }

    /// GETs a path of its announcer's debug port, which listens on the node's loopback only: `/vips`.
    ///
    /// # Errors
    /// When nothing listens there.
    pub async fn debug(&self, path: &str) -> anyhow::Result<Response> {
        admin::get(&self.netns, DEBUG_ADDRESS, path).await
    }

    /// The ids, on the host, of the processes of this name that run on it.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn processes(&self, name: &str) -> anyhow::Result<Vec<u32>> {
        let unshare = self.process.pid().with_context(|| format!("{} is off", self.name))?;
        let all = parents();
        let mut open = vec![unshare];
        let mut found = Vec::new();
        while let Some(pid) = open.pop() {
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let program = command.split('\0').next().unwrap_or_default();
            if program.rsplit('/').next() == Some(name) {
                found.push(pid);
            }
            open.extend(all.iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| *child));
        }
        Ok(found)
    }

    /// Waits until the Node is Ready.
    pub(super) async fn wait_ready(&self, api: Client) -> anyhow::Result<()> {
        let nodes: Api<Node> = Api::all(api);
        patience::until(&format!("{} is Ready", self.name), 2 * LONG, async || {
            if !self.process.is_running() {
                anyhow::bail!("the machine {} stopped\n{}", self.name, self.process.log_tail(20));
            }
            let Some(node) = nodes.get_opt(&self.name).await? else {
                let log = tail(&self.directory.join("log/kubelet.log"), 3);
                return Ok(Look::NotYet(format!("no Node; its kubelet wrote: {log}")));
            };
            let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
            let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
            Ok(match ready {
                Some(condition) if condition.status == "True" => Look::Found(()),
                other => Look::NotYet(format!("{other:?}")),
            })
        })
        .await
    }
}

/// `unshare`, with the lab's own program as the first process of the new namespaces.
fn spec(bench: &Bench, name: &str, netns: &Netns, blueprint: &Blueprint) -> anyhow::Result<Spec> {
    let options = "--mount --pid --uts --ipc --fork --kill-child=SIGKILL --propagation private";
    let mut args: Vec<String> = options.split(' ').map(str::to_owned).collect();
    let lab = program("gateherald-lab")?;
    args.extend([lab.display().to_string(), "machine".to_owned(), blueprint.write()?.display().to_string()]);
    // Nothing of it asks for an orderly end.
    Ok(Spec { polite: false, ..bench.spec(name, PathBuf::from("unshare"), args, netns) })
}

/// Every process of the host, and its parent.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let parent = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Behind the name, which may hold anything: the state, then the parent.
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    ids.filter_map(|pid| Some((pid, parent(pid)?))).collect()
}
