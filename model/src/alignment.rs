// SPDX-License-Identifier: Apache-2.0
//! Bringing one map of a Service, its labels or its annotations, in line with its Gateway's.

use serde::Serialize;

use crate::{
    labels::{SkipReason, Skipped},
    memory,
    metadata::{LabelMap, Metadata},
    rules::is_never_injected,
};

/// What happens to one map, and to the memory of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Entries that are added.
    pub injected: LabelMap,
    /// Entries from Gateherald whose value is changed.
    pub updated: LabelMap,
    /// Entries from Gateherald that are removed. Each is on the Service.
    pub removed: Vec<Removed>,
    /// Those keys of `injected` that this very request removed.
    pub reinjected: Vec<String>,
    /// The memory annotation.
    pub memory: MemoryChange,
    /// What was left out, and why.
    pub skipped: Vec<Skipped>,
}

/// What happens to a memory annotation.
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

/// Why an injected entry is removed again.
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

/// An entry that Gateherald injected earlier and now removes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Which key.
    pub key: String,
    /// Why.
    pub reason: RemovalReason,
}

impl Changes {
    /// Whether anything happens, to the map or to the memory.
    pub fn any(&self) -> bool {
        self.entries() || self.memory != MemoryChange::Keep
    }

    /// Whether an entry changes.
    pub fn entries(&self) -> bool {
        !(self.injected.is_empty() && self.updated.is_empty() && self.removed.is_empty())
    }
}

/// One of a Service's two maps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// The annotation that remembers what was injected into it.
    pub(crate) memory: &'static str,
    pub(crate) map: fn(&Metadata) -> &LabelMap,
}

/// The labels.
pub(crate) const LABELS: Kind = Kind { memory: memory::INJECTED_LABELS, map: |metadata| &metadata.labels };
/// The annotations.
pub(crate) const ANNOTATIONS: Kind =
    Kind { memory: memory::INJECTED_ANNOTATIONS, map: |metadata| &metadata.annotations };

/// What a Gateway wants in one map of its Services.
#[derive(Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// In key order.
    pub(crate) entries: Vec<(&'a String, &'a String)>,
    pub(crate) skipped: Vec<Skipped>,
}

impl Wanted<'_> {
    fn has(&self, key: &str) -> bool {
        self.entries.binary_search_by(|(wanted, _)| wanted.as_str().cmp(key)).is_ok()
    }
}

/// Decides on one map. `removal` says why an entry that is no longer wanted goes; `None`: it stays and is remembered.
pub(crate) fn align(
    kind: Kind,
    service: &Metadata,
    old: Option<&Metadata>,
    wanted: Wanted<'_>,
    removal: impl Fn(&str) -> Option<RemovalReason>,
) -> Changes {
    let (mut remembered, unreadable) = memory::recall(kind.memory, service, old);
    // Nobody injects these; a memory that says so is forged, and must not take our own annotations away.
    remembered.retain(|key, _| !is_never_injected(key));
    let has = (kind.map)(service);
    let mut changes = Changes::default();
    let mut memory = LabelMap::new();
    for &(key, value) in &wanted.entries {
        let (present, mine) = (has.get(key), remembered.get(key));
        match present {
            None => {
                if mine.is_some() && old.is_some_and(|old| (kind.map)(old).contains_key(key)) {
                    changes.reinjected.push(key.clone());
                }
                changes.injected.insert(key.clone(), value.clone());
            }
            Some(present) if Some(present) != mine => {
                changes.skipped.push(Skipped { key: key.clone(), reason: SkipReason::AlreadySet });
                continue;
            }
            Some(present) if present != value => {
                changes.updated.insert(key.clone(), value.clone());
            }
            Some(_) => {}
        }
        memory.insert(key.clone(), value.clone());
    }
    for (key, value) in &remembered {
        if wanted.has(key) || has.get(key) != Some(value) {
            continue;
        }
        match removal(key) {
            Some(reason) => changes.removed.push(Removed { key: key.clone(), reason }),
            None => drop(memory.insert(key.clone(), value.clone())),
        }
    }
    changes.skipped.extend(wanted.skipped);
    changes.skipped.extend(unreadable);
    changes.memory = memory_change(kind, service, old, &memory, &changes.removed);
    changes
}

/// A Service that opts out keeps what it has; it is the user's from now on.
pub(crate) fn forget(kind: Kind, service: &Metadata) -> Changes {
    let remembered = service.annotations.contains_key(kind.memory);
    let memory = if remembered { MemoryChange::Remove } else { MemoryChange::Keep };
    Changes { memory, ..Changes::default() }
}

/// Compares meaning, not text: a reformatted annotation is no reason to write.
fn memory_change(
    kind: Kind,
    service: &Metadata,
    old: Option<&Metadata>,
    memory: &LabelMap,
    removed: &[Removed],
) -> MemoryChange {
    match memory::read(kind.memory, service) {
        None if memory.is_empty() => MemoryChange::Keep,
        Some(Ok(present)) if present == *memory => MemoryChange::Keep,
        Some(_) if memory.is_empty() && !would_revive(kind, service, old, removed) => MemoryChange::Remove,
        _ => MemoryChange::Write(memory::write(memory)),
    }
}

/// Whether the previous object's memory would claim an entry anew if the object had no annotation: when the webhook is
/// invoked again in the same request, the removal of the annotation looks like a controller's.
fn would_revive(kind: Kind, service: &Metadata, old: Option<&Metadata>, removed: &[Removed]) -> bool {
    let Some(Ok(previous)) = old.and_then(|old| memory::read(kind.memory, old)) else { return false };
    previous.iter().any(|(key, value)| {
        (kind.map)(service).get(key) == Some(value) && !removed.iter().any(|removed| removed.key == *key)
    })
}
