// SPDX-License-Identifier: Apache-2.0
//! The webhook's whole decision: what happens to a Service's labels, and why.
//!
//! Shared by the admission server, the reconciler and the command line. What they know of the Gateway comes in as
//! [`Knowledge`]; [`lookup`] says whether they need to know it.

use std::fmt;

use serde::Serialize;

use crate::{
    labels::{Rules, SkipReason, Skipped},
    memory::{self, INJECTED_LABELS},
    metadata::{LabelMap, Metadata, OwnerReference},
    owner::{Gateway, INJECT, gateway_reference},
    pattern::Pattern,
};

/// The API server's limit for all keys and values of an object's annotations, in bytes.
pub const MAX_ANNOTATION_BYTES: usize = 262_144;

/// How a review ended. The name is the metric label, the audit field and an audit annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The Service's labels or memory were changed.
    Injected,
    /// Everything was as it should be.
    Unchanged,
    /// No Gateway owns the Service.
    NoOwner,
    /// There is no Gateway of the owner's name.
    GatewayMissing,
    /// The Gateway of the owner's name is another one.
    GatewayReplaced,
    /// The Gateway or the Service opted out.
    OptedOut,
    /// The memory would not fit the Service's annotations.
    AnnotationsFull,
    /// The Gateway could not be looked up.
    LookupFailed,
    /// The Gateways are not known yet; the API server was asked to try again.
    NotSynced,
    /// The request was no admission review of a Service.
    InvalidReview,
}

/// What is known of the Gateway that a Service's owner reference names.
#[derive(Clone, Copy, Debug)]
pub enum Knowledge<'a> {
    /// This one has the name; its uid may be another's.
    Exists(&'a Gateway),
    /// None has the name.
    Missing,
    /// Nobody could tell.
    Unknown,
}

/// What happens to the memory annotation.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum MemoryChange {
    /// It stays as it is, or absent.
    #[default]
    Keep,
    /// It becomes this text.
    Write(String),
    /// It goes. Only decided when it is there.
    Remove,
}

/// Why an injected label is removed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemovalReason {
    /// The Gateway no longer has it.
    GatewayLacks,
    /// The Gateway opted out of injection.
    GatewayOptedOut,
    /// The rules or the Gateway's own list no longer allow the key.
    Rejected,
}

/// A label that Gateherald injected earlier and now removes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Which key.
    pub key: String,
    /// Why.
    pub reason: RemovalReason,
}

/// What happens to a Service, in full; [`crate::patch`] turns it into JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// How the review ends.
    pub outcome: Outcome,
    /// Labels that are added.
    pub injected: LabelMap,
    /// Labels from Gateherald whose value is changed.
    pub updated: LabelMap,
    /// Labels from Gateherald that are removed. Each is on the Service.
    pub removed: Vec<Removed>,
    /// Those keys of `injected` that this very request removed.
    pub reinjected: Vec<String>,
    /// The memory annotation.
    pub memory: MemoryChange,
    /// What was left out, and why.
    pub skipped: Vec<Skipped>,
}

/// Whether a Service has to do with a Gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// No Gateway owns it.
    NoOwner,
    /// One owns it, but the Service opted out.
    OptedOut(&'a OwnerReference),
    /// This Gateway must be looked up in the Service's namespace.
    Gateway(&'a OwnerReference),
}

/// What must be known before [`decide`].
pub fn lookup(service: &Metadata) -> Lookup<'_> {
    match gateway_reference(service) {
        None => Lookup::NoOwner,
        Some(owner) if opts_out(service.annotations.get(INJECT)) => Lookup::OptedOut(owner),
        Some(owner) => Lookup::Gateway(owner),
    }
}

/// Decides. `old` is the object before an update.
pub fn decide(rules: &Rules, service: &Metadata, old: Option<&Metadata>, known: Knowledge<'_>) -> Decision {
    let owner = match lookup(service) {
        Lookup::NoOwner => return Decision::untouched(Outcome::NoOwner),
        Lookup::OptedOut(_) => return forget(service),
        Lookup::Gateway(owner) => owner,
    };
    match known {
        Knowledge::Unknown => Decision::untouched(Outcome::LookupFailed),
        Knowledge::Missing => Decision::untouched(Outcome::GatewayMissing),
        Knowledge::Exists(gateway) if gateway.uid != owner.uid => {
            Decision::untouched(Outcome::GatewayReplaced)
        }
        Knowledge::Exists(gateway) => merge(rules, service, old, gateway),
    }
}

impl Decision {
    /// Nothing happens.
    pub fn untouched(outcome: Outcome) -> Self {
        Self {
            outcome,
            injected: LabelMap::new(),
            updated: LabelMap::new(),
            removed: Vec::new(),
            reinjected: Vec::new(),
            memory: MemoryChange::Keep,
            skipped: Vec::new(),
        }
    }

    /// Whether the Service is changed at all.
    pub fn changes(&self) -> bool {
        self.changes_labels() || self.memory != MemoryChange::Keep
    }

    /// Whether the Service's labels are changed.
    pub fn changes_labels(&self) -> bool {
        !(self.injected.is_empty() && self.updated.is_empty() && self.removed.is_empty())
    }
}

impl Outcome {
    /// Every outcome, for metrics that start at zero.
    pub const ALL: [Self; 10] = [
        Self::Injected,
        Self::Unchanged,
        Self::NoOwner,
        Self::GatewayMissing,
        Self::GatewayReplaced,
        Self::OptedOut,
        Self::AnnotationsFull,
        Self::LookupFailed,
        Self::NotSynced,
        Self::InvalidReview,
    ];

    /// The outcome's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Unchanged => "unchanged",
            Self::NoOwner => "no-owner",
            Self::GatewayMissing => "gateway-missing",
            Self::GatewayReplaced => "gateway-replaced",
            Self::OptedOut => "opted-out",
            Self::AnnotationsFull => "annotations-full",
            Self::LookupFailed => "lookup-failed",
            Self::NotSynced => "not-synced",
            Self::InvalidReview => "invalid-review",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn opts_out(annotation: Option<&String>) -> bool {
    annotation.is_some_and(|value| value == "false")
}

/// A Service that opts out keeps its labels; they are the user's from now on.
fn forget(service: &Metadata) -> Decision {
    let mut decision = Decision::untouched(Outcome::OptedOut);
    if service.annotations.contains_key(INJECTED_LABELS) {
        decision.memory = MemoryChange::Remove;
    }
    decision
}

/// What a Gateway wants on its Services.
struct Wanted<'a> {
    labels: Vec<(&'a String, &'a String)>,
    opted_out: bool,
    skipped: Vec<Skipped>,
}

impl<'a> Wanted<'a> {
    fn of(rules: &Rules, gateway: &'a Gateway) -> Self {
        let opted_out = opts_out(gateway.inject.as_ref());
        let mut wanted = Self { labels: Vec::new(), opted_out, skipped: Vec::new() };
        if opted_out {
            return wanted;
        }
        let narrow = gateway.inject_labels.as_deref().map(Pattern::list);
        for (key, value) in &gateway.labels {
            match rules.rejects(key, value, narrow.as_deref()) {
                Some(reason) => wanted.skipped.push(Skipped { key: key.clone(), reason }),
                None => wanted.labels.push((key, value)),
            }
        }
        wanted
    }

    fn has(&self, key: &str) -> bool {
        // In key order, like the map that they come from.
        self.labels.binary_search_by(|(wanted, _)| wanted.as_str().cmp(key)).is_ok()
    }
}

/// The Gateway is the owner: bring the Service's labels in line with it.
fn merge(rules: &Rules, service: &Metadata, old: Option<&Metadata>, gateway: &Gateway) -> Decision {
    let (remembered, unreadable) = memory::recall(service, old);
    let wanted = Wanted::of(rules, gateway);
    let mut decision = Decision::untouched(Outcome::Unchanged);
    let mut memory = LabelMap::new();
    for (key, value) in &wanted.labels {
        let (present, mine) = (service.labels.get(*key), remembered.get(*key));
        match present {
            None => {
                if mine.is_some() && old.is_some_and(|old| old.labels.contains_key(*key)) {
                    decision.reinjected.push((*key).clone());
                }
                decision.injected.insert((*key).clone(), (*value).clone());
            }
            Some(present) if Some(present) != mine => {
                decision.skipped.push(Skipped { key: (*key).clone(), reason: SkipReason::AlreadySet });
                continue;
            }
            Some(present) if present != *value => {
                decision.updated.insert((*key).clone(), (*value).clone());
            }
            Some(_) => {}
        }
        memory.insert((*key).clone(), (*value).clone());
    }
    for (key, value) in &remembered {
        if wanted.has(key) || service.labels.get(key) != Some(value) {
            continue;
        }
        if gateway.deleting {
            memory.insert(key.clone(), value.clone());
        } else {
            let reason = removal_reason(gateway, wanted.opted_out, key);
            decision.removed.push(Removed { key: key.clone(), reason });
        }
    }
    decision.skipped.extend(wanted.skipped);
    decision.skipped.extend(unreadable);
    decision.memory = memory_change(service, old, &memory, &decision.removed);
    conclude(decision, service, wanted.opted_out)
}

fn removal_reason(gateway: &Gateway, opted_out: bool, key: &str) -> RemovalReason {
    if opted_out {
        RemovalReason::GatewayOptedOut
    } else if gateway.labels.contains_key(key) {
        RemovalReason::Rejected
    } else {
        RemovalReason::GatewayLacks
    }
}

/// Compares meaning, not text: a reformatted annotation is no reason to write.
fn memory_change(
    service: &Metadata,
    old: Option<&Metadata>,
    memory: &LabelMap,
    removed: &[Removed],
) -> MemoryChange {
    match memory::read(service) {
        None if memory.is_empty() => MemoryChange::Keep,
        Some(Ok(present)) if present == *memory => MemoryChange::Keep,
        Some(_) if memory.is_empty() && !would_revive(service, old, removed) => MemoryChange::Remove,
        _ => MemoryChange::Write(memory::write(memory)),
    }
}

/// Whether the previous object's memory would claim a label anew if the object had no annotation: when the webhook is
/// invoked again in the same request, the removal of the annotation looks like a controller's.
fn would_revive(service: &Metadata, old: Option<&Metadata>, removed: &[Removed]) -> bool {
    let Some(Ok(previous)) = old.and_then(memory::read) else { return false };
    previous.iter().any(|(key, value)| {
        service.labels.get(key) == Some(value) && !removed.iter().any(|removed| removed.key == *key)
    })
}

fn conclude(mut decision: Decision, service: &Metadata, opted_out: bool) -> Decision {
    if let MemoryChange::Write(text) = &decision.memory
        && annotation_bytes(service) + INJECTED_LABELS.len() + text.len() > MAX_ANNOTATION_BYTES
    {
        let skipped = std::mem::take(&mut decision.skipped);
        return Decision { skipped, ..Decision::untouched(Outcome::AnnotationsFull) };
    }
    decision.outcome = match (opted_out, decision.changes()) {
        (true, _) => Outcome::OptedOut,
        (false, true) => Outcome::Injected,
        (false, false) => Outcome::Unchanged,
    };
    decision
}

/// What the API server counts, without the memory.
fn annotation_bytes(service: &Metadata) -> usize {
    let others = service.annotations.iter().filter(|(key, _)| *key != INJECTED_LABELS);
    others.map(|(key, value)| key.len() + value.len()).sum()
}

#[cfg(test)]
mod tests;
