// SPDX-License-Identifier: Apache-2.0
//! The owner of what a program creates: a `ConfigMap` of the release, so that everything goes when the release does.

use std::time::Duration;

use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Api, Client};
use thiserror::Error;

use crate::request::limited;

/// Where the `ConfigMap` is.
#[derive(Clone, Debug)]
pub struct Owner {
    api: Api<ConfigMap>,
    namespace: String,
    name: String,
}

/// Why nothing can be created in its name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OwnerError {
    /// The release is not, or no longer, installed.
    #[error(
        "ConfigMap {namespace}/{name} is missing; it comes with the chart and owns what this program creates"
    )]
    Missing {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The API server could not or would not tell.
    #[error("{0}")]
    Api(String),
}

/// The reference to a `ConfigMap` that was read; `None` if it lacks what the API server always gives.
pub fn reference(config_map: &ConfigMap) -> Option<OwnerReference> {
    Some(OwnerReference {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        name: config_map.metadata.name.clone()?,
        uid: config_map.metadata.uid.clone()?,
        ..OwnerReference::default()
    })
}

impl Owner {
    /// Sends nothing.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The reference for an object's metadata, with the uid that the `ConfigMap` has now. Takes no longer than `limit`.
    pub async fn reference(&self, limit: Duration) -> Result<OwnerReference, OwnerError> {
        let Self { api, namespace, name } = self;
        let resource = format!("configmaps {namespace}/{name}");
        let found = limited(limit, api.get_opt(name)).await;
        let found = found.map_err(|error| OwnerError::Api(error.explain("get", &resource)))?;
        let missing = || OwnerError::Missing { namespace: namespace.clone(), name: name.clone() };
        found.as_ref().and_then(reference).ok_or_else(missing)
    }
}
