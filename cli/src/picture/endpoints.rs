// SPDX-License-Identifier: Apache-2.0
//! Where the endpoints of Services are.

use std::collections::BTreeMap;

use gateherald_model::{
    endpoints::{Endpoints, SERVICE_NAME, SliceKey, SliceView},
    service::ServiceKey,
};

use crate::snapshot::{Named, Snapshot};

/// As the announcer sees them.
pub(crate) fn all(snapshot: &Snapshot) -> Endpoints {
    let slices = snapshot.slices.items.iter().map(|slice| {
        let (namespace, name) = slice.key();
        (SliceKey { namespace: namespace.to_owned(), name: name.to_owned() }, SliceView::from(slice))
    });
    slices.collect()
}

/// How many endpoints of a Service are ready, wherever they are.
pub(crate) fn ready(snapshot: &Snapshot) -> BTreeMap<ServiceKey, usize> {
    let mut all: BTreeMap<ServiceKey, usize> = BTreeMap::new();
    for slice in &snapshot.slices.items {
        let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
        let Some(service) = service else { continue };
        // Absent means unknown, which consumers take for ready.
        let is_ready = |endpoint: &&k8s_openapi::api::discovery::v1::Endpoint| {
            endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true)
        };
        let count = slice.endpoints.iter().filter(is_ready).count();
        *all.entry(ServiceKey::new(slice.key().0, service.as_str())).or_default() += count;
    }
    all
}
