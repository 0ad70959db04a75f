// SPDX-License-Identifier: Apache-2.0
//! What the model says about one Service, in the terms of the reconciler.

use std::collections::BTreeMap;

use gateherald_model::{
    injection::{Decision, Knowledge, Lookup, Outcome, decide, lookup},
    memory::{self, INJECTED_ANNOTATIONS, INJECTED_LABELS},
    metadata::Metadata,
    owner::Gateway,
    patch::merge_patch,
    rules::Rules,
};
use serde_json::Value;

use super::GatewayKey;

/// What a patch does; the metric label. One that does several things is counted by the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It adds what is missing.
    Injected,
    /// It changes a value.
    Updated,
    /// It removes what the Gateway no longer has.
    Removed,
    /// It only changes what Gateherald remembers.
    Memory,
}

impl Reason {
    /// Every reason, for metrics that start at zero.
    pub const ALL: [Self; 4] = [Self::Injected, Self::Updated, Self::Removed, Self::Memory];

    /// The reason's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Updated => "updated",
            Self::Removed => "removed",
            Self::Memory => "memory",
        }
    }
}

/// What a Service lacks.
#[derive(Clone, Debug, PartialEq)]
pub struct Need {
    /// The merge patch that brings it in line, without a resourceVersion.
    pub patch: Value,
    /// What kind of change it is.
    pub reason: Reason,
    /// The keys that it sets or removes, for people.
    pub keys: Vec<String>,
}

impl Need {
    /// Whether this is the same change again: by what it does to labels and annotations, whatever happened to the memory.
    pub fn is_again(&self, other: &Self) -> bool {
        self.effect() == other.effect()
    }

    fn effect(&self) -> Value {
        let mut metadata = self.patch["metadata"].clone();
        if self.reason != Reason::Memory
            && let Some(annotations) = metadata["annotations"].as_object_mut()
        {
            annotations.retain(|key, _| !MEMORIES.contains(&key.as_str()));
        }
        let empty = |value: &Value| value.as_object().is_none_or(serde_json::Map::is_empty);
        if let Some(maps) = metadata.as_object_mut() {
            maps.retain(|_, map| !empty(map));
        }
        metadata
    }
}

/// The annotations that remember.
const MEMORIES: [&str; 2] = [INJECTED_LABELS, INJECTED_ANNOTATIONS];

/// The model's word about a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// How a review of it would end.
    pub outcome: Outcome,
    /// What has to change, if anything.
    pub need: Option<Need>,
}

/// Whether a Service has to be kept in view at all: a Gateway owns it, or something was injected into it.
pub fn concerns(rules: &Rules, service: &Metadata) -> bool {
    !matches!(lookup(rules, service), Lookup::NoOwner(_)) || memory::is_remembered(service)
}

/// The Gateway that decides about a Service; `None` when none does (any more).
pub fn owner(rules: &Rules, service: &Metadata) -> Option<GatewayKey> {
    match lookup(rules, service) {
        Lookup::NoOwner(_) | Lookup::OptedOut(_) => None,
        Lookup::Gateway(owner) => {
            Some(GatewayKey { namespace: owner.namespace.to_owned(), name: owner.name.to_owned() })
        }
    }
}

/// Decides with what is known of the Gateway: it, or that there is none.
pub fn judge(rules: &Rules, service: &Metadata, gateway: Option<&Gateway>) -> Judgement {
    let known = gateway.map_or(Knowledge::Missing, Knowledge::Exists);
    let decision = decide(rules, service, None, known);
    Judgement { outcome: decision.outcome, need: need(&decision) }
}

/// What was injected into a Service as far as it remembers, key to value: labels, and annotations by their keys.
pub fn remembered(service: &Metadata) -> BTreeMap<String, String> {
    let memories = MEMORIES.iter().filter_map(|annotation| memory::read(annotation, service)?.ok());
    memories.flatten().collect()
}

fn need(decision: &Decision) -> Option<Need> {
    if !decision.changes() {
        return None;
    }
    let sides = [&decision.labels, &decision.annotations];
    let reason = if sides.iter().any(|side| !side.injected.is_empty()) {
        Reason::Injected
    } else if sides.iter().any(|side| !side.updated.is_empty()) {
        Reason::Updated
    } else if sides.iter().any(|side| !side.removed.is_empty()) {
        Reason::Removed
    } else {
        Reason::Memory
    };
    let keys = sides.iter().flat_map(|side| {
        let set = side.injected.keys().chain(side.updated.keys());
        set.chain(side.removed.iter().map(|removed| &removed.key)).cloned()
    });
    Some(Need { patch: merge_patch(decision), reason, keys: keys.collect() })
}

#[cfg(test)]
mod tests;
