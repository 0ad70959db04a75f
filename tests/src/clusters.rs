// SPDX-License-Identifier: Apache-2.0
//! What the suites on the real cluster share: the chart installed, a Gateway of the story, and who is seen to answer.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use gateherald_lab::chart::{self, NAMESPACE, RELEASE};
use gateherald_lab::frame::tenures;
use gateherald_lab::lan::Asking;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::standin::address_allocator::{self, Pool};
use gateherald_lab::standin::gateway_controller::{GatewayController, Running, UpdateStyle};
use gateherald_lab::{Cluster, Lab, Machine, Sniffer};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::gateways::{owned_by, service};

/// The Service that the controller generates for the Gateway of the story.
pub const SERVICE: &str = "cilium-gateway-cd-arp-gw";
/// The label of the story.
pub const LABEL: (&str, &str) = ("mdhlabs-arp", "enable");
const CLASS: &str = "cilium";
/// How often the client asks while a change is watched.
const ASKING: Duration = Duration::from_millis(5);
/// Between two Services while a change is watched.
const BETWEEN_SERVICES: Duration = Duration::from_millis(20);

/// Values with which announcers are ready at once: with the default, `auto`, each watches for 15 s whether Cilium announces itself.
pub const QUICK: [&str; 1] = ["announcer.ciliumPolicies=always"];

/// Which Helm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helm {
    /// Version 4.
    Four,
    /// Version 3.
    Three,
}

/// A cluster in which the story can happen: the class, the policy, the stand-ins.
pub struct Story<'a> {
    /// The control plane.
    pub lab: &'a Lab,
    /// The machines and their LAN.
    pub cluster: &'a Cluster,
    /// Where the Gateway is.
    pub namespace: String,
    _standins: [Running; 2],
}

/// Tells a story on the shared cluster, with the chart installed with [`QUICK`] and ready.
///
/// # Errors
/// Those of the story, and when the chart cannot be installed.
pub fn tell(story: impl AsyncFnOnce(&Story<'_>) -> anyhow::Result<()> + Send) -> anyhow::Result<()> {
    tell_from_the_start(async |scene| {
        scene.deploy(Helm::Four, &chart::directory(), &QUICK).await?;
        scene.serving().await?;
        story(scene).await
    })
}

/// As [`tell`], whatever is installed.
///
/// # Errors
/// Those of the story.
pub fn tell_from_the_start(
    story: impl AsyncFnOnce(&Story<'_>) -> anyhow::Result<()> + Send,
) -> anyhow::Result<()> {
    gateherald_lab::cluster::run(async |lab, cluster| {
        let scene = Story::open(lab, cluster).await?;
        story(&scene).await?;
        scene.close().await
    })
}

impl<'a> Story<'a> {
    async fn open(lab: &'a Lab, cluster: &'a Cluster) -> anyhow::Result<Self> {
        let namespace = lab.namespace("story").await?;
        lab.apply(
            &json!({ "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": { "name": CLASS },
                     "spec": { "controllerName": "io.cilium/gateway-controller" } })
            .to_string(),
        )
        .await?;
        // The policy of the story, word by word.
        lab.apply(
            &json!({
                "apiVersion": "cilium.io/v2alpha1",
                "kind": "CiliumL2AnnouncementPolicy",
                "metadata": { "name": "mdhlabs-layer2-policy" },
                "spec": {
                    "serviceSelector": { "matchLabels": { LABEL.0: LABEL.1 } },
                    "nodeSelector": { "matchExpressions": [
                        { "key": "node-role.kubernetes.io/control-plane", "operator": "DoesNotExist" },
                    ] },
                    "interfaces": ["ens18"],
                    "externalIPs": true,
                    "loadBalancerIPs": true,
                },
            })
            .to_string(),
        )
        .await?;
        let controller = GatewayController::new(lab.client(), UpdateStyle::MergeLabels).run(CLASS);
        let lan = cluster.lan();
        let pools = vec![
            Pool::new("default", lan.address(100), lan.address(119), None),
            Pool::new("mdhlabs-pool", lan.address(128), lan.address(254), Some(LABEL)),
        ];
        let allocator = address_allocator::run(lab.client(), pools);
        Ok(Self { lab, cluster, namespace, _standins: [controller, allocator] })
    }

    /// Takes Gateway and Service away, so that the next story gets their address.
    async fn close(&self) -> anyhow::Result<()> {
        for kind in ["gateway", "service"] {
            self.lab.kubectl(&["delete", kind, "-n", &self.namespace, "--all"]).await?;
        }
        self.lab.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]).await.map(drop)
    }

    /// Runs Helm.
    ///
    /// # Errors
    /// With its message.
    pub async fn helm(&self, helm: Helm, args: &[&str]) -> anyhow::Result<String> {
        let plane = self.lab.control_plane();
        match helm {
            Helm::Four => plane.helm(args).await,
            Helm::Three => plane.helm3(args).await,
        }
    }

    /// Installs the chart of this directory or archive, or changes the release to it and to exactly these values, and waits
    /// until everything is ready.
    ///
    /// # Errors
    /// With Helm's message.
    pub async fn deploy(&self, helm: Helm, chart: &Path, values: &[&str]) -> anyhow::Result<()> {
        let chart = chart.to_string_lossy();
        self.helm(helm, &chart::deployment(&chart, values)).await.map(drop)
    }

    /// Removes the release, if it is there.
    ///
    /// # Errors
    /// With Helm's message.
    pub async fn uninstall(&self, helm: Helm) -> anyhow::Result<()> {
        let args = ["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--ignore-not-found"];
        self.helm(helm, &args).await.map(drop)
    }

    /// The pods of a component that are not being deleted.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn pods(&self, component: &str) -> anyhow::Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.lab.client(), NAMESPACE);
        let selector = format!("app.kubernetes.io/component={component}");
        let mut pods = pods.list(&ListParams::default().labels(&selector)).await?.items;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(pods)
    }

    /// The name of the announcer's pod on a machine.
    ///
    /// # Errors
    /// When there is none.
    pub async fn announcer(&self, machine: &Machine) -> anyhow::Result<String> {
        let pods = self.pods("announcer").await?;
        let here =
            |pod: &&Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(machine.name());
        Ok(pods.iter().find(here).with_context(|| format!("no announcer on {}", machine.name()))?.name_any())
    }

    /// Writes the Gateway of the story.
    ///
    /// # Errors
    /// With kubectl's message.
    pub async fn write_gateway(&self) -> anyhow::Result<()> {
        self.write_gateway_of(CLASS).await
    }

    async fn write_gateway_of(&self, class: &str) -> anyhow::Result<()> {
        let gateway = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": { "name": "cd-arp-gw", "namespace": self.namespace, "labels": { LABEL.0: LABEL.1 } },
            "spec": { "gatewayClassName": class, "listeners": [{ "name": "http", "protocol": "HTTP", "port": 80 }] },
        });
        self.lab.apply(&gateway.to_string()).await
    }

    /// Writes the Gateway and waits for what follows from it: label, address, claim, answer.
    ///
    /// # Errors
    /// When one of them does not come, or is not as it should be.
    pub async fn reach(&self) -> anyhow::Result<Ipv4Addr> {
        self.write_gateway().await?;
        let (service, address) = self.service().await?;
        ensure!(service.labels().get(LABEL.0).map(String::as_str) == Some(LABEL.1), "no label: {service:?}");
        // Only a label in the very CREATE leads to this pool.
        ensure!(address.octets()[3] >= 128, "{address} is of the default pool");
        self.answered(address).await?;
        Ok(address)
    }

    /// The generated Service, once it has an address.
    ///
    /// # Errors
    /// When it gets none within a minute.
    pub async fn service(&self) -> anyhow::Result<(Service, Ipv4Addr)> {
        let services: Api<Service> = Api::namespaced(self.lab.client(), &self.namespace);
        until("the generated Service gets an address", LONG, async || {
            let Some(service) = services.get_opt(SERVICE).await? else {
                return Ok(Look::NotYet("no Service".to_owned()));
            };
            let text = serde_json::to_value(&service.status)?["loadBalancer"]["ingress"][0]["ip"].clone();
            Ok(match text.as_str().and_then(|text| text.parse().ok()) {
                Some(address) => Look::Found((service, address)),
                None => Look::NotYet("no address".to_owned()),
            })
        })
        .await
    }

    /// Waits until the machine that the claim names answers the client; that machine.
    ///
    /// # Errors
    /// When it does not within two minutes.
    pub async fn answered(&self, address: Ipv4Addr) -> anyhow::Result<&Machine> {
        until(&format!("{address} is answered for by its holder"), 2 * LONG, async || {
            let holder = self.cluster.holder(address).await?;
            let answer = self.cluster.lan().client().ask(address, LONG).await?;
            Ok(if answer.sender_mac == holder.mac() {
                Look::Found(holder)
            } else {
                Look::NotYet(format!("{} holds it, {} answers", holder.name(), answer.sender_mac))
            })
        })
        .await
    }

    /// Whether a Service of a labelled Gateway, created as a dry run, gets the label. The Service itself must be accepted.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn labels_a_service(&self) -> anyhow::Result<bool> {
        let gateways = Api::namespaced_with(
            self.lab.client(),
            &self.namespace,
            &gateherald_lab::standin::gateway_controller::gateway_resource(),
        );
        let gateway = gateways.get("cd-arp-gw").await.context("the story has no Gateway yet")?;
        let services: Api<Service> = Api::namespaced(self.lab.client(), &self.namespace);
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let made = services.create(&dry_run, &service("dry-run", &owned_by(&gateway)?)?).await;
        Ok(made.context("a Service was refused")?.labels().contains_key(LABEL.0))
    }

    /// Creates Services by [`Story::labels_a_service`] while something else is done: its outcome, how many Services there were,
    /// and how many lacked the label.
    ///
    /// # Errors
    /// Those of the other thing, and when a Service is refused.
    pub async fn labels_during<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<(T, u32, u32)> {
        let done = AtomicBool::new(false);
        let work = async {
            let outcome = work.await;
            done.store(true, Ordering::Relaxed);
            outcome
        };
        let writes = async {
            let (mut written, mut bare) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                bare += u32::from(!self.labels_a_service().await?);
                written += 1;
                tokio::time::sleep(BETWEEN_SERVICES).await;
            }
            Ok((written, bare))
        };
        let (outcome, (written, bare)) = futures::future::try_join(work, writes).await?;
        Ok((outcome, written, bare))
    }

    /// Waits until the API server calls the webhook.
    ///
    /// # Errors
    /// When it does not within a minute.
    pub async fn labelling(&self) -> anyhow::Result<()> {
        until("the API server calls the webhook", LONG, async || {
            Ok(if self.labels_a_service().await? {
                Look::Found(())
            } else {
                Look::NotYet("no label".to_owned())
            })
        })
        .await
    }

    /// As [`Story::labelling`], before the story begins.
    async fn serving(&self) -> anyhow::Result<()> {
        self.write_gateway_of("nobody").await?;
        self.labelling().await?;
        self.lab.kubectl(&["delete", "gateway", "-n", &self.namespace, "cd-arp-gw"]).await.map(drop)
    }

    /// Watches an address until [`Watch::end`].
    ///
    /// # Errors
    /// When the capture cannot be started.
    pub async fn watch(&self, address: Ipv4Addr) -> anyhow::Result<Watch<'_>> {
        let wire = self.cluster.lan().sniff()?;
        let asking = self.cluster.lan().client().ask_every(ASKING, &[address]);
        wire.wait_for(LONG, |frame| frame.arp().is_some_and(|arp| arp.answers(address))).await?;
        let transitions = self.transitions(address).await?;
        Ok(Watch { story: self, address, wire, _asking: asking, transitions })
    }

    async fn transitions(&self, address: Ipv4Addr) -> anyhow::Result<usize> {
        let name = format!("gateherald-vip-{address}");
        let path = "-o=jsonpath={.spec.leaseTransitions}";
        let text = self.lab.kubectl(&["get", "lease", &name, "-n", NAMESPACE, path]).await?;
        Ok(text.trim().parse().unwrap_or(0))
    }

    /// JSON of objects that kubectl gets.
    ///
    /// # Errors
    /// With its message.
    pub async fn get(&self, args: &[&str]) -> anyhow::Result<Value> {
        let text = self.lab.kubectl(&[&["get", "-o", "json"], args].concat()).await?;
        serde_json::from_str(&text).context("kubectl's JSON")
    }
}

/// An address that somebody asks for all the time.
pub struct Watch<'a> {
    story: &'a Story<'a>,
    address: Ipv4Addr,
    wire: Sniffer,
    _asking: Asking,
    transitions: usize,
}

impl Watch<'_> {
    /// How often the owner changed since the watch began, after a look at who answered: a second owner would show as
    /// answers that alternate more often than the claim changed hands.
    ///
    /// # Errors
    /// When two answered.
    pub async fn end(self) -> anyhow::Result<usize> {
        // Somebody answers at the end.
        self.story.answered(self.address).await?;
        let changes = self.story.transitions(self.address).await? - self.transitions;
        let seen = tenures(&self.wire.frames(), self.address);
        ensure!(
            seen.len() <= changes + 1,
            "two owners: the claim changed hands {changes} times, and {seen:?}"
        );
        Ok(seen.len() - 1)
    }
}

/// What differs between two lists of objects.
pub fn differences(before: &[String], after: &[String]) -> BTreeMap<String, &'static str> {
    let new =
        after.iter().filter(|object| !before.contains(object)).map(|object| (object.clone(), "left behind"));
    let gone = before.iter().filter(|object| !after.contains(object)).map(|object| (object.clone(), "gone"));
    new.chain(gone).collect()
}
