// SPDX-License-Identifier: Apache-2.0
//! What Gateherald remembers on a Service: the labels and annotations it injected, so that it can later update or remove
//! them.

use crate::{
    labels::{SkipReason, Skipped},
    metadata::{LabelMap, Metadata},
};

/// Annotation on a Service: JSON object of the injected labels, key to value, keys sorted.
pub const INJECTED_LABELS: &str = "gateherald.io/injected-labels";
/// The same of the injected annotations.
pub const INJECTED_ANNOTATIONS: &str = "gateherald.io/injected-annotations";

/// The memory of a Service under decision, kept in the annotation `annotation`.
///
/// The object's own annotation counts; when a controller dropped it, the previous object's does. One that cannot be read
/// counts as dropped and is reported: then what is on the Service is taken for the user's and left alone.
pub fn recall(annotation: &str, service: &Metadata, old: Option<&Metadata>) -> (LabelMap, Option<Skipped>) {
    let mut unreadable = None;
    for object in [Some(service), old].into_iter().flatten() {
        match read(annotation, object) {
            Some(Ok(injected)) => return (injected, unreadable),
            Some(Err(skipped)) => unreadable = Some(skipped),
            None => {}
        }
    }
    (LabelMap::new(), unreadable)
}

/// The memory in one object's annotation; `None` without it.
pub fn read(annotation: &str, object: &Metadata) -> Option<Result<LabelMap, Skipped>> {
    let text = object.annotations.get(annotation)?;
    let skipped = |_| Skipped { key: annotation.into(), reason: SkipReason::Unreadable };
    Some(serde_json::from_str(text).map_err(skipped))
}

/// Whether Gateherald has ever injected something here and still minds it.
pub fn is_remembered(object: &Metadata) -> bool {
    [INJECTED_LABELS, INJECTED_ANNOTATIONS]
        .iter()
        .any(|annotation| object.annotations.contains_key(*annotation))
}

/// The annotation's text for what was injected.
pub fn write(injected: &LabelMap) -> String {
    let entry = |(key, value): (&String, &String)| (key.clone(), value.clone().into());
    serde_json::Value::Object(injected.iter().map(entry).collect()).to_string()
}

#[cfg(test)]
mod tests;
