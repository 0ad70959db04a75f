// SPDX-License-Identifier: Apache-2.0
//! What files would change: labels, addresses, problems. Two pictures are compared; nothing is written.

use std::collections::{BTreeMap, BTreeSet};

use gateherald_model::{
    injection::{Knowledge, decide},
    labels::Skipped,
    metadata::{LabelMap, Metadata},
    owner::{GATEWAY_GROUP, GATEWAY_KIND},
    service::{ServiceKey, ServiceView},
};
use serde::Serialize;
use serde_json::json;

use crate::{
    checks::Report,
    finding::{Finding, Severity},
    picture::Picture,
    trace::Trace,
};

/// The difference.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Preview {
    /// Services whose labels would change.
    pub(crate) services: Vec<ServiceChange>,
    /// Gateways for which no Service exists yet, and what their Services would get.
    pub(crate) gateways: Vec<FutureService>,
    /// Addresses that would be announced otherwise than now.
    pub(crate) addresses: Vec<AddressChange>,
    /// Problems that come.
    pub(crate) introduced: Vec<Finding>,
    /// Problems that go.
    pub(crate) fixed: Vec<Finding>,
    /// Problems that stay.
    pub(crate) unchanged: Vec<Finding>,
}

/// What would happen to the labels of a Service, by Gateherald's hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ServiceChange {
    pub(crate) service: String,
    pub(crate) added: LabelMap,
    pub(crate) changed: LabelMap,
    pub(crate) removed: Vec<String>,
}

/// What a Service would get that a controller makes for a Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FutureService {
    pub(crate) gateway: String,
    pub(crate) labels: LabelMap,
    pub(crate) kept_off: Vec<Skipped>,
    pub(crate) pools: Vec<String>,
    pub(crate) policies: Vec<String>,
}

/// Where an address may be announced, before and after; nowhere: by nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct AddressChange {
    pub(crate) address: String,
    pub(crate) before: Announced,
    pub(crate) after: Announced,
}

/// By which policies, on which nodes, on which interfaces (as patterns).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Announced {
    pub(crate) policies: BTreeSet<String>,
    pub(crate) nodes: BTreeSet<String>,
    pub(crate) interfaces: BTreeSet<String>,
}

/// A picture with its chains.
pub(crate) struct Side<'a> {
    pub(crate) picture: &'a Picture<'a>,
    pub(crate) traces: &'a [Trace],
}

impl Preview {
    /// Compares.
    pub(crate) fn new(before: &Side<'_>, after: &Side<'_>) -> Self {
        let (old, new) = (findings(before), findings(after));
        let none = BTreeMap::new();
        let reset = |side: &Side<'_>| announced(side);
        let (was, is) = (reset(before), reset(after));
        let addresses: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
        let change = |address: &String| {
            let of = |all: &BTreeMap<String, Announced>| all.get(address).cloned().unwrap_or_default();
            AddressChange { address: address.clone(), before: of(&was), after: of(&is) }
        };
        let changes = addresses.into_iter().map(change);
        let labels = |picture: &Picture<'_>, key: &ServiceKey| {
            picture.services.get(key).map_or_else(|| none.clone(), |facts| facts.expected.clone())
        };
        let services = after.picture.services.keys().filter_map(|key| {
            // A Service that only the files have brings its own labels: those are no change by Gateherald.
            let from = match before.picture.services.get(key) {
                Some(_) => labels(before.picture, key),
                None => after.picture.services.get(key)?.metadata.labels.clone(),
            };
            difference(key, &from, &labels(after.picture, key))
        });
        Self {
            services: services.collect(),
            gateways: future(after),
            addresses: changes.filter(|change| change.before != change.after).collect(),
            introduced: new.difference(&old).cloned().collect(),
            fixed: old.difference(&new).cloned().collect(),
            unchanged: new.intersection(&old).cloned().collect(),
        }
    }

    /// Whether an address would fall silent, or be silent from the first.
    pub(crate) fn introduces_errors(&self) -> bool {
        self.introduced.iter().any(|finding| finding.severity == Severity::Error)
    }
}

fn findings(side: &Side<'_>) -> BTreeSet<Finding> {
    Report::new(side.picture, side.traces).findings().cloned().collect()
}

fn difference(key: &ServiceKey, from: &LabelMap, to: &LabelMap) -> Option<ServiceChange> {
    let new = |(label, _): &(&String, &String)| !from.contains_key(*label);
    let other = |(label, value): &(&String, &String)| from.get(*label).is_some_and(|old| old != *value);
    let own = |(label, value): (&String, &String)| (label.clone(), value.clone());
    let change = ServiceChange {
        service: key.to_string(),
        added: to.iter().filter(new).map(own).collect(),
        changed: to.iter().filter(other).map(own).collect(),
        removed: from.keys().filter(|label| !to.contains_key(*label)).cloned().collect(),
    };
    let some = !(change.added.is_empty() && change.changed.is_empty() && change.removed.is_empty());
    some.then_some(change)
}

/// By address. Labels are taken as they will be once Gateherald has done its part.
fn announced(side: &Side<'_>) -> BTreeMap<String, Announced> {
    let mut all: BTreeMap<String, Announced> = BTreeMap::new();
    let picture = side.picture;
    for facts in picture.services.values() {
        for address in facts.addresses() {
            let announced = all.entry(address.to_string()).or_default();
            for id in picture.announcing(facts, address) {
                announced.policies.insert(id.to_string());
                announced.nodes.extend(picture.nodes_of(id).0.into_iter().map(str::to_owned));
                announced
                    .interfaces
                    .extend(picture.specs.get(id).into_iter().flat_map(|s| s.interfaces.clone()));
            }
        }
    }
    all
}

/// Gateways without a Service: what the webhook will do when a controller makes one.
fn future(side: &Side<'_>) -> Vec<FutureService> {
    let picture = side.picture;
    let bare =
        side.traces.iter().filter(|trace| trace.service.is_none()).filter_map(|trace| trace.gateway.clone());
    let one = |key: (String, String)| {
        let facts = picture.gateways.get(&key)?;
        let owner = json!({
            "apiVersion": format!("{GATEWAY_GROUP}/v1"), "kind": GATEWAY_KIND, "name": key.1, "uid": facts.gateway.uid,
        });
        let metadata = json!({ "namespace": key.0, "generateName": key.1, "ownerReferences": [owner] });
        let metadata: Metadata = serde_json::from_value(metadata).ok()?;
        let decision = decide(&picture.settings.rules, &metadata, None, Knowledge::Exists(&facts.gateway));
        let labels = decision.labels.injected;
        let view = ServiceView {
            key: ServiceKey::new(key.0.clone(), key.1.clone()),
            labels: labels.clone().into(),
            load_balancer_class: None,
            entries: Vec::new(),
            opted_out: false,
            preferred_node: None,
            local: false,
        };
        let pools = picture.pools.iter().filter(|pool| pool.selects(&view)).map(|pool| pool.id.clone());
        Some(FutureService {
            gateway: format!("{}/{}", key.0, key.1),
            labels,
            kept_off: decision.labels.skipped,
            pools: pools.collect(),
            policies: picture.selecting(&view).iter().map(ToString::to_string).collect(),
        })
    };
    bare.filter_map(one).collect()
}

#[cfg(test)]
mod tests;
