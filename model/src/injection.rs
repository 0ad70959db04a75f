// SPDX-License-Identifier: Apache-2.0
//! The webhook's whole decision: what happens to a Service's labels and annotations, and why.
//!
//! Shared by the admission server, the reconciler and the command line. What they know of the Gateway comes in as
//! [`Knowledge`]; [`lookup`] says whether they need to know it.

use std::fmt;

use serde::Serialize;

use crate::{
    alignment::{ANNOTATIONS, Changes, Kind, LABELS, MemoryChange, RemovalReason, Wanted, align, forget},
    labels::{SkipReason, Skipped},
    metadata::{Entries, Metadata},
    owner::{Gateway, GatewayReference, INJECT, Owner, owner},
    pattern::Pattern,
    rules::Rules,
};

/// The API server's limit for all keys and values of an object's annotations, in bytes.
pub const MAX_ANNOTATION_BYTES: usize = 262_144;

/// How a review ended. The name is the metric label, the audit field and an audit annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The Service's labels, annotations or memory were changed.
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

/// What happens to a Service, in full; [`crate::patch`] turns it into JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// How the review ends.
    pub outcome: Outcome,
    /// The labels.
    pub labels: Changes,
    /// The annotations, without the memory.
    pub annotations: Changes,
}

/// Whether a Service has to do with a Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// No Gateway owns it. A Gateway that it names and that is not believed comes with it.
    NoOwner(Option<Skipped>),
    /// One owns it, but the Service opted out.
    OptedOut(GatewayReference<'a>),
    /// This Gateway must be looked up.
    Gateway(GatewayReference<'a>),
}

/// What must be known before [`decide`]. The Service's namespace must be filled in.
pub fn lookup<'a>(rules: &'a Rules, service: &'a Metadata) -> Lookup<'a> {
    match owner(&rules.extractors, service) {
        Owner::Nobody => Lookup::NoOwner(None),
        Owner::Untrusted(skipped) => Lookup::NoOwner(Some(skipped)),
        Owner::Gateway(reference) if opts_out(service.annotations.get(INJECT)) => Lookup::OptedOut(reference),
        Owner::Gateway(reference) => Lookup::Gateway(reference),
    }
}

/// Decides. `old` is the object before an update.
pub fn decide(rules: &Rules, service: &Metadata, old: Option<&Metadata>, known: Knowledge<'_>) -> Decision {
    let reference = match lookup(rules, service) {
        Lookup::NoOwner(ignored) => return Decision::of_nobody(ignored),
        Lookup::OptedOut(_) => return Decision::of_opted_out(service),
        Lookup::Gateway(reference) => reference,
    };
    match known {
        Knowledge::Unknown => Decision::untouched(Outcome::LookupFailed),
        Knowledge::Missing => Decision::untouched(Outcome::GatewayMissing),
        Knowledge::Exists(gateway) if reference.uid.is_some_and(|uid| uid != gateway.uid) => {
            Decision::untouched(Outcome::GatewayReplaced)
        }
        Knowledge::Exists(gateway) => follow(rules, service, old, gateway),
    }
}

impl Decision {
    /// Nothing happens.
    pub fn untouched(outcome: Outcome) -> Self {
        Self { outcome, labels: Changes::default(), annotations: Changes::default() }
    }

    /// Whether the Service is changed at all.
    pub fn changes(&self) -> bool {
        self.labels.any() || self.annotations.any()
    }

    /// What was left out, and why.
    pub fn skipped(&self) -> impl Iterator<Item = &Skipped> {
        self.labels.skipped.iter().chain(&self.annotations.skipped)
    }

    fn of_nobody(ignored: Option<Skipped>) -> Self {
        let labels = Changes { skipped: ignored.into_iter().collect(), ..Changes::default() };
        Self { labels, ..Self::untouched(Outcome::NoOwner) }
    }

    /// A Service that opts out keeps what it has; it is the user's from now on.
    fn of_opted_out(service: &Metadata) -> Self {
        Self {
            outcome: Outcome::OptedOut,
            labels: forget(LABELS, service),
            annotations: forget(ANNOTATIONS, service),
        }
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

/// The Gateway is the owner: bring the Service in line with it.
fn follow(rules: &Rules, service: &Metadata, old: Option<&Metadata>, gateway: &Gateway) -> Decision {
    let opted_out = opts_out(gateway.inject.as_ref());
    let removal = |still_there: bool| match (gateway.deleting, opted_out) {
        // What it had may be what it will have again, under another uid.
        (true, _) => None,
        (false, true) => Some(RemovalReason::GatewayOptedOut),
        (false, false) if still_there => Some(RemovalReason::Rejected),
        (false, false) => Some(RemovalReason::GatewayLacks),
    };
    let (labels, annotations) = if opted_out {
        (Wanted::default(), Wanted::default())
    } else {
        (wanted_labels(rules, gateway), wanted_annotations(rules, gateway))
    };
    let labels = align(LABELS, service, old, labels, |key| removal(gateway.labels.contains_key(key)));
    // Of annotations that the rules are not about nobody knows whether the Gateway has them.
    let has = |key: &str| gateway.annotations.contains_key(key) || !rules.annotations.mention(key);
    let annotations = align(ANNOTATIONS, service, old, annotations, |key| removal(has(key)));
    conclude(labels, annotations, service, opted_out)
}

fn wanted_labels<'a>(rules: &Rules, gateway: &'a Gateway) -> Wanted<'a> {
    let narrow = gateway.inject_labels.as_deref().map(Pattern::list);
    wanted(&gateway.labels, |key, value| rules.labels.rejects(key, value, narrow.as_deref()))
}

fn wanted_annotations<'a>(rules: &Rules, gateway: &'a Gateway) -> Wanted<'a> {
    let mut wanted = wanted(&gateway.annotations, |key, _| rules.annotations.rejects(key));
    // A Gateway's reader may have kept more than these rules are about.
    wanted.entries.retain(|(key, _)| rules.annotations.mention(key));
    wanted.skipped.retain(|skipped| rules.annotations.mention(&skipped.key));
    wanted
}

fn wanted(entries: &Entries, rejects: impl Fn(&str, &str) -> Option<SkipReason>) -> Wanted<'_> {
    let mut wanted = Wanted::default();
    for (key, value) in entries {
        match rejects(key, value) {
            Some(reason) => wanted.skipped.push(Skipped { key: key.clone(), reason }),
            None => wanted.entries.push((key, value)),
        }
    }
    wanted
}

fn conclude(labels: Changes, annotations: Changes, service: &Metadata, opted_out: bool) -> Decision {
    let mut decision = Decision { outcome: Outcome::Unchanged, labels, annotations };
    if decision.changes() && annotation_bytes(service, &decision) > MAX_ANNOTATION_BYTES {
        let keep = |changes: Changes| Changes { skipped: changes.skipped, ..Changes::default() };
        let Decision { labels, annotations, .. } = decision;
        return Decision {
            outcome: Outcome::AnnotationsFull,
            labels: keep(labels),
            annotations: keep(annotations),
        };
    }
    decision.outcome = match (opted_out, decision.changes()) {
        (true, _) => Outcome::OptedOut,
        (false, true) => Outcome::Injected,
        (false, false) => Outcome::Unchanged,
    };
    decision
}

/// What the API server will count once the decision is applied.
fn annotation_bytes(service: &Metadata, decision: &Decision) -> usize {
    let size = |(key, value): (&String, &String)| key.len() + value.len();
    let Decision { labels, annotations, .. } = decision;
    let memories = [(LABELS, labels), (ANNOTATIONS, annotations)];
    let goes = |key: &String| {
        let rewritten =
            |(kind, changes): &(Kind, &Changes)| kind.memory == key && changes.memory != MemoryChange::Keep;
        annotations.updated.contains_key(key)
            || annotations.removed.iter().any(|removed| removed.key == *key)
            || memories.iter().any(rewritten)
    };
    let stays: usize = service.annotations.iter().filter(|(key, _)| !goes(key)).map(size).sum();
    let comes: usize = annotations.injected.iter().chain(&annotations.updated).map(size).sum();
    let remembered = memories.iter().map(|(kind, changes)| match &changes.memory {
        MemoryChange::Write(text) => kind.memory.len() + text.len(),
        MemoryChange::Keep | MemoryChange::Remove => 0,
    });
    stays + comes + remembered.sum::<usize>()
}

#[cfg(test)]
mod tests;
