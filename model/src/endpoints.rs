// SPDX-License-Identifier: Apache-2.0
//! Where a Service's endpoints are: what `externalTrafficPolicy: Local` needs of EndpointSlices.
//!
//! Conditions are read as kube-proxy reads them (KEP-1669): a node's ready endpoints get its traffic; without one those
//! that still serve while they terminate.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use crate::{interfaces::Family, service::ServiceKey};

/// On a slice: the Service that it belongs to, in its own namespace.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Which slice; ordered by namespace, then name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SliceKey {
    /// The slice's namespace.
    pub namespace: String,
    /// The slice's name.
    pub name: String,
}

/// An EndpointSlice, reduced to what announcing needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceView {
    /// The Service that it belongs to; none: nobody's.
    pub service: Option<ServiceKey>,
    /// The family of its addresses; none: they are host names, which nobody sends traffic to.
    pub family: Option<Family>,
    /// Nodes with a ready endpoint.
    pub ready: BTreeSet<String>,
    /// Nodes with an endpoint that terminates and still serves.
    pub draining: BTreeSet<String>,
    /// Some endpoint is on a node, whatever its state.
    pub placed: bool,
    /// Some endpoint that traffic may go to is on no node.
    pub unplaced: bool,
}

/// Where traffic for a Service can be handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts<'a> {
    /// Nowhere: no endpoint is ready, and none serves while it terminates.
    Nowhere,
    /// On any node: no endpoint is on one.
    Anywhere,
    /// On these nodes.
    On(BTreeSet<&'a str>),
}

/// All slices that were seen.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    slices: BTreeMap<SliceKey, SliceView>,
    by_service: BTreeMap<ServiceKey, BTreeSet<SliceKey>>,
}

impl Endpoints {
    /// Takes in a slice, new or changed.
    pub fn set(&mut self, key: SliceKey, slice: SliceView) {
        self.remove(&key);
        if let Some(service) = &slice.service {
            self.by_service.entry(service.clone()).or_default().insert(key.clone());
        }
        self.slices.insert(key, slice);
    }

    /// Forgets a slice.
    pub fn remove(&mut self, key: &SliceKey) {
        let Some(service) = self.slices.remove(key).and_then(|slice| slice.service) else { return };
        if let Some(slices) = self.by_service.get_mut(&service) {
            slices.remove(key);
            if slices.is_empty() {
                self.by_service.remove(&service);
            }
        }
    }

    /// The slice as it was seen last.
    pub fn get(&self, key: &SliceKey) -> Option<&SliceView> {
        self.slices.get(key)
    }

    /// Where traffic for the Service's addresses of a family can be handed over.
    ///
    /// A Service none of whose endpoints is on a node has them outside the cluster, or only for show: the Service that a
    /// controller generates for a Gateway has one dummy endpoint. Any node will do for it, in either family.
    pub fn of(&self, service: &ServiceKey, family: Family) -> Whereabouts<'_> {
        let keys = || self.by_service.get(service).into_iter().flatten();
        let slices = || keys().filter_map(|key| self.slices.get(key)).filter(|slice| slice.family.is_some());
        if !slices().any(|slice| slice.placed) {
            let anywhere = slices().any(|slice| slice.unplaced);
            return if anywhere { Whereabouts::Anywhere } else { Whereabouts::Nowhere };
        }
        let of_family = || slices().filter(|slice| slice.family == Some(family));
        let nodes = |of: fn(&SliceView) -> &BTreeSet<String>| -> BTreeSet<&str> {
            of_family().flat_map(of).map(String::as_str).collect()
        };
        let ready = nodes(|slice| &slice.ready);
        let nodes = if ready.is_empty() { nodes(|slice| &slice.draining) } else { ready };
        if nodes.is_empty() { Whereabouts::Nowhere } else { Whereabouts::On(nodes) }
    }
}

impl FromIterator<(SliceKey, SliceView)> for Endpoints {
    fn from_iter<I: IntoIterator<Item = (SliceKey, SliceView)>>(slices: I) -> Self {
        let mut endpoints = Self::default();
        for (key, slice) in slices {
            endpoints.set(key, slice);
        }
        endpoints
    }
}

impl From<&EndpointSlice> for SliceView {
    fn from(slice: &EndpointSlice) -> Self {
        let meta = &slice.metadata;
        let name =
            meta.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME)).filter(|name| !name.is_empty());
        let mut view = Self {
            service: name.map(|name| ServiceKey::new(meta.namespace.clone().unwrap_or_default(), name)),
            family: match slice.address_type.as_str() {
                "IPv4" => Some(Family::V4),
                "IPv6" => Some(Family::V6),
                _ => None,
            },
            ..Self::default()
        };
        for endpoint in &slice.endpoints {
            view.take(endpoint);
        }
        view
    }
}

impl SliceView {
    fn take(&mut self, endpoint: &Endpoint) {
        let conditions = endpoint.conditions.as_ref();
        // An unknown state means ready, and serving what ready is (discovery.k8s.io/v1, EndpointConditions).
        let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
        let serving = conditions.and_then(|c| c.serving).unwrap_or(ready);
        let draining = !ready && serving && conditions.and_then(|c| c.terminating).unwrap_or(false);
        match endpoint.node_name.as_ref().filter(|node| !node.is_empty()) {
            Some(node) => {
                self.placed = true;
                if ready {
                    self.ready.insert(node.clone());
                } else if draining {
                    self.draining.insert(node.clone());
                }
            }
            None => self.unplaced |= ready || draining,
        }
    }
}

#[cfg(test)]
mod tests;
