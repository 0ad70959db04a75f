// SPDX-License-Identifier: Apache-2.0
//! Which Gateway owns a Service, and that Gateway reduced to what label decisions read.

use crate::metadata::{LabelMap, Metadata, OwnerReference};

/// The API group of the Gateway API. Other groups have a kind `Gateway` too (Istio's), which is not meant.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
/// The kind that is meant.
pub const GATEWAY_KIND: &str = "Gateway";
/// The Gateway API's resource as RBAC and people name it.
pub const GATEWAY_RESOURCE: &str = "gateways.gateway.networking.k8s.io";

/// On a Gateway or a Service: `"false"` opts out of injection.
pub const INJECT: &str = "gateherald.io/inject";
/// On a Gateway: comma-separated patterns; only labels that match one are injected.
pub const INJECT_LABELS: &str = "gateherald.io/inject-labels";

/// A Gateway, reduced to what label decisions read. Namespace and name are the reader's key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    /// Tells it from an earlier or later Gateway of the same name.
    pub uid: String,
    /// Whether its deletion has begun.
    pub deleting: bool,
    /// Its labels: what is injected.
    pub labels: LabelMap,
    /// Its annotation [`INJECT`].
    pub inject: Option<String>,
    /// Its annotation [`INJECT_LABELS`].
    pub inject_labels: Option<String>,
}

impl From<Metadata> for Gateway {
    fn from(mut metadata: Metadata) -> Self {
        Self {
            uid: metadata.uid,
            deleting: metadata.deletion_timestamp.is_some(),
            labels: metadata.labels,
            inject: metadata.annotations.remove(INJECT),
            inject_labels: metadata.annotations.remove(INJECT_LABELS),
        }
    }
}

/// The Service's reference to its Gateway, of any version of the group: the managing controller's if there are several,
/// else the first. The Gateway is in the Service's own namespace.
pub fn gateway_reference(service: &Metadata) -> Option<&OwnerReference> {
    let gateways = || service.owner_references.iter().filter(|owner| is_gateway(owner));
    gateways().find(|owner| owner.controller == Some(true)).or_else(|| gateways().next())
}

fn is_gateway(owner: &OwnerReference) -> bool {
    let group = owner.api_version.split_once('/').map(|(group, _)| group);
    group == Some(GATEWAY_GROUP) && owner.kind == GATEWAY_KIND
}

#[cfg(test)]
mod tests;
