// SPDX-License-Identifier: Apache-2.0
//! The things on stage: a cluster, the stand-ins, and the objects of the story.

use std::net::Ipv4Addr;
use std::process::Output;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};

use super::narrator::Narrator;
use crate::chart::{self, NAMESPACE, RELEASE};
use crate::cluster::Cluster;
use crate::harness::Lab;
use crate::patience::{self, LONG, Look};
use crate::standin::address_allocator::{self, Pool};
use crate::standin::gateway_controller::{GatewayController, Running, UpdateStyle};

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
    _standins: [Running; 2],
    pub(super) cluster: Cluster,
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
    pub(super) async fn set(lab: &'a Lab, narrator: &mut Narrator) -> anyhow::Result<Self> {
        let cluster = Cluster::start(lab).await?;
        narrator.step("three nodes are Ready")?;
        for objects in [STORY, POLICY] {
            lab.apply(objects).await.context("cannot apply the story's objects")?;
        }
        let controller = GatewayController::new(lab.client(), UpdateStyle::MergeLabels).run("cilium");
        let allocator = address_allocator::run(lab.client(), pools());
        let stage = Self { lab, _standins: [controller, allocator], cluster };
        narrator.step("the announcers watch for 15 s whether Cilium itself announces")?;
        // The story begins without the webhook; its second chapter installs it.
        stage.install(narrator, "webhook.enabled=false").await?;
        Ok(stage)
    }

    /// Installs the chart, or changes it, and shows how.
    pub(super) async fn install(&self, narrator: &mut Narrator, value: &str) -> anyhow::Result<()> {
        let output = chart::deploy(self.lab.control_plane(), &chart::directory(), &[value]).await?;
        let wanted = |line: &&str| line.starts_with("Release") || line.starts_with("STATUS");
        let lines: Vec<&str> = output.lines().filter(wanted).collect();
        narrator.command(
            &format!(
                "helm upgrade --install {RELEASE} charts/gateherald -n {NAMESPACE} --create-namespace --wait --set {value}"
            ),
            &lines.join("\n"),
        )
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

    /// Runs arping as a person would.
    pub(super) async fn arping(&self, vip: Ipv4Addr) -> anyhow::Result<Output> {
        self.cluster.lan().client().arping(vip, &["-c", "2", "-w", "3"]).await
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
