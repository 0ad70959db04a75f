// SPDX-License-Identifier: Apache-2.0
//! What Gateherald left on objects, and how it is taken away again.

use gateherald_model::{
    memory::{self, INJECTED_ANNOTATIONS, INJECTED_LABELS},
    metadata::{LabelMap, Metadata},
    service::ServiceKey,
};
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Map, Value, json};

use crate::{
    picture::Picture,
    snapshot::{Named, Snapshot},
};

/// What is left on a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leftover {
    pub(crate) service: ServiceKey,
    /// Of the Service as it was seen: one that was changed since is not cleaned unseen.
    pub(crate) version: Option<String>,
    /// Labels that still have the value that was injected; others are the user's by now.
    pub(crate) labels: LabelMap,
    /// Annotations likewise.
    pub(crate) annotations: LabelMap,
    /// Annotations in which it is remembered.
    pub(crate) memories: Vec<&'static str>,
}

/// Whether a webhook is registered, which would put everything back.
pub(crate) fn is_registered(snapshot: &Snapshot) -> bool {
    let entries = snapshot.registrations.items.iter().flat_map(|c| c.webhooks.iter().flatten());
    entries.into_iter().any(|entry| entry.name == "services.gateherald.io")
}

/// All Services with something on them.
pub(crate) fn leftovers(picture: &Picture<'_>) -> Vec<Leftover> {
    let version = |key: &ServiceKey| {
        picture.snapshot.services.get(&key.namespace, &key.name)?.metadata.resource_version.clone()
    };
    let all = picture.services.values().map(|facts| (&facts.view.key, &facts.metadata));
    all.filter_map(|(key, metadata)| leftover(key, version(key), metadata)).collect()
}

fn leftover(key: &ServiceKey, version: Option<String>, metadata: &Metadata) -> Option<Leftover> {
    if !memory::is_remembered(metadata) {
        return None;
    }
    let still = |annotation: &str, map: &LabelMap| -> LabelMap {
        let remembered = memory::read(annotation, metadata).and_then(Result::ok).unwrap_or_default();
        remembered.into_iter().filter(|(key, value)| map.get(key) == Some(value)).collect()
    };
    let memories = [INJECTED_LABELS, INJECTED_ANNOTATIONS];
    Some(Leftover {
        service: key.clone(),
        version,
        labels: still(INJECTED_LABELS, &metadata.labels),
        annotations: still(INJECTED_ANNOTATIONS, &metadata.annotations),
        memories: memories.into_iter().filter(|key| metadata.annotations.contains_key(*key)).collect(),
    })
}

impl Leftover {
    /// The merge patch that takes it away; with `keep`, only what is remembered of it.
    pub(crate) fn patch(&self, keep: bool) -> Value {
        let none = |keys: Vec<&str>| -> Map<String, Value> {
            keys.into_iter().map(|key| (key.to_owned(), Value::Null)).collect()
        };
        let mut annotations: Vec<&str> = self.memories.clone();
        let mut labels = Vec::new();
        if !keep {
            labels.extend(self.labels.keys().map(String::as_str));
            annotations.extend(self.annotations.keys().map(String::as_str));
        }
        let mut metadata = json!({ "labels": none(labels), "annotations": none(annotations) });
        if let Some(version) = &self.version {
            metadata["resourceVersion"] = json!(version);
        }
        json!({ "metadata": metadata })
    }

    /// In words.
    pub(crate) fn says(&self, keep: bool) -> String {
        let mut what: Vec<String> = self.memories.iter().map(|key| format!("annotation {key}")).collect();
        if !keep {
            what.extend(self.labels.iter().map(|(key, value)| format!("label {key}={value}")));
            what.extend(self.annotations.keys().map(|key| format!("annotation {key}")));
        }
        format!("Service {}: {}", self.service, what.join(", "))
    }
}

/// Leases of announcers that are gone, of one namespace or of all. With an announcer about, they are in use.
pub(crate) fn leases<'a>(picture: &Picture<'a>, scope: Option<&str>) -> Vec<&'a Lease> {
    if picture.settings.announcer.is_some() {
        return Vec::new();
    }
    let here = |lease: &&Lease| scope.is_none_or(|namespace| lease.key().0 == namespace);
    picture.snapshot.leases.items.iter().filter(here).collect()
}

#[cfg(test)]
mod tests;
