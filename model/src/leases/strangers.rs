// SPDX-License-Identifier: Apache-2.0
//! Whose hand is on a claim, by the API server's own record of field managers.
//!
//! A person who edits or restores a claim writes a content that was once true: transitions, nonce and session may all
//! look right. A process that has just started has seen nothing to compare with, so the managers are its only evidence.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::Value;

use super::{FIELD_MANAGER, NONCE_KEY, RELEASED_KEY, SESSION_KEY};

/// Whether another manager owns a field that says who holds the address.
///
/// A label or a foreign annotation that somebody added is no such field.
pub fn touched(managers: &[ManagedFieldsEntry]) -> bool {
    managers
        .iter()
        .filter(|entry| entry.manager.as_deref() != Some(FIELD_MANAGER))
        .any(|entry| entry.fields_v1.as_ref().is_some_and(|fields| says_who_holds(&fields.0)))
}

/// The session, the holder's own marker of a release, and the nonce: each is new with every change of hands, so after the
/// next take no stranger owns one any more. (`spec` fields keep their old owner when their value stays.)
fn says_who_holds(fields: &Value) -> bool {
    let notes = fields.pointer("/f:metadata/f:annotations").and_then(Value::as_object);
    notes.is_some_and(|notes| {
        [SESSION_KEY, RELEASED_KEY, NONCE_KEY].iter().any(|key| notes.contains_key(&format!("f:{key}")))
    })
}
