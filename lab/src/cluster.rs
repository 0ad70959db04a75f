// SPDX-License-Identifier: Apache-2.0
//! A cluster whose nodes run pods: each node is a machine of namespaces with containerd, kubelet and kube-proxy.
//!
//! ```text
//!  namespace `cp`: etcd, kube-apiserver, kube-controller-manager, kube-scheduler
//!     │ management bridge 10.99.0.0/16; routes to 10.244.n.0/24, the pods of machine n
//!   mgmt0
//!  machine n: network, mount, process, host name and IPC namespaces; a cgroup
//!     first process: `gateherald-lab machine` ─ containerd ─ pods (veth pairs, or on the machine's own network)
//!   ens18                                     ├ kubelet
//!     │                                       └ kube-proxy (nftables)
//!   LAN 192.168.x.0/24
//! ```
//!
//! The kernel kills a machine's processes with its first one, and that one with the lab.

mod blueprint;
pub mod boot;
mod cgroups;
mod machine;
mod mounts;
mod requirements;
mod shared;
pub mod stay;

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Context;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};

pub use machine::Machine;
pub use shared::run;

use crate::chart::NAMESPACE;
use crate::control_plane::Options;
use crate::harness::Lab;
use crate::images;
use crate::lan::{LAN_LABEL, Lan};
use crate::netns::Netns;
use crate::patience::{self, LONG, Look};
use cgroups::Cgroups;
use machine::Plan;

/// The label of a control plane's node, as kubeadm sets it.
pub const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
/// The node with that label and the nodes without it, as everywhere in the docs.
pub const NODES: [&str; 3] = ["control-1", "worker-1", "worker-2"];
/// The third octet of the LAN's addresses, as in the story.
const OCTET: u8 = 99;

/// Machines on a LAN.
pub struct Cluster {
    machines: Vec<Machine>,
    lan: Lan,
    client: Client,
}

/// The control plane of a cluster: nodes are watched, pods are scheduled; the chart is for others to install.
pub fn options() -> Options {
    Options { chart: None, machines: true, ..Options::default() }
}

impl Cluster {
    /// Switches on the machines [`NODES`], with the images of [`images::built`], and waits until they are Ready.
    ///
    /// # Errors
    /// When something is missing for it, or a machine does not come up.
    pub async fn start(lab: &Lab) -> anyhow::Result<Self> {
        let plugins = requirements::check()?;
        let bench = lab.bench();
        let state = bench.plane.state().path();
        let mut images = vec![state.join("pause.tar")];
        images::write_pause(&images[0])?;
        images.extend(images::built()?);
        let name = state.file_name().context("the state directory's name")?.to_string_lossy();
        let lan = lab.named_lan("lan", OCTET)?;
        let cgroups = Arc::new(Cgroups::new(&name)?);
        let plan = Plan { bench, segment: lan.segment(), cgroups, plugins, images };
        let machines = (1..).zip(NODES).map(|(number, name)| Machine::start(&plan, name, number));
        let machines = machines.collect::<anyhow::Result<Vec<_>>>()?;
        let cluster = Self { machines, lan, client: lab.client() };
        cluster.connect()?;
        cluster.ready().await?;
        // A kubelet must not give itself this label; kubeadm does it with an administrator's rights.
        for machine in &cluster.machines {
            let role =
                if machine.name() == NODES[0] { CONTROL_PLANE } else { "node-role.kubernetes.io/worker" };
            let lan = format!("{LAN_LABEL}={}", cluster.lan.name());
            lab.kubectl(&["label", "node", machine.name(), &lan, &format!("{role}=")]).await?;
        }
        Ok(cluster)
    }

    /// Every machine knows the way to the others' pods.
    fn connect(&self) -> anyhow::Result<()> {
        for machine in &self.machines {
            for other in self.machines.iter().filter(|other| other.name() != machine.name()) {
                machine.know(other)?;
            }
        }
        Ok(())
    }

    /// Waits until all Nodes are Ready.
    ///
    /// # Errors
    /// When one is not within two minutes, or its machine stopped.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let waits = self.machines.iter().map(|machine| machine.wait_ready(self.client.clone()));
        futures::future::try_join_all(waits).await.map(drop)
    }

    /// The LAN: its client asks, its sniffer sees who answers.
    pub fn lan(&self) -> &Lan {
        &self.lan
    }

    /// The machines.
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// The machine of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn machine(&self, name: &str) -> anyhow::Result<&Machine> {
        let found = self.machines.iter().find(|machine| machine.name() == name);
        found.with_context(|| format!("no machine is called {name}"))
    }

    /// The machine that the claim of this address names.
    ///
    /// # Errors
    /// When nobody claims it within a minute.
    pub async fn holder(&self, address: Ipv4Addr) -> anyhow::Result<&Machine> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        let name = format!("gateherald-vip-{address}");
        let holder = patience::until("somebody claims the address", LONG, async || {
            let lease = leases.get_opt(&name).await?;
            let holder = lease.and_then(|lease| lease.spec?.holder_identity).filter(|name| !name.is_empty());
            Ok(holder.map_or_else(|| Look::NotYet(format!("no holder in {name}")), Look::Found))
        })
        .await?;
        self.machine(&holder)
    }

    /// The namespaces that a person may want to look into.
    pub(crate) fn places(&self) -> Vec<&Netns> {
        std::iter::once(self.lan.client().netns()).chain(self.machines.iter().map(Machine::netns)).collect()
    }
}
