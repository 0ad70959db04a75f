// SPDX-License-Identifier: Apache-2.0
//! Leases at the API server: one conditional write at a time per object, and the one watch that knowledge comes from.
//!
//! Nothing is retried in here. A write has one attempt with one limit; what its answer means is the claims' to judge.

use std::time::Duration;

use futures::{Stream, StreamExt, stream::BoxStream};
use gateherald_model::leases::{self, FIELD_MANAGER, Unreadable, Version, names};
use gateherald_runtime::{
    backoff::Backoff,
    kubernetes::{Problem, explain},
};
use http_body_util::BodyExt;
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions, Request},
    client::Body,
    core::Status,
};
use tokio::time::timeout;

use super::clock;
use super::follow::{self, Span, Subject, follow_reduced};
use crate::claims::{Answer, LeaseEvent, Write};

/// While nothing is seen nobody answers, so the watch is tried again soon: after 50 ms at first,
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// and every second at the longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Writes and watches the Leases of one namespace.
#[derive(Clone)]
pub struct LeaseClient {
    client: Client,
    namespace: String,
    owner: Option<OwnerReference>,
    attempt: Duration,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What the rules make of it.
    pub answer: Answer,
    /// What there is to say about it when it did not succeed.
    pub said: Option<String>,
}

/// News of the watch.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one is under way at a time, and nearly all are events")]
pub enum News {
    /// For the rules.
    Event(LeaseEvent),
    /// The watch has come as far as this resourceVersion.
    UpTo(String),
    /// The watch works, at first and again after trouble.
    Connected,
    /// An attempt to open it failed; the next comes after a pause.
    Failed(Problem, String),
    /// A Lease with a name of ours that cannot be read.
    Ignored(Unreadable),
}

impl LeaseClient {
    /// A client whose writes get `attempt` each; Leases that it creates belong to `owner`.
    pub fn new(client: Client, namespace: String, owner: Option<OwnerReference>, attempt: Duration) -> Self {
        Self { client, namespace, owner, attempt }
    }

    /// Tries once. Not cancel-safe: a dropped attempt may still have been written.
    pub async fn write(&self, write: &Write) -> Outcome {
        let request = match self.request(write) {
            Ok(request) => request,
            Err(said) => return Outcome { answer: Answer::Refused, said: Some(said) },
        };
        match timeout(self.attempt, self.send(request)).await {
            Ok(Ok((status, body))) => judge(write, status, &body),
            Ok(Err(e)) => {
                Outcome { answer: Answer::Unknown, said: Some(explain(verb(write), &name(write), &e)) }
            }
            Err(_) => unknown(write, &format!("no answer from the API server within {:?}", self.attempt)),
        }
    }

    /// Opens a watch over all Leases of the namespace: from `version`, or else from a list of the newest state.
    ///
    /// Dropping the stream closes it, connection included.
    pub fn watch(&self, version: Option<String>) -> BoxStream<'static, News> {
        let subject = Subject {
            api: Api::<Lease>::namespaced(self.client.clone(), &self.namespace),
            name: "leases.coordination.k8s.io",
            only: None,
            pauses: Backoff::between(FIRST_PAUSE, LONGEST_PAUSE),
            span: Span::long(),
        };
        translate(follow_reduced(subject, version, |lease| leases::read(&lease))).boxed()
    }

    fn request(&self, write: &Write) -> Result<http::Request<Vec<u8>>, String> {
        let leases = Request::new(Lease::url_path(&(), Some(&self.namespace)));
        let post = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let request = match write {
            Write::Create(record) => leases.create(&post, self.body(record, None)?),
            Write::Replace(version, record) => {
                leases.replace(&names::of(&record.key()), &post, self.body(record, Some(version))?)
            }
            Write::Delete(version, key) => {
                let preconditions = Preconditions {
                    uid: Some(version.uid.clone()),
                    resource_version: Some(version.resource_version.to_string()),
                };
                let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                leases.delete(&names::of(key), &params)
            }
        };
        request.map_err(|e| e.to_string())
    }

    fn body(&self, record: &leases::Record, version: Option<&Version>) -> Result<Vec<u8>, String> {
        let lease =
            leases::write(record, &self.namespace, self.owner.as_ref(), version, clock::time_of_day());
        serde_json::to_vec(&lease).map_err(|e| e.to_string())
    }

    async fn send(&self, request: http::Request<Vec<u8>>) -> Result<(u16, Vec<u8>), kube::Error> {
        let response = self.client.send(request.map(Body::from)).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, body.to_vec()))
    }
}

/// Reads an answer. Whatever is not a plain success, or a refusal that proves that nothing was written, is unknown.
fn judge(write: &Write, status: u16, body: &[u8]) -> Outcome {
    let done = match write {
        Write::Create(_) => status == 201,
        // A PUT that is answered 201 has created an object: nothing was left of the version that it was to replace.
        Write::Replace(..) | Write::Delete(..) => status == 200,
    };
    if done {
        return written(write, body);
    }
    let said = serde_json::from_slice::<Status>(body).map(|s| s.message).unwrap_or_default();
    let answer = match status {
        404 | 409 => Answer::Conflict,
        400..=403 | 405 | 413 | 422 | 429 => Answer::Refused,
        _ => Answer::Unknown,
    };
    let said = match status {
        403 => format!("RBAC does not allow to {} leases.coordination.k8s.io: {said}", verb(write)),
        401 => format!("credentials not accepted, cannot {} {}: {said}", verb(write), name(write)),
        _ => format!("{} {}: HTTP {status}: {said}", verb(write), name(write)),
    };
    Outcome { answer, said: Some(said) }
}

fn written(write: &Write, body: &[u8]) -> Outcome {
    if let Write::Delete(version, _) = write {
        return Outcome { answer: Answer::Written(version.clone()), said: None };
    }
    let version = serde_json::from_slice::<Lease>(body)
        .map_err(|e| e.to_string())
        .and_then(|lease| leases::version(&lease.name_any(), &lease.metadata).map_err(|e| e.to_string()));
    match version {
        Ok(version) => Outcome { answer: Answer::Written(version), said: None },
        Err(said) => unknown(write, &said),
    }
}

fn unknown(write: &Write, said: &str) -> Outcome {
    Outcome { answer: Answer::Unknown, said: Some(format!("cannot {} {}: {said}", verb(write), name(write))) }
}

/// A Lease as it was read.
type Read = Result<(Version, leases::Record), Unreadable>;

fn translate(news: BoxStream<'static, follow::News<Read>>) -> impl Stream<Item = News> + Send {
    news.filter_map(|news| async move {
        match news {
            follow::News::All(leases, revision) => Some(listed(leases, &revision)),
            follow::News::Applied(lease) => match lease {
                Ok((version, record)) => Some(News::Event(LeaseEvent::Changed(version, record))),
                Err(unreadable) => ignored(unreadable),
            },
            follow::News::Deleted(lease) => match lease {
                Ok((version, record)) => {
                    Some(News::Event(LeaseEvent::Gone(record.key(), version.resource_version)))
                }
                Err(unreadable) => ignored(unreadable),
            },
            follow::News::UpTo(version) => Some(News::UpTo(version)),
            follow::News::Connected => Some(News::Connected),
            follow::News::Interrupted => Some(News::Event(LeaseEvent::Interrupted)),
            follow::News::Failed(problem, said) => Some(News::Failed(problem, said)),
        }
    })
}

fn listed(leases: Vec<Read>, revision: &str) -> News {
    let Ok(revision) = revision.parse() else {
        return News::Failed(
            Problem::Refused,
            format!("the list's resourceVersion {revision:?} is no number"),
        );
    };
    // One that cannot be read has been there all the time or is told of when it changes.
    let leases = leases.into_iter().flatten().collect();
    News::Event(LeaseEvent::Listed { leases, revision })
}

/// Leases of other names are other people's business and not even worth a word.
fn ignored(unreadable: Unreadable) -> Option<News> {
    (!matches!(unreadable, Unreadable::ForeignName(_))).then_some(News::Ignored(unreadable))
}

fn verb(write: &Write) -> &'static str {
    match write {
        Write::Create(_) => "create",
        Write::Replace(..) => "update",
        Write::Delete(..) => "delete",
    }
}

fn name(write: &Write) -> String {
    match write {
        Write::Create(record) | Write::Replace(_, record) => names::of(&record.key()),
        Write::Delete(_, key) => names::of(key),
    }
}

#[cfg(test)]
mod tests;
