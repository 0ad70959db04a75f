// SPDX-License-Identifier: Apache-2.0
//! The Secret that all replicas share their CA by: made by whoever comes first, changed by compare-and-swap, watched.

use std::{collections::BTreeMap, sync::Arc};

use futures::stream::BoxStream;
use gateherald_runtime::{
    backoff::Backoff,
    chain::chain,
    follow::{News, Span, Subject, follow},
    kubernetes::Problem,
    owner::{Owner, OwnerError},
    request::{ATTEMPT, RequestError, limited},
};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, api::PostParams};
use thiserror::Error;

use crate::{
    authority::AuthorityError,
    slots::{Data, Slots},
};

/// The resource as RBAC and people name it.
const RESOURCE: &str = "secrets";

/// The Secret, and what owns it.
#[derive(Clone, Debug)]
pub struct Store {
    secrets: Api<Secret>,
    namespace: String,
    secret: String,
    owner: Owner,
}

/// The Secret as a watch shows it.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// The first list is under way, or what became of the last write has not come back.
    Unknown,
    /// There is none.
    Missing,
    /// It is there, and cannot be used.
    Broken {
        /// As it is, to be replaced.
        secret: Box<Secret>,
        /// Why.
        reason: String,
        /// What could be read all the same.
        readable: Option<Slots>,
    },
    /// It is there.
    Whole {
        /// As it is, to be replaced.
        secret: Box<Secret>,
        /// What it holds.
        slots: Arc<Slots>,
    },
}

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is in the Secret, since this resourceVersion.
    Done(String),
    /// Somebody else was faster: the watch shows what counts.
    Overtaken,
}

/// Why there is no CA.
#[derive(Debug, Error)]
pub enum StoreError {
    /// There is nothing that could own the Secret.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// The API server could not or would not.
    #[error("{0}")]
    Api(String),
    /// No CA could be made.
    #[error("cannot make a CA")]
    Authority(#[from] AuthorityError),
}

impl Store {
    /// Names the Secret and its owner. Sends nothing.
    pub fn new(client: Client, namespace: &str, secret: &str, owner: &str) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), namespace),
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            owner: Owner::new(client, namespace, owner),
        }
    }

    /// The Secret's name.
    pub(crate) fn name(&self) -> &str {
        &self.secret
    }

    /// The watch of this one Secret. RBAC allows it by name, for a list with a field selector on that name.
    pub(crate) fn news(&self) -> BoxStream<'static, News<Secret>> {
        let (api, only) = (self.secrets.clone(), Some(self.secret.clone()));
        follow(Subject { api, name: RESOURCE, only, pauses: Backoff::default(), span: Span::long() }, None)
    }

    /// Creates the Secret. Two requests at the most, each with a limit.
    pub(crate) async fn create(&self, slots: &Slots) -> Result<Written, StoreError> {
        let metadata = ObjectMeta {
            name: Some(self.secret.clone()),
            labels: Some(BTreeMap::from([
                ("app.kubernetes.io/name".to_owned(), "gateherald".to_owned()),
                ("app.kubernetes.io/component".to_owned(), "webhook".to_owned()),
            ])),
            owner_references: Some(vec![self.owner.reference(ATTEMPT).await?]),
            ..ObjectMeta::default()
        };
        let secret = Secret { metadata, data: Some(slots.write()), ..Secret::default() };
        let created = limited(ATTEMPT, self.secrets.create(&PostParams::default(), &secret)).await;
        self.settle("create", created)
    }

    /// Changes the Secret, if it is still the one that was seen: its resourceVersion and uid go along. One request, with a
    /// limit.
    pub(crate) async fn replace(&self, seen: &Secret, slots: &Slots) -> Result<Written, StoreError> {
        let secret = Secret { data: Some(slots.write()), ..seen.clone() };
        let params = PostParams::default();
        let replaced = limited(ATTEMPT, self.secrets.replace(&self.secret, &params, &secret)).await;
        self.settle("update", replaced)
    }

    fn settle(&self, verb: &str, result: Result<Secret, RequestError>) -> Result<Written, StoreError> {
        match result {
            Ok(secret) => Ok(Written::Done(secret.metadata.resource_version.unwrap_or_default())),
            Err(error) if matches!(error.problem(), Problem::Conflict | Problem::NotFound) => {
                Ok(Written::Overtaken)
            }
            Err(error) => Err(StoreError::Api(error.explain(verb, &self.resource()))),
        }
    }

    fn resource(&self) -> String {
        format!("{RESOURCE} {}/{}", self.namespace, self.secret)
    }
}

impl Seen {
    /// Reads a Secret.
    pub(crate) fn read(secret: Secret) -> Self {
        let empty = Data::new();
        let data = secret.data.as_ref().unwrap_or(&empty);
        match Slots::read(data) {
            Ok(slots) => Self::Whole { slots: Arc::new(slots), secret: Box::new(secret) },
            Err(error) => {
                let readable = Slots::salvage(data);
                Self::Broken { reason: chain(&error), readable, secret: Box::new(secret) }
            }
        }
    }
}
