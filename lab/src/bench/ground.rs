// SPDX-License-Identifier: Apache-2.0
//! Where announcers are measured: one LAN of nodes, a policy, and Services with addresses.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::cast::{Actor, Cast};
use super::roll_call::roll_call;
use crate::frame::Mac;
use crate::harness::Lab;
use crate::lan::Lan;
use crate::node::Node;
use crate::patience::LONG;
use crate::standin::address_allocator;

const POLICY: &str = "
apiVersion: gateherald.io/v1alpha1
kind: L2AnnouncementPolicy
metadata: {name: bench}
spec: {interfaces: [ens18], loadBalancerIPs: true}
";
/// Services that are made at once.
const CREATORS: usize = 24;

/// The ground. Fields are dropped in this order.
pub(super) struct Ground<'a> {
    pub(super) lab: &'a Lab,
    pub(super) actors: Vec<Actor>,
    pub(super) nodes: Vec<Node>,
    pub(super) lan: Lan,
    services: Api<Service>,
    served: AtomicU16,
}

impl<'a> Ground<'a> {
    /// Three nodes, of which nobody announces anything yet.
    pub(super) async fn bare(lab: &'a Lab, octet: u8) -> anyhow::Result<Self> {
        let lan = lab.named_lan(&format!("bench{octet}"), octet)?;
        lab.apply(POLICY).await?;
        let mut nodes = Vec::new();
        for _ in 0..3 {
            nodes.push(lan.add_node().await?);
        }
        let namespace = lab.namespace("bench").await?;
        let services = Api::namespaced(lab.client(), &namespace);
        Ok(Self { lab, actors: Vec::new(), nodes, lan, services, served: AtomicU16::new(0) })
    }

    /// The same with the cast at work; the first address is owned.
    pub(super) async fn set(lab: &'a Lab, octet: u8, cast: &Cast) -> anyhow::Result<Self> {
        let mut ground = Self::bare(lab, octet).await?;
        for _ in 0..ground.nodes.len() {
            ground.enter(cast).await?;
        }
        ground.serve(1).await?;
        Ok(ground)
    }

    /// Has the next node announce.
    pub(super) async fn enter(&mut self, cast: &Cast) -> anyhow::Result<()> {
        let node = self.nodes.get(self.actors.len()).context("a node for one more")?;
        let actor = cast.start(node, self.vip(0)).await?;
        self.actors.push(actor);
        Ok(())
    }

    /// The nth address: of the LAN's own network as far as it goes, then of 10.n.0.0/16.
    pub(super) fn vip(&self, number: u16) -> Ipv4Addr {
        match u8::try_from(number) {
            Ok(small) if small < 100 => self.lan.address(100 + small),
            _ => {
                let [_, _, octet, _] = self.lan.router().octets();
                let [high, low] = number.to_be_bytes();
                Ipv4Addr::new(10, octet, high, low)
            }
        }
    }

    pub(super) fn vips(&self, count: u16) -> Vec<Ipv4Addr> {
        (0..count).map(|number| self.vip(number)).collect()
    }

    /// Serves the first `count` addresses, a Service each; returns when all are answered for, with who does.
    pub(super) async fn serve(&self, count: u16) -> anyhow::Result<Vec<(Ipv4Addr, Mac)>> {
        let first = self.served.swap(count, Ordering::Relaxed);
        stream::iter(first..count)
            .map(|number| async move {
                let service = self.create(number).await?;
                self.give(&service, number).await
            })
            .buffer_unordered(CREATORS)
            .try_for_each(async |()| Ok(()))
            .await?;
        self.call(count)
    }

    /// Asks for the first `count` addresses until all are answered for, and tells who does.
    pub(super) fn call(&self, count: u16) -> anyhow::Result<Vec<(Ipv4Addr, Mac)>> {
        tokio::task::block_in_place(|| roll_call(self.lan.client(), &self.vips(count), 3 * LONG))
    }

    /// A Service without an address.
    pub(super) async fn create(&self, number: u16) -> anyhow::Result<Service> {
        let service = serde_json::from_value(json!({
            "metadata": { "name": format!("s{number}") },
            "spec": {
                // The range of node ports has 2,768.
                "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{ "port": 80 }],
            },
        }))?;
        Ok(self.services.create(&PostParams::default(), &service).await?)
    }

    /// Gives a Service the nth address.
    pub(super) async fn give(&self, service: &Service, number: u16) -> anyhow::Result<()> {
        address_allocator::write(&self.lab.client(), service, &[self.vip(number)]).await
    }

    /// Serves an IPv6 address; returns it when it is answered for.
    pub(super) async fn serve6(&self) -> anyhow::Result<Ipv6Addr> {
        let number = self.served.fetch_add(1, Ordering::Relaxed);
        let service = self.create(number).await?;
        let address = self.lan.address6(0x100);
        address_allocator::write(&self.lab.client(), &service, &[address]).await?;
        self.lan.client().ask6(address, LONG).await?;
        Ok(address)
    }

    pub(super) async fn delete(&self, service: &Service) -> anyhow::Result<()> {
        self.services.delete(&service.name_any(), &DeleteParams::default()).await?;
        Ok(())
    }

    /// The node and who announces on it, where the first address is answered for.
    pub(super) async fn holder(&self) -> anyhow::Result<(&Node, &Actor)> {
        let mac = self.lan.client().ask(self.vip(0), LONG).await?.sender_mac;
        let found = self.nodes.iter().zip(&self.actors).find(|(node, _)| node.mac() == mac);
        found.context("an unknown host answered")
    }

    /// The node that answers for an IPv6 address.
    pub(super) async fn holder6(&self, address: Ipv6Addr) -> anyhow::Result<&Node> {
        let mac = self.lan.client().ask6(address, LONG).await?.source;
        self.nodes.iter().find(|node| node.mac() == mac).context("an unknown host answered")
    }
}
