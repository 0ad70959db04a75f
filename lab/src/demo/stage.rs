// SPDX-License-Identifier: Apache-2.0
//! The things on stage: a LAN, three nodes, the stand-ins, and the objects of the story.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::Output;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};

use crate::chart::NAMESPACE;
use crate::harness::Lab;
use crate::lan::Lan;
use crate::netns::Netns;
use crate::node::{Announcer, Node, NodeSpec};
use crate::patience::{self, LONG, Look};
use crate::standin::address_allocator::{self, Pool};
use crate::standin::gateway_controller::{GatewayController, Running, UpdateStyle};
use crate::webhook::Webhook;

/// The Service that the controller generates for the Gateway of the story.
pub(super) const SERVICE: &str = "cilium-gateway-cd-arp-gw";
/// The label of the story.
pub(super) const LABEL: (&str, &str) = ("mdhlabs-arp", "enable");
const NET: [u8; 3] = [192, 168, 99];
/// The policy of the story.
pub(super) const POLICY: &str = include_str!("policy.yaml");
const STORY: &str = include_str!("story.yaml");
/// The Gateway alone.
pub(super) const GATEWAY: &str = include_str!("gateway.yaml");

/// What is on stage. Fields are dropped in this order.
pub(super) struct Stage<'a> {
    pub(super) lab: &'a Lab,
    pub(super) announcers: Vec<(String, Announcer)>,
    webhooks: Mutex<Vec<Webhook>>,
    _standins: [Running; 2],
    pub(super) nodes: Vec<Node>,
    pub(super) lan: Lan,
}

/// A Service that was deleted and came back.
pub(super) struct Recreated {
    /// What kubectl said at the deletion.
    pub(super) output: String,
    /// The Service as it was in its first event, so as its CREATE left it.
    pub(super) created: Service,
    /// The address that it got.
    pub(super) vip: Ipv4Addr,
}

impl<'a> Stage<'a> {
    /// Sets it: everything but the Gateway.
    pub(super) async fn set(lab: &'a Lab) -> anyhow::Result<Self> {
        let lan = lab.named_lan("lan", NET[2])?;
        let mut nodes = Vec::new();
        for (name, role) in [
            ("control-1", Some("node-role.kubernetes.io/control-plane")),
            ("worker-1", None),
            ("worker-2", None),
        ] {
            let labels: BTreeMap<_, _> =
                role.map(|role| (role.to_owned(), String::new())).into_iter().collect();
            nodes.push(lan.add_node_with(NodeSpec { name: name.to_owned(), labels }).await?);
        }
        for objects in [STORY, POLICY] {
            lab.apply(objects).await.context("cannot apply the story's objects")?;
        }
        let controller = GatewayController::new(lab.client(), UpdateStyle::MergeLabels).run("cilium");
        let allocator = address_allocator::run(lab.client(), pools());
        let running = nodes.iter().map(async |node| {
            Ok::<_, anyhow::Error>((node.name().to_owned(), node.run_announcer(&[]).await?))
        });
        let announcers = futures::future::try_join_all(running).await?;
        let webhooks = Mutex::default();
        Ok(Self { lab, announcers, webhooks, _standins: [controller, allocator], nodes, lan })
    }

    /// Lets webhook replicas live as long as the stage.
    pub(super) fn keep_webhooks(&self, webhooks: Vec<Webhook>) {
        *self.webhooks.lock().unwrap_or_else(PoisonError::into_inner) = webhooks;
    }

    /// The namespaces that a person may want to look into.
    pub(super) fn places(&self) -> Vec<&Netns> {
        std::iter::once(self.lan.client().netns()).chain(self.nodes.iter().map(Node::netns)).collect()
    }

    /// The generated Service with its address, once it is another one than `before`.
    pub(super) async fn service(&self, before: Option<&str>) -> anyhow::Result<(Service, Ipv4Addr)> {
        let services: Api<Service> = Api::namespaced(self.lab.client(), "prod");
        patience::until("the generated Service gets an address", LONG, async || {
            let Some(service) = services.get_opt(SERVICE).await? else {
                return Ok(Look::NotYet("no Service".to_owned()));
            };
            if service.metadata.uid.as_deref() == before {
                return Ok(Look::NotYet("still the old one".to_owned()));
            }
            Ok(match address(&service) {
                Some(vip) => Look::Found((service, vip)),
                None => Look::NotYet("no address".to_owned()),
            })
        })
        .await
    }

    /// Deletes the generated Service by this kubectl command and lets the controller make it again.
    pub(super) async fn recreate(&self, old: &Service, command: &[&str]) -> anyhow::Result<Recreated> {
        let services: Api<Service> = Api::namespaced(self.lab.client(), "prod");
        let version = services.list_metadata(&ListParams::default()).await?.metadata.resource_version;
        let only = WatchParams::default().fields(&format!("metadata.name={SERVICE}"));
        let mut events = services.watch(&only, &version.unwrap_or_default()).await?.boxed();
        let output = self.lab.kubectl(command).await?;
        let created = tokio::time::timeout(LONG, async {
            while let Some(event) = events.try_next().await? {
                if let WatchEvent::Added(service) = event {
                    return Ok(service);
                }
            }
            anyhow::bail!("the watch on the Service ended")
        });
        let created = created.await.context("the controller did not make the Service again")??;
        let (_, vip) = self.service(old.metadata.uid.as_deref()).await?;
        Ok(Recreated { output, created, vip })
    }

    /// The node that the claim of this address names.
    pub(super) async fn holder(&self, vip: Ipv4Addr) -> anyhow::Result<&Node> {
        let leases: Api<Lease> = Api::namespaced(self.lab.client(), NAMESPACE);
        let name = format!("gateherald-vip-{vip}");
        let holder = patience::until("somebody claims the address", LONG, async || {
            let lease = leases.get_opt(&name).await?;
            let holder =
                lease.and_then(|lease| lease.spec?.holder_identity).filter(|holder| !holder.is_empty());
            Ok(holder.map_or_else(|| Look::NotYet(format!("no holder in {name}")), Look::Found))
        })
        .await?;
        self.nodes
            .iter()
            .find(|node| node.name() == holder)
            .with_context(|| format!("no node is called {holder}"))
    }

    /// The announcer of a node.
    pub(super) fn announcer(&self, node: &str) -> anyhow::Result<&Announcer> {
        let found = self.announcers.iter().find(|(name, _)| name == node);
        found.map(|(_, announcer)| announcer).with_context(|| format!("no announcer runs on {node}"))
    }

    /// Runs arping as a person would.
    pub(super) async fn arping(&self, vip: Ipv4Addr) -> anyhow::Result<Output> {
        self.lan.client().arping(vip, &["-c", "2", "-w", "3"]).await
    }
}

/// The default pool, and the one for labelled Services.
fn pools() -> Vec<Pool> {
    let ip = |host| Ipv4Addr::new(NET[0], NET[1], NET[2], host);
    vec![
        Pool::new("default", ip(100), ip(119), None),
        Pool::new("mdhlabs-pool", ip(128), ip(254), Some(LABEL)),
    ]
}

/// Whether an address is one of 192.168.99.128/25.
pub(super) fn is_in_the_right_pool(vip: Ipv4Addr) -> bool {
    vip.octets()[..3] == NET && vip.octets()[3] >= 128
}

/// The first address in a Service's status.
fn address(service: &Service) -> Option<Ipv4Addr> {
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?;
    ingress.first()?.ip.as_ref()?.parse().ok()
}
