// SPDX-License-Identifier: Apache-2.0
//! What this process must know of its own installation before it may write: the namespace and the owner object.

use gateherald_runtime::{
    backoff::Backoff,
    kubernetes::{Problem, Trouble, explain},
    owner, readiness,
};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Api, Client, ResourceExt};
use tokio::time::{sleep, timeout};

use super::follow::ATTEMPT;

/// The installation.
#[derive(Debug, Clone)]
pub struct Release {
    /// The namespace's uid: what distinguishes installations that a node has seen.
    pub namespace_uid: String,
    /// The owner of everything that is created.
    pub owner: OwnerReference,
}

/// Asks until both objects are there. Cancel-safe.
pub async fn find(client: &Client, namespace: &str, owner: &str, ready: &readiness::Handle) -> Release {
    let mut trouble = Trouble::new("installation");
    let mut pauses = Backoff::default();
    loop {
        let found = timeout(ATTEMPT, look(client, namespace, owner)).await;
        match found.unwrap_or_else(|_| Err(format!("API server silent for {ATTEMPT:?}"))) {
            Ok(release) => {
                trouble.over();
                return release;
            }
            Err(said) => {
                trouble.note(&said);
                ready.waiting(said);
                sleep(pauses.pause()).await;
            }
        }
    }
}

async fn look(client: &Client, namespace: &str, owner: &str) -> Result<Release, String> {
    let home = Api::<Namespace>::all(client.clone()).get(namespace).await;
    let home = home.map_err(|e| explain("get", &format!("namespaces/{namespace}"), &e))?;
    let owner_object = Api::<ConfigMap>::namespaced(client.clone(), namespace).get(owner).await;
    let owner_object = owner_object.map_err(|e| match Problem::of(&e) {
        Problem::NotFound => {
            format!("ConfigMap {namespace}/{owner} not found: it comes with the chart and owns every Lease")
        }
        _ => explain("get", &format!("configmaps/{owner}"), &e),
    })?;
    match (home.uid(), owner::reference(&owner_object)) {
        (Some(namespace_uid), Some(owner)) => Ok(Release { namespace_uid, owner }),
        _ => Err("the API server returned objects without uid".to_owned()),
    }
}
