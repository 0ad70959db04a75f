// SPDX-License-Identifier: Apache-2.0
//! The Lease at the API server: read, and written by compare-and-swap. One attempt per call, with one limit.
#![allow(
    clippy::disallowed_methods,
    reason = "the Lease's timestamps, for people; nothing is measured by them"
)]

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, ResourceExt, api::PostParams};

use super::candidate::{Draft, Record, Seen};
use crate::{
    kubernetes::Problem,
    owner::{Owner, OwnerError},
    request::limited,
};

/// The resource as RBAC and people name it.
pub(super) const RESOURCE: &str = "leases.coordination.k8s.io";

/// Where the Lease is, and what owns it.
#[derive(Clone, Debug)]
pub(super) struct LeaseStore {
    pub(super) leases: Api<Lease>,
    owner: Owner,
    namespace: String,
    name: String,
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
            owner: Owner::new(client, namespace, owner),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
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

    /// What the watch showed is what the next write changes.
    pub(super) fn heard(&mut self, lease: &Lease) {
        self.last = Some(lease.clone());
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
            owner_references: Some(vec![self.owner.reference(self.attempt).await?]),
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

    fn params(&self) -> PostParams {
        PostParams { field_manager: Some(self.field_manager.into()), ..PostParams::default() }
    }

    async fn limited<T>(
        &self,
        verb: &str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Failure> {
        let resource = format!("{RESOURCE} {}/{}", self.namespace, self.name);
        limited(self.attempt, request).await.map_err(|error| match error.problem() {
            Problem::Conflict => Failure::Conflict,
            _ => Failure::Failed(error.explain(verb, &resource)),
        })
    }
}

impl From<OwnerError> for Failure {
    fn from(error: OwnerError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What the rules read of it.
pub(super) fn read(lease: &Lease) -> Seen {
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
