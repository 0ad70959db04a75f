// SPDX-License-Identifier: Apache-2.0
//! A decision as JSON Patch (RFC 6902), in a form that always applies: a patch that does not apply fails the user's write
//! even under `failurePolicy: Ignore`.

use serde::Serialize;

use crate::{
    injection::{Decision, MemoryChange},
    memory::INJECTED_LABELS,
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
    let mut operations = Vec::new();
    let set = decision.injected.iter().chain(&decision.updated);
    add(&mut operations, "/metadata/labels", service.labels.is_empty(), set);
    for removed in &decision.removed {
        operations.push(Operation::Remove { path: path("/metadata/labels", &removed.key) });
    }
    match &decision.memory {
        MemoryChange::Keep => {}
        MemoryChange::Write(text) => {
            let entry = std::iter::once((INJECTED_LABELS, text.as_str()));
            add(&mut operations, "/metadata/annotations", service.annotations.is_empty(), entry);
        }
        MemoryChange::Remove => {
            operations.push(Operation::Remove { path: path("/metadata/annotations", INJECTED_LABELS) });
        }
    }
    operations
}

/// Adds entries to a map; to one that is absent (or empty, which is the same to Kubernetes) as a whole map.
fn add<K: AsRef<str>, V: AsRef<str>>(
    operations: &mut Vec<Operation>,
    map: &str,
    absent: bool,
    entries: impl Iterator<Item = (K, V)>,
) {
    if absent {
        let value: LabelMap =
            entries.map(|(key, value)| (key.as_ref().into(), value.as_ref().into())).collect();
        if !value.is_empty() {
            operations.push(Operation::Add { path: map.into(), value: Value::Map(value) });
        }
        return;
    }
    for (key, value) in entries {
        let value = Value::Text(value.as_ref().into());
        operations.push(Operation::Add { path: path(map, key.as_ref()), value });
    }
}

/// A JSON pointer to `key` in `map`: `~` is escaped before `/`, whose escape contains it.
fn path(map: &str, key: &str) -> String {
    format!("{map}/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests;
