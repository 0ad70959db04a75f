// SPDX-License-Identifier: Apache-2.0
//! What the suites about the announcer share: policies for one LAN, Services with addresses, and looking at both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::Context;
use gateherald_lab::frame::Arp;
use gateherald_lab::lan::LAN_LABEL;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::standin::address_allocator;
use gateherald_lab::{Announcer, Frame, Lab, Lan, Mac, Node};
use gateherald_model::leases::{Key, names};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

/// The label by which the Services of one LAN are selected.
pub const SERVICE_LABEL: &str = "tests.gateherald.io/lan";

/// A LAN with a policy of its own, its nodes and their announcers, and a Kubernetes namespace for its Services.
pub struct Site<'a> {
    /// The cluster.
    pub lab: &'a Lab,
    /// The broadcast domain.
    pub lan: Lan,
    /// Where its Services are.
    pub namespace: String,
    /// The nodes, in the order in which they were added.
    pub nodes: Vec<Node>,
    /// Their announcers.
    pub announcers: Vec<Announcer>,
}

impl<'a> Site<'a> {
    /// A LAN with `nodes` nodes, each with a ready announcer, and the policy of [`Site::policy`].
    ///
    /// # Errors
    /// Those of the lab.
    pub async fn new(lab: &'a Lab, prefix: &str, nodes: usize) -> anyhow::Result<Self> {
        let mut site = Self::without_policy(lab, prefix).await?;
        site.policy(&json!({})).await?;
        for _ in 0..nodes {
            site.add_node(&[]).await?;
        }
        Ok(site)
    }

    /// A LAN without nodes and policy.
    ///
    /// # Errors
    /// Those of the lab.
    pub async fn without_policy(lab: &'a Lab, prefix: &str) -> anyhow::Result<Self> {
        let lan = lab.lan(prefix)?;
        let namespace = lab.namespace(prefix).await?;
        Ok(Self { lab, lan, namespace, nodes: Vec::new(), announcers: Vec::new() })
    }

    /// Adds a node with a ready announcer.
    ///
    /// # Errors
    /// Those of the lab.
    pub async fn add_node(&mut self, args: &[&str]) -> anyhow::Result<()> {
        let node = self.lan.add_node().await?;
        self.announcers.push(node.run_announcer(args).await?);
        self.nodes.push(node);
        Ok(())
    }

    /// Writes the LAN's policy: its nodes, its Services, `ens18`, LoadBalancer addresses; `changes` are merged into it.
    ///
    /// # Errors
    /// Those of kubectl.
    pub async fn policy(&self, changes: &Value) -> anyhow::Result<()> {
        let mut spec = json!({
            "nodeSelector": { "matchLabels": { LAN_LABEL: self.lan.name() } },
            "serviceSelector": { "matchLabels": { SERVICE_LABEL: self.lan.name() } },
            "interfaces": ["^ens18$"],
            "loadBalancerIPs": true,
        });
        merge(&mut spec, changes);
        let policy = json!({
            "apiVersion": "gateherald.io/v1alpha1",
            "kind": "L2AnnouncementPolicy",
            "metadata": { "name": self.lan.name() },
            "spec": spec,
        });
        self.lab.apply(&policy.to_string()).await
    }

    /// Deletes the LAN's policy.
    ///
    /// # Errors
    /// Those of kubectl.
    pub async fn delete_policy(&self) -> anyhow::Result<()> {
        self.lab.kubectl(&["delete", "ghl2", self.lan.name()]).await.map(drop)
    }

    /// Creates a Service that the policy selects, with these LoadBalancer addresses.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn service(&self, name: &str, addresses: &[Ipv4Addr]) -> anyhow::Result<Service> {
        self.service_with(name, json!({}), addresses).await
    }

    /// As [`Site::service`], with `spec` merged into the Service's.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn service_with(
        &self,
        name: &str,
        spec: Value,
        addresses: &[Ipv4Addr],
    ) -> anyhow::Result<Service> {
        let mut object = json!({
            "metadata": { "name": name, "labels": { SERVICE_LABEL: self.lan.name() } },
            "spec": { "type": "LoadBalancer", "ports": [{ "port": 80 }] },
        });
        merge(&mut object["spec"], &spec);
        let service =
            self.services().create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        address_allocator::write(&self.lab.client(), &service, addresses).await?;
        Ok(service)
    }

    /// Creates a Service that the policy selects, with LoadBalancer addresses of either family.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn service_of_families(&self, name: &str, addresses: &[IpAddr]) -> anyhow::Result<()> {
        let service = self.service_with(name, json!({}), &[]).await?;
        address_allocator::write(&self.lab.client(), &service, addresses).await
    }

    /// As [`Site::owner`], by neighbour discovery.
    ///
    /// # Errors
    /// As [`Site::owner`].
    pub async fn owner6(&self, address: Ipv6Addr) -> anyhow::Result<usize> {
        let answer = self.lan.client().ask6(address, LONG).await?;
        let sender = answer.source;
        let node = self.nodes.iter().position(|node| node.mac() == sender);
        node.with_context(|| format!("{sender} is no node"))
    }

    /// The value of a counter or gauge of a node's announcer, summed over its labels that contain `labels`; 0 without one.
    ///
    /// # Errors
    /// When nothing listens there.
    pub async fn metric(&self, node: usize, name: &str, labels: &str) -> anyhow::Result<f64> {
        let text = self.announcers[node].get("/metrics").await?.body;
        let full = format!("gateherald_announcer_{name}");
        let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        let wanted = lines
            .filter(|(series, _)| series.split('{').next() == Some(full.as_str()) && series.contains(labels));
        Ok(wanted.filter_map(|(_, value)| value.parse::<f64>().ok()).sum())
    }

    /// Changes a Service.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn patch(&self, name: &str, patch: Value) -> anyhow::Result<()> {
        self.services()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map(drop)
            .context("patch")
    }

    /// The Services of the LAN.
    pub fn services(&self) -> Api<Service> {
        Api::namespaced(self.lab.client(), &self.namespace)
    }

    /// Asks until somebody answers for the address, and says which node that is.
    ///
    /// # Errors
    /// When nobody answers, or somebody who is no node.
    pub async fn owner(&self, address: Ipv4Addr) -> anyhow::Result<usize> {
        let answer = self.lan.client().ask(address, LONG).await?;
        self.node_of(&answer)
    }

    /// The node that sent this.
    ///
    /// # Errors
    /// When it was none of the nodes.
    pub fn node_of(&self, arp: &Arp) -> anyhow::Result<usize> {
        let sender = arp.sender_mac;
        self.nodes
            .iter()
            .position(|node| node.mac() == sender)
            .with_context(|| format!("{sender} is no node"))
    }

    /// Asks for a while, and says whether nobody answered.
    ///
    /// # Errors
    /// With whoever answered.
    pub async fn silent(&self, address: Ipv4Addr, during: Duration) -> anyhow::Result<()> {
        match self.lan.client().ask(address, during).await {
            Err(_) => Ok(()),
            Ok(arp) => anyhow::bail!("answered: {arp}"),
        }
    }

    /// Asks for a while, and says whether that node answered and nobody else.
    ///
    /// # Errors
    /// When nobody answers, or another.
    pub async fn silent_but_for(
        &self,
        address: Ipv4Addr,
        node: usize,
        during: Duration,
    ) -> anyhow::Result<()> {
        let wire = self.lan.sniff()?;
        let asking = self.lan.client().ask_every(Duration::from_millis(20), &[address]);
        tokio::time::sleep(during).await;
        drop(asking);
        let spoke = voices(&wire.frames(), address);
        anyhow::ensure!(spoke == [self.nodes[node].mac()], "{spoke:?} answered for {address}");
        Ok(())
    }

    /// Deletes a Service.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn delete(&self, name: &str) -> anyhow::Result<()> {
        self.services().delete(name, &DeleteParams::default()).await.map(drop).context("delete")
    }

    /// Writes a Service's LoadBalancer addresses.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn addresses(&self, name: &str, addresses: &[Ipv4Addr]) -> anyhow::Result<()> {
        let service = self.services().get(name).await?;
        address_allocator::write(&self.lab.client(), &service, addresses).await
    }

    /// Waits until the claim on the address names this node, or nobody.
    ///
    /// # Errors
    /// When it does not.
    pub async fn claimed_by(&self, address: impl Into<IpAddr>, node: Option<&str>) -> anyhow::Result<()> {
        let address = address.into();
        until(&format!("the claim on {address} names {node:?}"), LONG, async || {
            let holder = self.claim_holder(address).await?;
            Ok(if holder.as_deref() == node { Look::Found(()) } else { Look::NotYet(format!("{holder:?}")) })
        })
        .await
    }

    /// How often the address changed hands, by its claim.
    ///
    /// # Errors
    /// Those of kubectl.
    pub async fn transitions(&self, address: Ipv4Addr) -> anyhow::Result<String> {
        let name = format!("gateherald-vip-{address}");
        let path = "-o=jsonpath={.spec.leaseTransitions}";
        self.lab.kubectl(&["get", "lease", &name, "-n", gateherald_lab::chart::NAMESPACE, path]).await
    }

    /// Waits until `/vips` of a node's announcer says this of an address.
    ///
    /// # Errors
    /// When it does not.
    pub async fn vip_is(
        &self,
        node: usize,
        vip: impl Into<IpAddr>,
        field: &str,
        value: &Value,
    ) -> anyhow::Result<()> {
        let vip = vip.into();
        until(&format!("/vips says {field} = {value}"), LONG, async || {
            let vips = self.announcers[node].vips().await?;
            let entries = vips["addresses"].as_array().cloned().unwrap_or_default();
            let found =
                entries.iter().any(|entry| entry["address"] == vip.to_string() && entry[field] == *value);
            Ok(if found { Look::Found(()) } else { Look::NotYet(vips["addresses"].to_string()) })
        })
        .await
    }

    /// Waits until `/vips` of a node's announcer gives this reason for the address or, without one, the policy.
    ///
    /// # Errors
    /// When it does not.
    pub async fn refused(
        &self,
        node: usize,
        address: Option<Ipv4Addr>,
        reason: &str,
    ) -> anyhow::Result<Value> {
        until(&format!("/vips says {reason}"), LONG, async || {
            let vips = self.announcers[node].vips().await?;
            let entries = vips["notAnnounced"].as_array().cloned().unwrap_or_default();
            let ours = |entry: &&Value| {
                let same_address = address.is_none_or(|a| entry["address"] == a.to_string());
                let text = format!("{}{}", entry["service"], entry["policy"]);
                entry["reason"] == reason
                    && same_address
                    && (text.contains(&self.namespace) || text.contains(self.lan.name()))
            };
            Ok(match entries.iter().find(ours) {
                Some(entry) => Look::Found(entry.clone()),
                None => Look::NotYet(vips["notAnnounced"].to_string()),
            })
        })
        .await
    }

    /// The Leases of claims on the address.
    ///
    /// # Errors
    /// Those of kubectl.
    pub async fn claim_holder(&self, address: impl Into<IpAddr>) -> anyhow::Result<Option<String>> {
        let name = names::of(&Key::Claim(address.into()));
        let path = "-o=jsonpath={.spec.holderIdentity}";
        let args =
            ["get", "lease", &name, "-n", gateherald_lab::chart::NAMESPACE, "--ignore-not-found", path];
        let holder = self.lab.kubectl(&args).await?;
        Ok((!holder.trim().is_empty()).then(|| holder.trim().to_owned()))
    }
}

/// Who spoke for the address, by answer or announcement, in turn; whoever comes back after another counts again.
pub fn voices(frames: &[Frame], address: Ipv4Addr) -> Vec<Mac> {
    let speaks = |arp: &Arp| arp.sender_ip == address;
    let mut voices: Vec<Mac> =
        frames.iter().filter_map(Frame::arp).filter(speaks).map(|arp| arp.source).collect();
    voices.dedup();
    voices
}

/// When a line of a program's log was written, since 1970.
///
/// # Errors
/// When it does not begin with a time.
pub fn time_of(line: &str) -> anyhow::Result<Duration> {
    micros_of(line.split_whitespace().next().unwrap_or_default())
}

/// An instant as RFC 3339 writes it, since 1970.
///
/// # Errors
/// When it is something else.
pub fn micros_of(text: &str) -> anyhow::Result<Duration> {
    let at: k8s_openapi::jiff::Timestamp = text.parse().with_context(|| format!("{text:?} is no time"))?;
    Ok(Duration::from_micros(u64::try_from(at.as_microsecond())?))
}

/// The longest time between two answers, while somebody asked all the time.
pub fn longest_silence(frames: &[Frame], address: Ipv4Addr) -> Duration {
    let answers = |f: &&Frame| f.arp().is_some_and(|arp| arp.answers(address));
    let at: Vec<Duration> = frames.iter().filter(answers).map(|frame| frame.at).collect();
    at.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or(Duration::MAX)
}

fn merge(into: &mut Value, changes: &Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, change) in changes {
                merge(into.entry(key.clone()).or_insert(Value::Null), change);
            }
        }
        (into, changes) => into.clone_from(changes),
    }
}
