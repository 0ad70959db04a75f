// SPDX-License-Identifier: Apache-2.0
//! Where the endpoints of Services are.

use std::collections::{BTreeMap, BTreeSet};

use gateherald_model::service::ServiceKey;

use crate::snapshot::{Named, Snapshot};

/// The label by which an `EndpointSlice` names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The ready endpoints of one Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Endpoints {
    /// How many there are.
    pub(crate) ready: usize,
    /// The nodes that they are on.
    pub(crate) nodes: BTreeSet<String>,
    /// Some endpoint, ready or not, is on a node: a Gateway's generated Service has one dummy endpoint on none.
    pub(crate) on_nodes: bool,
}

/// By Service.
pub(crate) fn read(snapshot: &Snapshot) -> BTreeMap<ServiceKey, Endpoints> {
    let mut all: BTreeMap<ServiceKey, Endpoints> = BTreeMap::new();
    for slice in &snapshot.slices.items {
        let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
        let Some(service) = service else { continue };
        let entry = all.entry(ServiceKey::new(slice.key().0, service.as_str())).or_default();
        for endpoint in &slice.endpoints {
            entry.on_nodes |= endpoint.node_name.is_some();
            // Absent means unknown, which consumers take for ready.
            let ready = endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
            if ready {
                entry.ready += 1;
                entry.nodes.extend(endpoint.node_name.clone());
            }
        }
    }
    all
}
