// SPDX-License-Identifier: Apache-2.0
//! Who announces on the nodes: Gateherald's announcer, or any command in its place.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::node::{Announcer, Node};
use crate::process::Process;

/// What is to run on each node.
#[derive(Clone, Debug)]
pub(super) enum Cast {
    /// Gateherald's announcer, with these arguments beside the usual ones.
    Gateherald(Vec<String>),
    /// A command, by `sh -c`.
    Command {
        /// What is run.
        command: String,
        /// How long after its start it may be expected to take over, and to notice a new Service.
        settle: Duration,
    },
}

/// One node's.
pub(super) enum Actor {
    Gateherald(Announcer),
    Command(Process, Duration),
}

impl Cast {
    /// Gateherald's, as the figures are meant.
    pub(super) fn gateherald(args: &[&str]) -> Self {
        let usual = ["--cilium-policies", "never"];
        Self::Gateherald(usual.iter().chain(args).map(|&arg| arg.to_owned()).collect())
    }

    /// Starts it and waits until it is ready; `vip` is the first address.
    pub(super) async fn start(&self, node: &Node, vip: Ipv4Addr) -> anyhow::Result<Actor> {
        let actor = match self {
            Self::Gateherald(args) => {
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                Actor::Gateherald(node.start_announcer(&args)?)
            }
            Self::Command { command, settle } => {
                Actor::Command(node.start_command(command, &[("ADDRESS", vip.to_string())])?, *settle)
            }
        };
        actor.ready().await?;
        Ok(actor)
    }
}

impl Actor {
    /// To terminate, kill, freeze and restart.
    pub(super) fn process(&self) -> &Process {
        match self {
            Self::Gateherald(announcer) => announcer.process(),
            Self::Command(process, _) => process,
        }
    }

    /// Waits until it can take over.
    pub(super) async fn ready(&self) -> anyhow::Result<()> {
        match self {
            Self::Gateherald(announcer) => announcer.wait_ready().await,
            Self::Command(process, settle) => {
                tokio::time::sleep(*settle).await;
                anyhow::ensure!(process.is_running(), "{} exited\n{}", process.name(), process.log_tail(20));
                Ok(())
            }
        }
    }
}
