// SPDX-License-Identifier: Apache-2.0
//! The Secret that all replicas share their CA by: made by whoever comes first, changed by compare-and-swap, watched.

use std::{collections::BTreeMap, sync::Arc};

use futures::{Stream, StreamExt};
use gateherald_runtime::{
    backoff::Backoff,
    chain::chain,
    kubernetes::{Problem, explain, explain_watch},
};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api, Client,
    api::PostParams,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use thiserror::Error;

use crate::{
    authority::AuthorityError,
    slots::{Data, Slots},
};

/// The Secret, and what owns it.
#[derive(Clone, Debug)]
pub struct Store {
    secrets: Api<Secret>,
    config_maps: Api<ConfigMap>,
    namespace: String,
    secret: String,
    owner: String,
}

/// The Secret as a watch shows it.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// A list is under way, or the own write has not come back.
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
    /// The ConfigMap that must own the Secret is not there: the release is not (or no longer) installed.
    #[error(
        "ConfigMap {namespace}/{name} is missing; it comes with the chart and owns what this program creates"
    )]
    NoOwner {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
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
            config_maps: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            owner: owner.to_owned(),
        }
    }

    /// The Secret's name.
    pub(crate) fn name(&self) -> &str {
        &self.secret
    }

    /// The watch of this one Secret. RBAC allows it by name, for a list with a field selector on that name.
    pub(crate) fn events(&self) -> impl Stream<Item = Result<Event<Secret>, String>> + use<> {
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.secret));
        let resource = self.resource();
        watcher(self.secrets.clone(), only)
            .backoff(Backoff::default())
            .map(move |event| event.map_err(|error| explain_watch(&resource, &error)))
    }

    /// Creates the Secret.
    pub(crate) async fn create(&self, slots: &Slots) -> Result<Written, StoreError> {
        let metadata = ObjectMeta {
            name: Some(self.secret.clone()),
            labels: Some(BTreeMap::from([
                ("app.kubernetes.io/name".to_owned(), "gateherald".to_owned()),
                ("app.kubernetes.io/component".to_owned(), "webhook".to_owned()),
            ])),
            owner_references: Some(vec![self.owner().await?]),
            ..ObjectMeta::default()
        };
        let secret = Secret { metadata, data: Some(slots.write()), ..Secret::default() };
        self.settle("create", self.secrets.create(&PostParams::default(), &secret).await)
    }

    /// Changes the Secret, if it is still the one that was seen: its resourceVersion and uid go along.
    pub(crate) async fn replace(&self, seen: &Secret, slots: &Slots) -> Result<Written, StoreError> {
        let secret = Secret { data: Some(slots.write()), ..seen.clone() };
        let result = self.secrets.replace(&self.secret, &PostParams::default(), &secret).await;
        self.settle("update", result)
    }

    fn settle(&self, verb: &str, result: kube::Result<Secret>) -> Result<Written, StoreError> {
        match result {
            Ok(secret) => Ok(Written::Done(secret.metadata.resource_version.unwrap_or_default())),
            Err(error) if matches!(Problem::of(&error), Problem::Conflict | Problem::NotFound) => {
                Ok(Written::Overtaken)
            }
            Err(error) => Err(StoreError::Api(explain(verb, &self.resource(), &error))),
        }
    }

    async fn owner(&self) -> Result<OwnerReference, StoreError> {
        let (namespace, name) = (&self.namespace, &self.owner);
        let missing = || StoreError::NoOwner { namespace: namespace.clone(), name: name.clone() };
        let resource = format!("configmaps {namespace}/{name}");
        let found = self.config_maps.get_opt(name).await;
        let owner =
            found.map_err(|error| StoreError::Api(explain("get", &resource, &error)))?.ok_or_else(missing)?;
        Ok(OwnerReference {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            name: name.clone(),
            uid: owner.metadata.uid.ok_or_else(missing)?,
            ..OwnerReference::default()
        })
    }

    fn resource(&self) -> String {
        format!("secrets {}/{}", self.namespace, self.secret)
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
