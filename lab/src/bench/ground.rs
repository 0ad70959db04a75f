// SPDX-License-Identifier: Apache-2.0
//! Where the wire is measured: one LAN, three nodes with announcers, a policy, and Services with addresses.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::Context;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::frame::Mac;
use crate::harness::Lab;
use crate::lan::Lan;
use crate::node::{Announcer, Node};
use crate::patience::LONG;
use crate::standin::address_allocator;

const POLICY: &str = "
apiVersion: gateherald.io/v1alpha1
kind: L2AnnouncementPolicy
metadata: {name: bench}
spec: {interfaces: [ens18], loadBalancerIPs: true}
";

/// The ground. Fields are dropped in this order.
pub(super) struct Ground<'a> {
    pub(super) lab: &'a Lab,
    pub(super) announcers: Vec<Announcer>,
    pub(super) nodes: Vec<Node>,
    pub(super) lan: Lan,
    namespace: String,
    served: AtomicU8,
}

impl<'a> Ground<'a> {
    /// One address is owned when it is set.
    pub(super) async fn set(lab: &'a Lab) -> anyhow::Result<Self> {
        let lan = lab.named_lan("bench", 77)?;
        lab.apply(POLICY).await?;
        let (mut nodes, mut announcers) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let node = lan.add_node().await?;
            announcers.push(node.run_announcer(&["--cilium-policies", "never"]).await?);
            nodes.push(node);
        }
        let namespace = lab.namespace("bench").await?;
        let ground = Self { lab, announcers, nodes, lan, namespace, served: AtomicU8::new(0) };
        ground.serve(1).await?;
        Ok(ground)
    }

    pub(super) fn vip(&self, number: u8) -> Ipv4Addr {
        self.lan.address(100 + number)
    }

    /// Serves the first `count` addresses, a Service each; returns when all are answered for.
    pub(super) async fn serve(&self, count: u8) -> anyhow::Result<()> {
        let services: Api<Service> = Api::namespaced(self.lab.client(), &self.namespace);
        let first = self.served.swap(count, Ordering::Relaxed);
        for number in first..count {
            let service = serde_json::from_value(json!({
                "metadata": { "name": format!("s{number}") },
                "spec": { "type": "LoadBalancer", "ports": [{ "port": 80 }] },
            }))?;
            let service = services.create(&PostParams::default(), &service).await?;
            address_allocator::write(&self.lab.client(), &service, &[self.vip(number)]).await?;
        }
        for number in first..count {
            self.lan.client().ask(self.vip(number), LONG).await?;
        }
        Ok(())
    }

    /// The node and the announcer that answer for the first address.
    pub(super) async fn holder(&self) -> anyhow::Result<(&Node, &Announcer)> {
        let mac: Mac = self.lan.client().ask(self.vip(0), LONG).await?.sender_mac;
        let found = self.nodes.iter().zip(&self.announcers).find(|(node, _)| node.mac() == mac);
        found.context("an unknown host answered")
    }
}
