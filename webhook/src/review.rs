// SPDX-License-Identifier: Apache-2.0
//! `admission.k8s.io/v1` `AdmissionReview`: the part of the request that is read, and the response that is written.
//!
//! Own types: of a Service only the metadata is decoded, and the patch must be a base64 string that is absent when there
//! is none.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine, prelude::BASE64_STANDARD};
use gateherald_model::{
    metadata::Metadata,
    owner::{Owner, owner},
    patch::Operation,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// Bytes of an object's name or namespace (RFC 1123 subdomain).
const LONGEST_NAME: usize = 253;
/// Bytes of a request's or object's uid; the API server's have 36.
const LONGEST_UID: usize = 128;
/// Bytes of a user's name that are kept.
const LONGEST_USER: usize = 256;

/// A review of a Service that is created or updated.
#[derive(Debug)]
pub struct Review<'a> {
    /// The request's id, given back in the response.
    pub uid: Cow<'a, str>,
    /// Who writes the Service; a very long name is cut.
    pub user: Cow<'a, str>,
    /// What is done to it.
    pub operation: Verb,
    /// Whether nothing is kept.
    pub dry_run: bool,
    /// The Service as the request leaves it.
    pub service: Metadata,
    /// The Service before an update.
    pub old: Option<Metadata>,
}

/// What is done to the Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verb {
    /// It is new.
    Create,
    /// It exists.
    Update,
    /// It goes; never asked for by our registration.
    Delete,
    /// A subresource is connected to; never asked for by our registration.
    Connect,
}

/// Why a body is no review that this program can answer.
#[derive(Debug, Error)]
pub enum ReviewError {
    /// Not JSON, or not of the form.
    #[error("not an AdmissionReview: {0}")]
    Json(#[from] serde_json::Error),
    /// Another kind or version.
    #[error("expected {API_VERSION} {KIND}, got {api_version} {kind}")]
    Type {
        /// As found.
        api_version: String,
        /// As found.
        kind: String,
    },
    /// Without a request there is nothing to answer.
    #[error("the AdmissionReview has no request")]
    NoRequest,
    /// Without a uid nobody can match the response.
    #[error("the request has no uid")]
    NoUid,
    /// A rule sends us what is not ours.
    #[error("the request is about {group:?} {kind}, not about a Service")]
    NotAService {
        /// API group as found.
        group: String,
        /// Kind as found.
        kind: String,
    },
    /// Neither CREATE nor UPDATE.
    #[error("the operation {0:?} is not reviewed")]
    Verb(Verb),
    /// CREATE and UPDATE come with the object.
    #[error("the request has no object")]
    NoObject,
    /// A name that no object has: it would only be copied into the log and a question to the API server.
    #[error("the {0} is too long")]
    TooLong(&'static str),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    request: Option<Request<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(borrow)]
    kind: GroupKind<'a>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    operation: Verb,
    #[serde(borrow, default)]
    user_info: UserInfo<'a>,
    #[serde(default)]
    dry_run: Option<bool>,
    #[serde(default)]
    object: Option<Object>,
    #[serde(default)]
    old_object: Option<Object>,
}

#[derive(Deserialize)]
struct GroupKind<'a> {
    #[serde(borrow, default)]
    group: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
struct UserInfo<'a> {
    #[serde(borrow, default)]
    username: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    metadata: Metadata,
}

impl<'a> Review<'a> {
    /// Decodes a request's body.
    pub fn decode(body: &'a [u8]) -> Result<Self, ReviewError> {
        let envelope: Envelope<'a> = serde_json::from_slice(body)?;
        if envelope.api_version != API_VERSION || envelope.kind != KIND {
            let (api_version, kind) = (envelope.api_version.into_owned(), envelope.kind.into_owned());
            return Err(ReviewError::Type { api_version, kind });
        }
        let request = envelope.request.ok_or(ReviewError::NoRequest)?;
        if request.uid.is_empty() {
            return Err(ReviewError::NoUid);
        }
        let GroupKind { group, kind } = request.kind;
        if !group.is_empty() || kind != "Service" {
            return Err(ReviewError::NotAService { group: group.into_owned(), kind: kind.into_owned() });
        }
        if !matches!(request.operation, Verb::Create | Verb::Update) {
            return Err(ReviewError::Verb(request.operation));
        }
        let mut service = request.object.ok_or(ReviewError::NoObject)?.metadata;
        check_lengths(&request.uid, &request.namespace, &service)?;
        // The object's own may be empty; the request's is what the API server authorized.
        service.namespace.replace_range(.., &request.namespace);
        Ok(Self {
            uid: request.uid,
            user: cut(request.user_info.username),
            operation: request.operation,
            dry_run: request.dry_run.unwrap_or_default(),
            service,
            old: request.old_object.map(|object| object.metadata),
        })
    }

    /// `namespace/name` for people; a name that the API server has yet to generate ends in `*`.
    pub fn service_name(&self) -> String {
        let Metadata { namespace, name, generate_name, .. } = &self.service;
        if name.is_empty() { format!("{namespace}/{generate_name}*") } else { format!("{namespace}/{name}") }
    }
}

fn check_lengths(uid: &str, namespace: &str, service: &Metadata) -> Result<(), ReviewError> {
    let (owner_name, owner_uid) = match owner(&[], service) {
        Owner::Gateway(reference) => (reference.name, reference.uid.unwrap_or_default()),
        Owner::Nobody | Owner::Untrusted(_) => ("", ""),
    };
    for (what, text, longest) in [
        ("request's uid", uid, LONGEST_UID),
        ("namespace", namespace, LONGEST_NAME),
        ("Service's name", &service.name, LONGEST_NAME),
        ("Service's generateName", &service.generate_name, LONGEST_NAME),
        ("Gateway's name", owner_name, LONGEST_NAME),
        ("Gateway's uid", owner_uid, LONGEST_UID),
    ] {
        if text.len() > longest {
            return Err(ReviewError::TooLong(what));
        }
    }
    Ok(())
}

fn cut(user: Cow<'_, str>) -> Cow<'_, str> {
    if user.len() <= LONGEST_USER {
        return user;
    }
    Cow::Owned(user[..user.floor_char_boundary(LONGEST_USER)].to_owned())
}

/// What the API server gets back. Always allowed.
#[derive(Debug)]
pub struct Response<'a> {
    /// The request's.
    pub uid: &'a str,
    /// Nothing when empty.
    pub patch: &'a [Operation],
    /// Shown to the user; at most 120 characters each, without newline.
    pub warnings: Vec<String>,
    /// For the API server's own audit log; keys without slash.
    pub audit_annotations: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseEnvelope<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: ResponseBody<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseBody<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: BTreeMap<&'static str, String>,
}

impl Response<'_> {
    /// Encodes the response's body.
    pub fn encode(self) -> Result<Vec<u8>, serde_json::Error> {
        let patch = if self.patch.is_empty() {
            None
        } else {
            Some(BASE64_STANDARD.encode(serde_json::to_vec(self.patch)?))
        };
        serde_json::to_vec(&ResponseEnvelope {
            api_version: API_VERSION,
            kind: KIND,
            response: ResponseBody {
                uid: self.uid,
                allowed: true,
                patch_type: patch.is_some().then_some("JSONPatch"),
                patch,
                warnings: self.warnings,
                audit_annotations: self.audit_annotations,
            },
        })
    }
}

#[cfg(test)]
mod tests;
