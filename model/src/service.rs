// SPDX-License-Identifier: Apache-2.0
//! A Service, reduced to what announcing needs.

use std::{fmt, net::IpAddr};

use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};
use serde::{Serialize, Serializer};

use crate::{
    metadata::Entries,
    selector::{Labels, NAME_LABEL, NAMESPACE_LABEL},
};

/// On a Service as annotation, on a Node as label: `"false"` takes it out of announcing.
pub const ANNOUNCE: &str = "gateherald.io/announce";

/// On a Service as annotation: the node that shall announce its addresses whenever it can.
pub const PREFERRED_NODE: &str = "gateherald.io/preferred-node";

/// Which Service; ordered by namespace, then name. Displayed as `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
}

impl ServiceKey {
    /// A key from its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Serialize for ServiceKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where a Service's address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressSource {
    /// `spec.externalIPs`: any author of a Service can write it.
    External,
    /// `status.loadBalancer.ingress`: an allocator wrote it.
    LoadBalancer,
}

/// One place in a Service where an address may stand, as it was found there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressEntry {
    /// An address that a policy may announce.
    Address(IpAddr, AddressSource),
    /// An ingress with `ipMode: Proxy`: clients reach it through a proxy, not by this address.
    Proxy(IpAddr),
    /// An ingress that names a host and no address.
    Hostname(String),
    /// Text that is no address.
    Unreadable(String),
}

/// A Service, reduced to what announcing needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    /// Which Service.
    pub key: ServiceKey,
    /// Its own labels; selectors also see the two pseudo-labels, which win.
    pub labels: Entries,
    /// `spec.loadBalancerClass`.
    pub load_balancer_class: Option<String>,
    /// Its addresses, in the object's order.
    pub entries: Vec<AddressEntry>,
    /// Annotated `gateherald.io/announce: "false"`.
    pub opted_out: bool,
    /// The node in the annotation [`PREFERRED_NODE`].
    pub preferred_node: Option<String>,
    /// `spec.externalTrafficPolicy` is `Local`: a node hands its traffic only to endpoints of its own.
    pub local: bool,
}

impl Labels for ServiceView {
    fn label(&self, key: &str) -> Option<&str> {
        match key {
            NAMESPACE_LABEL => Some(&self.key.namespace),
            NAME_LABEL => Some(&self.key.name),
            _ => self.labels.label(key),
        }
    }
}

impl From<&Service> for ServiceView {
    fn from(service: &Service) -> Self {
        let meta = &service.metadata;
        let spec = service.spec.as_ref();
        let external = spec.and_then(|s| s.external_ips.as_deref()).unwrap_or_default();
        let status = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
        let ingress = status.and_then(|s| s.ingress.as_deref()).unwrap_or_default();
        let external = external.iter().map(|text| entry(text, AddressSource::External));
        let annotation = |key| meta.annotations.as_ref().and_then(|annotations| annotations.get(key));
        let mut entries: Vec<AddressEntry> =
            external.chain(ingress.iter().filter_map(ingress_entry)).collect();
        entries.shrink_to_fit();
        Self {
            key: ServiceKey::new(
                meta.namespace.clone().unwrap_or_default(),
                meta.name.clone().unwrap_or_default(),
            ),
            labels: meta.labels.clone().unwrap_or_default().into(),
            load_balancer_class: spec.and_then(|s| s.load_balancer_class.clone()),
            entries,
            opted_out: annotation(ANNOUNCE).is_some_and(|value| value == "false"),
            preferred_node: annotation(PREFERRED_NODE).filter(|node| !node.is_empty()).cloned(),
            local: spec.and_then(|s| s.external_traffic_policy.as_deref()) == Some("Local"),
        }
    }
}

fn entry(text: &str, source: AddressSource) -> AddressEntry {
    text.parse()
        .map_or_else(|_| AddressEntry::Unreadable(text.to_owned()), |ip| AddressEntry::Address(ip, source))
}

/// An ingress without address and host says nothing and is no entry.
fn ingress_entry(ingress: &LoadBalancerIngress) -> Option<AddressEntry> {
    let text = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
    let Some(ip) = text(&ingress.ip) else {
        return text(&ingress.hostname).map(AddressEntry::Hostname);
    };
    Some(match entry(&ip, AddressSource::LoadBalancer) {
        AddressEntry::Address(ip, _) if ingress.ip_mode.as_deref() == Some("Proxy") => {
            AddressEntry::Proxy(ip)
        }
        other => other,
    })
}

#[cfg(test)]
mod tests;
