// SPDX-License-Identifier: Apache-2.0
//! A Kubernetes cluster on one machine: a real control plane, and nodes that are network namespaces.
//!
//! ```text
//!              namespace `cp`: etcd, kube-apiserver, kube-controller-manager; the test's own tokio threads
//!                 │ management bridge 10.99.0.0/16 (10.99.0.1 is the API server)
//!      ┌──────────┼──────────────┬───────────────┐
//!   mgmt0      mgmt0          mgmt0            eth0
//!  node a-n1  node a-n2      node b-n1       "pod" of the webhook
//!   ens18      ens18          ens18
//!      └──┬───────┘              │
//!   bridge of LAN a (its        bridge of LAN b
//!   address is the router)
//!         │
//!      client of LAN a: asks, listens, runs arping
//! ```
//!
//! The way in is [`run`], which gives a test the [`Lab`] of one control plane that all tests of the process share:
//!
//! ```no_run
//! # use std::time::Duration;
//! fn a_holder_answers() -> anyhow::Result<()> {
//!     gateherald_lab::run(async |lab| {
//!         let lan = lab.lan("a")?; // A name like `a7`; its nodes are `a7-n1`, `a7-n2`…
//!         let node = lan.add_node().await?;
//!         let announcer = node.run_announcer(&[]).await?; // returns when /ready says so
//!         let vip = lan.address(200);
//!         lab.apply(&format!("…a policy with nodeSelector lab.gateherald.io/lan: {}…", lan.name())).await?;
//!         let answer = lan.client().ask(vip, Duration::from_secs(10)).await?;
//!         assert_eq!(answer.sender_mac, node.mac());
//!         announcer.process().kill().await?;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! Nothing outlives the process that runs the lab, not even when it gets SIGKILL: a namespace exists only as a file
//! descriptor of that process, and every child dies with it (`PR_SET_PDEATHSIG`).
//!
//! What stands in for programs that are not here is in [`standin`] and named so.

pub mod admin;
pub mod args;
pub mod bench;
pub mod binaries;
pub mod chart;
pub mod cluster;
pub mod control_plane;
pub mod demo;
pub mod failover;
pub mod frame;
pub mod gate;
pub mod harness;
pub mod helm3;
pub mod images;
pub mod kubeconfig;
pub mod lan;
mod look;
pub mod netns;
pub mod node;
mod packet;
pub mod patience;
mod pki;
pub mod process;
pub mod programs;
mod settings;
pub mod sniffer;
mod spawner;
pub mod standin;
pub mod state;
mod sys;
pub mod up;
pub mod webhook;

pub use cluster::{Cluster, Machine};
pub use control_plane::{ControlPlane, Options};
pub use frame::{Arp, Frame, Mac, Ndp};
pub use harness::{Lab, run, run_alone};
pub use lan::{Lan, LanHost};
pub use netns::Netns;
pub use node::{Announcer, Node};
pub use process::Process;
pub use sniffer::Sniffer;
pub use webhook::Webhook;
