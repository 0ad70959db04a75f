// SPDX-License-Identifier: Apache-2.0
//! Which Gateway owns a Service, and that Gateway reduced to what label decisions read.

use crate::{
    extractor::{Extracted, Extractor},
    labels::{SkipReason, Skipped},
    metadata::{Entries, Metadata, OwnerReference},
};

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
    pub labels: Entries,
    /// Those of its annotations that the rules mention.
    pub annotations: Entries,
    /// Its annotation [`INJECT`].
    pub inject: Option<String>,
    /// Its annotation [`INJECT_LABELS`].
    pub inject_labels: Option<String>,
}

impl Gateway {
    /// Reduces a Gateway's metadata; `mentioned` says which annotations the rules are about.
    pub fn reduce(mut metadata: Metadata, mentioned: impl Fn(&str) -> bool) -> Self {
        let inject = metadata.annotations.remove(INJECT);
        let inject_labels = metadata.annotations.remove(INJECT_LABELS);
        // The others are never read, and can be hundreds of KiB.
        metadata.annotations.retain(|key, _| mentioned(key));
        Self {
            uid: metadata.uid,
            deleting: metadata.deletion_timestamp.is_some(),
            labels: metadata.labels.into(),
            annotations: metadata.annotations.into(),
            inject,
            inject_labels,
        }
    }
}

/// What points from a Service to its Gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayReference<'a> {
    /// The Gateway's namespace.
    pub namespace: &'a str,
    /// The Gateway's name.
    pub name: &'a str,
    /// Which Gateway of that name; labels do not tell.
    pub uid: Option<&'a str>,
    /// The extractor that found it; an ownerReference did when there is none.
    pub extractor: Option<&'a str>,
}

/// Whom a Service belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner<'a> {
    /// No Gateway.
    Nobody,
    /// A Gateway that the Service's namespace may not name: as good as none.
    Untrusted(Skipped),
    /// This one.
    Gateway(GatewayReference<'a>),
}

/// The Gateway that owns a Service: by an ownerReference of any version of the group (the managing controller's if there are
/// several, else the first; the Gateway is in the Service's own namespace), else by the first extractor that finds one.
pub fn owner<'a>(extractors: &'a [Extractor], service: &'a Metadata) -> Owner<'a> {
    if let Some(reference) = gateway_reference(service) {
        return Owner::Gateway(GatewayReference {
            namespace: &service.namespace,
            name: &reference.name,
            uid: Some(&reference.uid),
            extractor: None,
        });
    }
    let mut untrusted = None;
    for extractor in extractors {
        match extractor.extract(service) {
            Extracted::Nothing => {}
            Extracted::Untrusted => untrusted = untrusted.or(Some(&extractor.name_label)),
            Extracted::Gateway { namespace, name } => {
                let extractor = Some(extractor.name.as_str());
                return Owner::Gateway(GatewayReference { namespace, name, uid: None, extractor });
            }
        }
    }
    untrusted.map_or(Owner::Nobody, |key| {
        Owner::Untrusted(Skipped { key: key.clone(), reason: SkipReason::UntrustedNamespace })
    })
}

fn gateway_reference(service: &Metadata) -> Option<&OwnerReference> {
    let gateways = || service.owner_references.iter().filter(|owner| is_gateway(owner));
    gateways().find(|owner| owner.controller == Some(true)).or_else(|| gateways().next())
}

fn is_gateway(owner: &OwnerReference) -> bool {
    let group = owner.api_version.split_once('/').map(|(group, _)| group);
    group == Some(GATEWAY_GROUP) && owner.kind == GATEWAY_KIND
}

#[cfg(test)]
mod tests;
