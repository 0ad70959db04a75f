// SPDX-License-Identifier: Apache-2.0
//! The Secret that all replicas share their CA by: made by whoever comes first, changed by compare-and-swap.

use std::{collections::BTreeMap, sync::Arc};

use gateherald_runtime::{
    chain::chain,
    kubernetes::{Problem, explain},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Api, Client, api::PostParams};
use thiserror::Error;
use tracing::{info, warn};

use crate::{
    authority::{Authority, AuthorityError},
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

    /// Reads the Secret; where it is missing, broken or expired, writes it. `known` is what this process read before:
    /// a Secret that somebody deleted comes back with it, so that no other replica's leaf becomes worthless.
    pub async fn ensure(&self, known: Option<&Arc<Slots>>, now: Timestamp) -> Result<Arc<Slots>, StoreError> {
        loop {
            let found =
                self.secrets.get_opt(&self.secret).await.map_err(|error| self.failed("get", &error))?;
            let written = if let Some(secret) = found {
                match self.usable(&secret, now) {
                    Ok(slots) => return Ok(Arc::new(slots)),
                    Err(reason) => self.replace(secret, &reason, &restored(known, now)?).await?,
                }
            } else {
                self.create(&restored(known, now)?).await?
            };
            if let Some(slots) = written {
                info!(secret = self.secret, not_after = %slots.current.validity().not_after, "CA written");
                return Ok(slots);
            }
            // Somebody else was faster: theirs counts.
        }
    }

    fn usable(&self, secret: &Secret, now: Timestamp) -> Result<Slots, String> {
        let empty = Data::new();
        let slots = Slots::read(secret.data.as_ref().unwrap_or(&empty)).map_err(|error| chain(&error))?;
        let validity = slots.current.validity();
        // A CA from the future is another replica's, whose clock is ahead; expiry is what makes one useless.
        if validity.not_after <= now {
            return Err(format!("the CA in {} expired at {}", self.secret, validity.not_after));
        }
        Ok(slots)
    }

    /// `None` when somebody else created it first.
    async fn create(&self, slots: &Arc<Slots>) -> Result<Option<Arc<Slots>>, StoreError> {
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
        self.settle("create", slots, self.secrets.create(&PostParams::default(), &secret).await)
    }

    /// `None` when somebody else changed it first.
    async fn replace(
        &self,
        mut secret: Secret,
        reason: &str,
        slots: &Arc<Slots>,
    ) -> Result<Option<Arc<Slots>>, StoreError> {
        warn!(secret = self.secret, reason, "the CA's Secret is unusable and is rewritten");
        secret.data = Some(slots.write());
        // With the resourceVersion and uid of the object that was read.
        self.settle(
            "update",
            slots,
            self.secrets.replace(&self.secret, &PostParams::default(), &secret).await,
        )
    }

    fn settle(
        &self,
        verb: &str,
        slots: &Arc<Slots>,
        result: kube::Result<Secret>,
    ) -> Result<Option<Arc<Slots>>, StoreError> {
        match result {
            Ok(_) => Ok(Some(Arc::clone(slots))),
            Err(error) if matches!(Problem::of(&error), Problem::Conflict | Problem::NotFound) => Ok(None),
            Err(error) => Err(self.failed(verb, &error)),
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

    fn failed(&self, verb: &str, error: &kube::Error) -> StoreError {
        StoreError::Api(explain(verb, &format!("secrets {}/{}", self.namespace, self.secret), error))
    }
}

/// What is written: the CA of this process while it is valid, else a new one.
fn restored(known: Option<&Arc<Slots>>, now: Timestamp) -> Result<Arc<Slots>, AuthorityError> {
    match known {
        Some(slots) if slots.current.validity().contains(now) => Ok(Arc::clone(slots)),
        _ => Ok(Arc::new(Slots { current: Authority::generate(now)?, next: None })),
    }
}
