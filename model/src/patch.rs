// SPDX-License-Identifier: Apache-2.0
//! A decision as JSON Patch (RFC 6902), in a form that always applies: a patch that does not apply fails the user's write
//! even under `failurePolicy: Ignore`.

use serde::Serialize;

use crate::{
    alignment::{Changes, MemoryChange},
    injection::Decision,
    memory::{INJECTED_ANNOTATIONS, INJECTED_LABELS},
    metadata::{LabelMap, Metadata},
};

/// One operation of a patch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    /// Sets the value, whether there is one or not.
    Add {
        /// Where (RFC 6901).
        path: String,
        /// What.
        value: Value,
    },
    /// Removes what is there.
    Remove {
        /// Where (RFC 6901).
        path: String,
    },
}

/// What an operation sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// One label or annotation.
    Text(String),
    /// All labels or annotations.
    Map(LabelMap),
}

/// The patch that makes `decision` true of the Service it was decided for; empty when nothing changes.
pub fn operations(service: &Metadata, decision: &Decision) -> Vec<Operation> {
    let Decision { labels, annotations, .. } = decision;
    let memories = [(INJECTED_LABELS, &labels.memory), (INJECTED_ANNOTATIONS, &annotations.memory)];
    let mut operations = Vec::new();
    add(&mut operations, "/metadata/labels", service.labels.is_empty(), set(labels));
    remove(&mut operations, "/metadata/labels", labels.removed.iter().map(|removed| removed.key.as_str()));
    let written = memories.iter().filter_map(|(key, memory)| match memory {
        MemoryChange::Write(text) => Some((*key, text.as_str())),
        MemoryChange::Keep | MemoryChange::Remove => None,
    });
    let entries = set(annotations).chain(written);
    add(&mut operations, "/metadata/annotations", service.annotations.is_empty(), entries);
    let forgotten =
        memories.iter().filter(|(_, memory)| **memory == MemoryChange::Remove).map(|(key, _)| *key);
    let gone = annotations.removed.iter().map(|removed| removed.key.as_str());
    remove(&mut operations, "/metadata/annotations", gone.chain(forgotten));
    operations
}

/// The same as a JSON merge patch (RFC 7396), for writers that have no JSON of the Service: `{"metadata": {…}}`, in which a
/// key that goes is `null`.
pub fn merge_patch(decision: &Decision) -> serde_json::Value {
    let Decision { labels, annotations, .. } = decision;
    let side = |changes: &Changes| {
        let set = set(changes).map(|(key, value)| (key.to_owned(), value.into()));
        let gone = changes.removed.iter().map(|removed| (removed.key.clone(), serde_json::Value::Null));
        set.chain(gone).collect::<serde_json::Map<_, _>>()
    };
    let mut written = side(annotations);
    for (key, memory) in [(INJECTED_LABELS, &labels.memory), (INJECTED_ANNOTATIONS, &annotations.memory)] {
        let value = match memory {
            MemoryChange::Keep => continue,
            MemoryChange::Write(text) => text.as_str().into(),
            MemoryChange::Remove => serde_json::Value::Null,
        };
        written.insert(key.into(), value);
    }
    serde_json::json!({ "metadata": { "labels": side(labels), "annotations": written } })
}

fn set(changes: &Changes) -> impl Iterator<Item = (&str, &str)> {
    changes.injected.iter().chain(&changes.updated).map(|(key, value)| (key.as_str(), value.as_str()))
}

/// Adds entries to a map; to one that is absent (or empty, which is the same to Kubernetes) as a whole map.
fn add<'a>(
    operations: &mut Vec<Operation>,
    map: &str,
    absent: bool,
    entries: impl Iterator<Item = (&'a str, &'a str)>,
) {
    if absent {
        let value: LabelMap = entries.map(|(key, value)| (key.into(), value.into())).collect();
        if !value.is_empty() {
            operations.push(Operation::Add { path: map.into(), value: Value::Map(value) });
        }
        return;
    }
    operations.extend(
        entries.map(|(key, value)| Operation::Add { path: path(map, key), value: Value::Text(value.into()) }),
    );
}

fn remove<'a>(operations: &mut Vec<Operation>, map: &str, keys: impl Iterator<Item = &'a str>) {
    operations.extend(keys.map(|key| Operation::Remove { path: path(map, key) }));
}

/// A JSON pointer to `key` in `map`: `~` is escaped before `/`, whose escape contains it.
fn path(map: &str, key: &str) -> String {
    format!("{map}/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests;
