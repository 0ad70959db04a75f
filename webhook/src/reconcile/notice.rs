// SPDX-License-Identifier: Apache-2.0
//! What people are told about a Service: the content of an Event.

use std::collections::BTreeMap;

use gateherald_model::{injection::Outcome, metadata::Metadata};

use super::{GatewayKey, ServiceKey};
use crate::listing::fitting;

/// Longest list of labels in a message, in bytes: a message may have 1,024.
const LIST_BYTES: usize = 600;

/// What happened; the Event's reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Labels were added.
    Injected,
    /// Injected labels got another value.
    Updated,
    /// Injected labels were removed.
    Removed,
    /// The owning Gateway does not exist (any more).
    GatewayMissing,
    /// The owning Gateway's name belongs to another one now.
    GatewayReplaced,
    /// The memory does not fit.
    AnnotationsFull,
    /// Somebody undoes what is written.
    NotKept,
    /// The Service needs a change that is only reported.
    Drifted,
}

impl Kind {
    /// The Event's reason.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Injected => "LabelsInjected",
            Self::Updated => "LabelsUpdated",
            Self::Removed => "LabelsRemoved",
            Self::GatewayMissing => "GatewayMissing",
            Self::GatewayReplaced => "GatewayReplaced",
            Self::AnnotationsFull => "AnnotationsFull",
            Self::NotKept => "LabelsNotKept",
            Self::Drifted => "LabelsDrifted",
        }
    }

    /// Whether somebody should look.
    pub const fn is_warning(self) -> bool {
        !matches!(self, Self::Injected | Self::Updated | Self::Removed)
    }

    /// What an outcome is told as; `None` for those that are no news.
    pub const fn of(outcome: Outcome) -> Option<Self> {
        match outcome {
            Outcome::GatewayMissing => Some(Self::GatewayMissing),
            Outcome::GatewayReplaced => Some(Self::GatewayReplaced),
            Outcome::AnnotationsFull => Some(Self::AnnotationsFull),
            _ => None,
        }
    }
}

/// One thing to tell about one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The Service.
    pub service: ServiceKey,
    /// Its uid.
    pub uid: String,
    /// What happened.
    pub kind: Kind,
    /// In a person's words, with the way out.
    pub message: String,
}

impl Notice {
    /// Tells about `service`.
    pub fn new(service: &Metadata, kind: Kind, gateway: Option<&GatewayKey>, changes: &[String]) -> Self {
        let gateway = gateway.map_or_else(|| "its Gateway".to_owned(), |key| format!("Gateway {key}"));
        Self {
            service: ServiceKey::of(service),
            uid: service.uid.clone(),
            kind,
            message: message(kind, &gateway, &listed(changes)),
        }
    }
}

fn message(kind: Kind, gateway: &str, changes: &str) -> String {
    match kind {
        Kind::Injected => {
            format!("From {gateway}: {changes}. Opt out: annotation gateherald.io/inject=false")
        }
        Kind::Updated => format!("As on {gateway}: {changes}"),
        Kind::Removed => format!("Removed, because {gateway} no longer gives them: {changes}"),
        Kind::GatewayMissing => format!(
            "{gateway} does not exist; labels stay as they are. If it is gone for good, delete the Service; else create it again"
        ),
        Kind::GatewayReplaced => format!(
            "{gateway} is another one than the ownerReference names; labels stay as they are until its controller adopts the Service"
        ),
        Kind::AnnotationsFull => format!(
            "The labels of {gateway} are not injected: with what Gateherald must remember, the annotations would pass 262144 bytes. Shorten them"
        ),
        Kind::NotKept => format!(
            "Somebody undoes what Gateherald writes, so it keeps still for a while: {changes}. See who, with kubectl get service -o yaml --show-managed-fields; opt out: annotation gateherald.io/inject=false"
        ),
        Kind::Drifted => format!(
            "Differs from {gateway}: {changes}. Not written, because of --reconcile=report; it is repaired at the Service's next update"
        ),
    }
}

/// As many as fit, then how many more there are. What is changed without any is the memory.
fn listed(changes: &[String]) -> String {
    if changes.is_empty() {
        return "what Gateherald remembers".to_owned();
    }
    match fitting(changes, ", ", LIST_BYTES) {
        (text, 0) => text,
        (text, more) if text.is_empty() => format!("{more} labels"),
        (text, more) => format!("{text} and {more} more"),
    }
}

/// What changed between two states of a Service, by what it remembers: who wrote it does not matter.
pub fn compare(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
    service: &Metadata,
) -> Vec<(Kind, Vec<String>)> {
    let pair = |(key, value): (&String, &String)| format!("{key}={value}");
    let injected = after.iter().filter(|(key, _)| !before.contains_key(*key)).map(pair).collect();
    let updated = after.iter().filter(|(key, value)| before.get(*key).is_some_and(|old| old != *value));
    // What is still there is the user's from now on.
    let is_gone = |key: &String| !service.labels.contains_key(key) && !service.annotations.contains_key(key);
    let removed = before.keys().filter(|key| !after.contains_key(*key) && is_gone(key)).cloned().collect();
    let all =
        [(Kind::Injected, injected), (Kind::Updated, updated.map(pair).collect()), (Kind::Removed, removed)];
    all.into_iter().filter(|(_, changes): &(Kind, Vec<String>)| !changes.is_empty()).collect()
}

#[cfg(test)]
mod tests;
