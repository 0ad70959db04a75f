// SPDX-License-Identifier: Apache-2.0
//! A Node, reduced to what announcing needs.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::core::v1::Node;

use crate::service::ANNOUNCE;

/// Set by administrators, and by kubeadm on every control-plane node.
pub const EXCLUDE_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// A Node, reduced to what announcing needs. Whether it is cordoned is not part of it: a cordoned node keeps announcing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeView {
    /// The Node's name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The condition `NetworkUnavailable` is True.
    pub network_unavailable: bool,
    /// The addresses in its status, which are never announced by anybody.
    pub addresses: Vec<IpAddr>,
}

impl NodeView {
    /// Labelled `gateherald.io/announce: "false"`: taken out for maintenance.
    pub fn opted_out(&self) -> bool {
        self.labels.get(ANNOUNCE).is_some_and(|value| value == "false")
    }

    /// Labelled [`EXCLUDE_LABEL`], with any value.
    pub fn excluded(&self) -> bool {
        self.labels.contains_key(EXCLUDE_LABEL)
    }
}

impl From<&Node> for NodeView {
    fn from(node: &Node) -> Self {
        let status = node.status.as_ref();
        let conditions = status.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        let addresses = status.and_then(|s| s.addresses.as_deref()).unwrap_or_default();
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            network_unavailable: conditions
                .iter()
                .any(|c| c.type_ == "NetworkUnavailable" && c.status == "True"),
            addresses: addresses.iter().filter_map(|a| a.address.parse().ok()).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
