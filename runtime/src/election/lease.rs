// SPDX-License-Identifier: Apache-2.0
//! The Lease at the API server: read, and written by compare-and-swap. One attempt per call, with one limit.

use std::time::Duration;

use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::ConfigMap,
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference},
    jiff::Timestamp,
};
use kube::{Api, Client, ResourceExt, api::PostParams};
use tokio::time::timeout;

use super::candidate::{Draft, Record, Seen};
use crate::kubernetes::{Problem, explain};

/// The resource as RBAC and people name it.
pub(super) const RESOURCE: &str = "leases.coordination.k8s.io";

/// Where the Lease is, and what owns it.
#[derive(Clone, Debug)]
pub(super) struct LeaseStore {
    pub(super) leases: Api<Lease>,
    config_maps: Api<ConfigMap>,
    namespace: String,
    name: String,
    owner: String,
    field_manager: &'static str,
    attempt: Duration,
    /// What was read or written last: a write changes its spec and keeps the rest.
    last: Option<Lease>,
}

/// Why an attempt did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Somebody else wrote first.
    Conflict,
    /// Anything else, for people; it may even have been written.
    Failed(String),
}

impl LeaseStore {
    pub(super) fn new(
        client: Client,
        (namespace, name, owner): (&str, &str, &str),
        field_manager: &'static str,
        attempt: Duration,
    ) -> Self {
        Self {
            leases: Api::namespaced(client.clone(), namespace),
            config_maps: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            owner: owner.to_owned(),
            field_manager,
            attempt,
            last: None,
        }
    }

    /// Reads it from the quorum.
    pub(super) async fn look(&mut self) -> Result<Option<Seen>, Failure> {
        let found = self.limited("get", self.leases.get_opt(&self.name)).await?;
        let seen = found.as_ref().map(read);
        self.last = found;
        Ok(seen)
    }

    /// Writes it as `holder`'s for `duration`.
    pub(super) async fn write(
        &mut self,
        holder: &str,
        duration: Duration,
        draft: &Draft,
    ) -> Result<Seen, Failure> {
        let now = MicroTime(Timestamp::now());
        let last = self.last.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let acquired = if draft.renewal { last.acquire_time.clone() } else { None };
        let spec = LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: i32::try_from(duration.as_secs()).ok(),
            acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(draft.transitions),
            ..last
        };
        let written = match &draft.replaces {
            None => self.create(spec).await?,
            Some(replaces) => self.replace(spec, replaces).await?,
        };
        let seen = read(&written);
        self.last = Some(written);
        Ok(seen)
    }

    /// Lets the next one take over at once: an empty holder, as client-go writes it.
    pub(super) async fn release(&mut self, replaces: &(String, String)) -> Result<(), Failure> {
        let now = MicroTime(Timestamp::now());
        let last = self.last.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            renew_time: Some(now),
            ..last
        };
        self.replace(spec, replaces).await.map(drop)
    }

    async fn create(&self, spec: LeaseSpec) -> Result<Lease, Failure> {
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            owner_references: Some(vec![self.owner().await?]),
            ..ObjectMeta::default()
        };
        let lease = Lease { metadata, spec: Some(spec) };
        self.limited("create", self.leases.create(&self.params(), &lease)).await
    }

    async fn replace(&self, spec: LeaseSpec, (uid, version): &(String, String)) -> Result<Lease, Failure> {
        let last = self.last.clone().unwrap_or_default();
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            uid: Some(uid.clone()),
            resource_version: Some(version.clone()),
            managed_fields: None,
            ..last.metadata
        };
        let lease = Lease { metadata, spec: Some(spec) };
        self.limited("update", self.leases.replace(&self.name, &self.params(), &lease)).await
    }

    async fn owner(&self) -> Result<OwnerReference, Failure> {
        let (namespace, name) = (&self.namespace, &self.owner);
        let found = self.limited("get the owner of", self.config_maps.get_opt(name)).await?;
        let uid = found.and_then(|owner| owner.metadata.uid).ok_or_else(|| {
            Failure::Failed(format!(
                "ConfigMap {namespace}/{name} is missing; it comes with the chart and owns what this program creates"
            ))
        })?;
        Ok(OwnerReference {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            name: name.clone(),
            uid,
            ..OwnerReference::default()
        })
    }

    fn params(&self) -> PostParams {
        PostParams { field_manager: Some(self.field_manager.into()), ..PostParams::default() }
    }

    async fn limited<T>(
        &self,
        verb: &str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Failure> {
        let resource = format!("{RESOURCE} {}/{}", self.namespace, self.name);
        match timeout(self.attempt, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if matches!(Problem::of(&error), Problem::Conflict) => Err(Failure::Conflict),
            Ok(Err(error)) => Err(Failure::Failed(explain(verb, &resource, &error))),
            Err(_) => Err(Failure::Failed(format!(
                "API server silent, cannot {verb} {resource}: nothing came for {:?}",
                self.attempt
            ))),
        }
    }
}

fn read(lease: &Lease) -> Seen {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Seen {
        uid: lease.uid().unwrap_or_default(),
        version: lease.resource_version().unwrap_or_default(),
        record: Record {
            holder: spec.holder_identity.unwrap_or_default(),
            duration: seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs),
            transitions: spec.lease_transitions.unwrap_or(0),
            renewed: spec.renew_time.map(|time| time.0.to_string()).unwrap_or_default(),
        },
    }
}
