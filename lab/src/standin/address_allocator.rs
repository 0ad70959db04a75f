// SPDX-License-Identifier: Apache-2.0
//! Stands in for Cilium's LB-IPAM: gives addresses from pools to Services of type LoadBalancer.
//!
//! A Service gets its address when it is first seen, by the labels that it has at that moment; a label that comes later
//! changes nothing. That is why labels must be there in the very CREATE.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::Context;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::gateway_controller::Running;

const REQUESTED: [&str; 2] = ["lbipam.cilium.io/ips", "io.cilium/lb-ipam-ips"];
const SHARING_KEY: &str = "lbipam.cilium.io/sharing-key";
const CLASSES: [&str; 2] = ["io.cilium/l2-announcer", "io.cilium/bgp-control-plane"];

/// A range of addresses for the Services that a selector picks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// The first address.
    pub first: Ipv4Addr,
    /// The last address.
    pub last: Ipv4Addr,
    /// Labels that a Service must have; none: a default pool, which takes what no other pool selects.
    pub match_labels: BTreeMap<String, String>,
}

impl Pool {
    /// A pool for Services with this label, or (`None`) for all that no other pool selects.
    pub fn new(name: &str, first: Ipv4Addr, last: Ipv4Addr, label: Option<(&str, &str)>) -> Self {
        let match_labels = label.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect();
        Self { name: name.to_owned(), first, last, match_labels }
    }

    fn selects(&self, service: &Service) -> bool {
        let labels = service.labels();
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    fn has(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }
}

/// Who has which address.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pools: Vec<Pool>,
    given: BTreeMap<(String, String), Given>,
}

#[derive(Clone, Debug)]
struct Given {
    addresses: Vec<Ipv4Addr>,
    sharing_key: Option<String>,
    ports: Vec<(i32, String)>,
}

impl Ledger {
    /// An empty one.
    pub fn new(pools: Vec<Pool>) -> Self {
        Self { pools, given: BTreeMap::new() }
    }

    /// The addresses of a Service: those it got when it was first seen, else new ones. Empty when it gets none.
    pub fn addresses(&mut self, service: &Service) -> Vec<Ipv4Addr> {
        if !is_ours(service) {
            self.release(service);
            return Vec::new();
        }
        if let Some(given) = self.given.get(&key(service)) {
            return given.addresses.clone();
        }
        let addresses = self.choose(service);
        if !addresses.is_empty() {
            let given = Given {
                addresses: addresses.clone(),
                sharing_key: sharing_key(service),
                ports: ports(service),
            };
            self.given.insert(key(service), given);
        }
        addresses
    }

    /// Gives a Service's addresses back.
    pub fn release(&mut self, service: &Service) {
        self.given.remove(&key(service));
    }

    fn choose(&self, service: &Service) -> Vec<Ipv4Addr> {
        // Pools with a selector come before default pools.
        let (named, default): (Vec<&Pool>, Vec<&Pool>) = self
            .pools
            .iter()
            .filter(|pool| pool.selects(service))
            .partition(|pool| !pool.match_labels.is_empty());
        let pools: Vec<&Pool> = named.into_iter().chain(default).collect();
        if let Some(requested) = requested(service) {
            let allowed = |address: &Ipv4Addr| {
                pools.iter().any(|pool| pool.has(*address))
                    && (self.is_free(*address) || self.may_share(service, *address))
            };
            return requested.into_iter().filter(allowed).collect();
        }
        if let Some(shared) = self.shared(service) {
            return vec![shared];
        }
        let Some(pool) = pools.first() else { return Vec::new() };
        let range = u32::from(pool.first)..=u32::from(pool.last);
        range.map(Ipv4Addr::from).find(|&address| self.is_free(address)).into_iter().collect()
    }

    fn is_free(&self, address: Ipv4Addr) -> bool {
        self.given.values().all(|given| !given.addresses.contains(&address))
    }

    /// The address of another Service with the same sharing key and other ports.
    fn shared(&self, service: &Service) -> Option<Ipv4Addr> {
        let sharing = sharing_key(service)?;
        let mut addresses = self
            .given
            .values()
            .filter(|given| given.sharing_key.as_ref() == Some(&sharing))
            .flat_map(|given| &given.addresses);
        addresses.find(|&&address| self.may_share(service, address)).copied()
    }

    fn may_share(&self, service: &Service, address: Ipv4Addr) -> bool {
        let (sharing, ports) = (sharing_key(service), ports(service));
        sharing.is_some()
            && self.given.iter().filter(|(_, given)| given.addresses.contains(&address)).all(
                |((namespace, _), given)| {
                    given.sharing_key == sharing
                        && Some(namespace) == service.metadata.namespace.as_ref()
                        && ports.iter().all(|port| !given.ports.contains(port))
                },
            )
    }
}

/// Watches Services and writes addresses into their status until the result is dropped.
pub fn run(api: Client, pools: Vec<Pool>) -> Running {
    Running(tokio::spawn(async move {
        let mut ledger = Ledger::new(pools);
        let services: Api<Service> = Api::all(api.clone());
        let mut events =
            std::pin::pin!(watcher::watcher(services, watcher::Config::default()).default_backoff());
        loop {
            match events.try_next().await {
                Ok(Some(event)) => {
                    if let Err(error) = handle(&api, &mut ledger, event).await {
                        tracing::warn!("address allocator stand-in: {error:#}");
                    }
                }
                Ok(None) => return,
                Err(error) => tracing::warn!(%error, "address allocator stand-in: watch"),
            }
        }
    }))
}

async fn handle(api: &Client, ledger: &mut Ledger, event: Event<Service>) -> anyhow::Result<()> {
    match event {
        Event::Apply(service) | Event::InitApply(service) => {
            let addresses = ledger.addresses(&service);
            if addresses.is_empty() || addresses == current(&service) {
                return Ok(());
            }
            write(api, &service, &addresses).await
        }
        Event::Delete(service) => {
            ledger.release(&service);
            Ok(())
        }
        Event::Init | Event::InitDone => Ok(()),
    }
}

/// Writes addresses into a Service's status as LB-IPAM does; tests use it to put any address there.
///
/// # Errors
/// Those of the API server.
pub async fn write<A: Copy + Into<IpAddr>>(
    api: &Client,
    service: &Service,
    addresses: &[A],
) -> anyhow::Result<()> {
    let namespace = service.metadata.namespace.as_deref().context("a Service without a namespace")?;
    let services: Api<Service> = Api::namespaced(api.clone(), namespace);
    let ingress: Vec<_> =
        addresses.iter().map(|ip| json!({ "ip": Into::<IpAddr>::into(*ip), "ipMode": "VIP" })).collect();
    let status = json!({ "status": { "loadBalancer": { "ingress": ingress } } });
    match services.patch_status(&service.name_any(), &PatchParams::default(), &Patch::Merge(&status)).await {
        Ok(_) => Ok(()),
        // Deleted meanwhile.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn key(service: &Service) -> (String, String) {
    (service.namespace().unwrap_or_default(), service.name_any())
}

fn is_ours(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    let kind = spec.and_then(|spec| spec.type_.as_deref());
    let class = spec.and_then(|spec| spec.load_balancer_class.as_deref());
    kind == Some("LoadBalancer") && class.is_none_or(|class| CLASSES.contains(&class))
}

fn requested(service: &Service) -> Option<Vec<Ipv4Addr>> {
    let list = REQUESTED.iter().find_map(|annotation| service.annotations().get(*annotation))?;
    Some(list.split(',').filter_map(|address| address.trim().parse().ok()).collect())
}

fn sharing_key(service: &Service) -> Option<String> {
    service.annotations().get(SHARING_KEY).cloned()
}

fn ports(service: &Service) -> Vec<(i32, String)> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    let protocol = |protocol: &Option<String>| protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    ports
        .map(|ports| ports.iter().map(|port| (port.port, protocol(&port.protocol))).collect())
        .unwrap_or_default()
}

fn current(service: &Service) -> Vec<Ipv4Addr> {
    let ingress = service.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    ingress
        .map(|list| list.iter().filter_map(|entry| entry.ip.as_ref()?.parse().ok()).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
