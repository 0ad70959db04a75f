// SPDX-License-Identifier: Apache-2.0
//! What Gateherald remembers on a Service: the labels it injected, so that it can later update or remove them.

use crate::{
    labels::{SkipReason, Skipped},
    metadata::{LabelMap, Metadata},
};

/// Annotation on a Service: JSON object of the injected labels, key to value, keys sorted.
pub const INJECTED_LABELS: &str = "gateherald.io/injected-labels";

/// The memory of a Service under decision.
///
/// The object's own annotation counts; when a controller dropped it, the previous object's does. One that cannot be read
/// counts as dropped and is reported: then the labels on the Service are taken for the user's and left alone.
pub fn recall(service: &Metadata, old: Option<&Metadata>) -> (LabelMap, Option<Skipped>) {
    let mut unreadable = None;
    for object in [Some(service), old].into_iter().flatten() {
        match read(object) {
            Some(Ok(labels)) => return (labels, unreadable),
            Some(Err(skipped)) => unreadable = Some(skipped),
            None => {}
        }
    }
    (LabelMap::new(), unreadable)
}

/// The memory annotation of one object; `None` without annotation.
pub fn read(object: &Metadata) -> Option<Result<LabelMap, Skipped>> {
    let text = object.annotations.get(INJECTED_LABELS)?;
    let skipped = |_| Skipped { key: INJECTED_LABELS.into(), reason: SkipReason::Unreadable };
    Some(serde_json::from_str(text).map_err(skipped))
}

/// The annotation's text for these labels.
pub fn write(labels: &LabelMap) -> String {
    let entry = |(key, value): (&String, &String)| (key.clone(), value.clone().into());
    serde_json::Value::Object(labels.iter().map(entry).collect()).to_string()
}

#[cfg(test)]
mod tests;
