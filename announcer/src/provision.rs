// SPDX-License-Identifier: Apache-2.0
//! Policies that come with the release: which to write, and which to delete.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

/// Label of the policies that come with a release: the name of their owner.
pub const APPLIED_BY: &str = "gateherald.io/applied-by";

/// A policy as the file has it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Its spec; for the API server to judge.
    pub spec: Value,
}

/// Why nothing is written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProvisionError {
    /// The name is taken.
    #[error(
        "L2AnnouncementPolicy {name} is there already and does not come with this release: delete it, choose another name in \
         announcer.policies, or hand it over: kubectl label ghl2 {name} {APPLIED_BY}={owner}"
    )]
    NotOurs {
        /// Of the policy.
        name: String,
        /// Who would own it.
        owner: String,
    },
    /// The file has two of one name.
    #[error("the file has two policies of the name {0}")]
    Twice(String),
}

/// What to do, in this order, so that an address that moves from one policy to another is selected throughout.
#[derive(Debug, PartialEq)]
pub struct Steps {
    /// Objects to apply.
    pub apply: Vec<Value>,
    /// Names to delete.
    pub delete: Vec<String>,
}

/// `present` are all policies of the cluster: name to the value of [`APPLIED_BY`].
pub fn plan(
    wanted: &[Wanted],
    present: &BTreeMap<String, Option<String>>,
    owner: &OwnerReference,
) -> Result<Steps, ProvisionError> {
    let mut names = BTreeMap::new();
    for policy in wanted {
        if names.insert(policy.name.as_str(), policy).is_some() {
            return Err(ProvisionError::Twice(policy.name.clone()));
        }
        if present.get(&policy.name).is_some_and(|by| by.as_ref() != Some(&owner.name)) {
            return Err(ProvisionError::NotOurs { name: policy.name.clone(), owner: owner.name.clone() });
        }
    }
    let ours = present.iter().filter(|(_, by)| by.as_ref() == Some(&owner.name));
    Ok(Steps {
        apply: names.values().map(|policy| object(policy, owner)).collect(),
        delete: ours
            .filter(|(name, _)| !names.contains_key(name.as_str()))
            .map(|(name, _)| name.clone())
            .collect(),
    })
}

/// Without `app.kubernetes.io/instance`: Argo CD would take a policy with it for its own, and prune it.
fn object(policy: &Wanted, owner: &OwnerReference) -> Value {
    json!({
        "apiVersion": "gateherald.io/v1alpha1",
        "kind": "L2AnnouncementPolicy",
        "metadata": {
            "name": policy.name,
            "labels": { APPLIED_BY: owner.name },
            "ownerReferences": [owner],
        },
        "spec": policy.spec,
    })
}

#[cfg(test)]
mod tests;
