// SPDX-License-Identifier: Apache-2.0
//! One kind of object, followed for ever: a list, then a watch that is taken up again wherever it broke.
//!
//! kube's own watcher does not tell when a broken watch works again unless an object changes, and restarts where its
//! caller cannot; readiness and the ownership rules need both.

use std::{fmt::Debug, time::Duration};

use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use kube::{
    Api, ResourceExt,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

pub use crate::request::ATTEMPT;
use crate::{
    backoff::Backoff,
    kubernetes::{Problem, explain},
    request::RequestError,
};

/// 1 s: a watch that ends sooner did not work, even if the API server ends it without an error.
const BRIEF: Duration = Duration::from_secs(1);
/// 500: objects of one page of a list, so that a long one is not held in memory whole before it is reduced.
const PAGE: u32 = 500;

/// How long one watch lasts.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// In seconds: the API server ends the watch then, and it is taken up again where it was.
    pub seconds: u32,
    /// A watch that says nothing for so long is stuck: on a dead connection, or in whatever lies between.
    pub silence: Duration,
}

impl Span {
    /// 60 to 70 s, at random so that nodes do not come together. The API server sends a bookmark 2 s before it ends a watch,
    /// so one that is silent for longer is stuck. It costs one request a minute and kind.
    pub fn short() -> Self {
        let seconds = rand::random_range(60..=70);
        Self { seconds, silence: Duration::from_secs(u64::from(seconds) + 10) }
    }

    /// 240 s, for a watch that its user sees to: a watch that ends is a gap in what is known of others' silence. Bookmarks come
    /// about every minute.
    pub fn long() -> Self {
        Self { seconds: 240, silence: Duration::from_secs(150) }
    }
}

/// What is followed, and how patiently.
#[derive(Clone)]
pub struct Subject<K> {
    /// The objects.
    pub api: Api<K>,
    /// Plural and group, for people.
    pub name: &'static str,
    /// Only the object with this name.
    pub only: Option<String>,
    /// Pauses between attempts.
    pub pauses: Backoff,
    /// How long one watch lasts.
    pub span: Span,
}

/// What there is to tell about followed objects.
#[derive(Debug)]
pub enum News<K> {
    /// All of them, at this resourceVersion: the first list, or one after a gap.
    All(Vec<K>, String),
    /// One was created or changed.
    Applied(K),
    /// One was deleted; this is its last state.
    Deleted(K),
    /// Nothing changed up to this resourceVersion.
    UpTo(String),
    /// The watch works, at first and again after trouble.
    Connected,
    /// The watch ended and is taken up again from where it was.
    Interrupted,
    /// An attempt failed; the next comes after a pause.
    Failed(Problem, String),
}

/// Objects that can be followed; as metadata alone when `K` is a `PartialObjectMeta`.
pub trait Followed: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static {}

impl<K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static> Followed for K {}

enum Stage<K> {
    List,
    Open(String),
    Watching(String, Events<K>),
}

/// A watch, and when it was opened.
struct Events<K> {
    opened: Instant,
    stream: BoxStream<'static, Result<WatchEvent<K>, kube::Error>>,
}

struct Follower<K, F> {
    subject: Subject<K>,
    reduce: F,
    stage: Stage<K>,
    pause: Option<Duration>,
}

/// Follows `subject`, from `version` if it is given, else from a list of the newest state (read from the quorum).
///
/// The stream never ends. Dropping it closes its connection.
pub fn follow<K: Followed>(subject: Subject<K>, version: Option<String>) -> BoxStream<'static, News<K>> {
    follow_reduced(subject, version, std::convert::identity)
}

/// [`follow`] for whoever keeps only a part of each object: it is reduced as soon as it is decoded.
pub fn follow_reduced<K: Followed, T: Send + 'static>(
    subject: Subject<K>,
    version: Option<String>,
    reduce: impl Fn(K) -> T + Send + 'static,
) -> BoxStream<'static, News<T>> {
    let stage = version.map_or(Stage::List, Stage::Open);
    let follower = Follower { subject, reduce, stage, pause: None };
    stream::unfold(follower, |mut follower| async move {
        let news = follower.next().await;
        Some((news, follower))
    })
    .boxed()
}

impl<K: Followed, T, F: Fn(K) -> T> Follower<K, F> {
    async fn next(&mut self) -> News<T> {
        if let Some(pause) = self.pause.take() {
            sleep(pause).await;
        }
        loop {
            let news = match std::mem::replace(&mut self.stage, Stage::List) {
                Stage::List => Some(self.list().await),
                Stage::Open(version) => Some(self.open(version).await),
                Stage::Watching(version, events) => self.watch(version, events).await,
            };
            if let Some(news) = news {
                return news;
            }
        }
    }

    async fn list(&mut self) -> News<T> {
        let mut params =
            ListParams { field_selector: self.only(), limit: Some(PAGE), ..ListParams::default() };
        let mut all = Vec::new();
        loop {
            let page = match timeout(ATTEMPT, self.subject.api.list(&params)).await {
                Ok(Ok(page)) => page,
                Ok(Err(e)) => return self.failed("list", &e, Stage::List),
                Err(_) => return self.hangs("list", ATTEMPT, Stage::List),
            };
            all.extend(page.items.into_iter().map(&self.reduce));
            // Every page tells the state of the first one's resourceVersion.
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                let version = page.metadata.resource_version.unwrap_or_default();
                self.stage = Stage::Open(version.clone());
                return News::All(all, version);
            }
        }
    }

    async fn open(&mut self, version: String) -> News<T> {
        let params = WatchParams {
            field_selector: self.only(),
            timeout: Some(self.subject.span.seconds),
            bookmarks: true,
            ..WatchParams::default()
        };
        match timeout(ATTEMPT, self.subject.api.watch(&params, &version)).await {
            Ok(Ok(events)) => {
                let events = Events { opened: Instant::now(), stream: events.boxed() };
                self.stage = Stage::Watching(version, events);
                News::Connected
            }
            Ok(Err(e)) if is_gone(&e) => self.failed("watch", &e, Stage::List),
            Ok(Err(e)) => self.failed("watch", &e, Stage::Open(version)),
            Err(_) => self.hangs("watch", ATTEMPT, Stage::Open(version)),
        }
    }

    /// One event; none when it has nothing to tell.
    async fn watch(&mut self, version: String, mut events: Events<K>) -> Option<News<T>> {
        let silence = self.subject.span.silence;
        let Ok(event) = timeout(silence, events.stream.try_next()).await else {
            return Some(self.hangs("watch", silence, Stage::Open(version)));
        };
        let brief = events.opened.elapsed() < BRIEF;
        if !brief {
            self.subject.pauses.reset();
        }
        let (version, news) = match event {
            Ok(Some(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                (object.resource_version().unwrap_or(version), Some(News::Applied((self.reduce)(object))))
            }
            Ok(Some(WatchEvent::Deleted(object))) => {
                (object.resource_version().unwrap_or(version), Some(News::Deleted((self.reduce)(object))))
            }
            Ok(Some(WatchEvent::Bookmark(mark))) => {
                let version = mark.metadata.resource_version;
                (version.clone(), Some(News::UpTo(version)))
            }
            Ok(Some(WatchEvent::Error(status))) => {
                return Some(self.failed("watch", &kube::Error::Api(status), Stage::List));
            }
            Ok(None) => {
                self.stage = Stage::Open(version);
                self.pause = brief.then(|| self.subject.pauses.pause());
                return Some(News::Interrupted);
            }
            // A broken connection leaves no gap; an event that cannot be read does, so begin anew.
            Err(e @ kube::Error::SerdeError(_)) => return Some(self.failed("watch", &e, Stage::List)),
            Err(e) => return Some(self.failed("watch", &e, Stage::Open(version))),
        };
        self.stage = Stage::Watching(version, events);
        news
    }

    fn failed(&mut self, verb: &str, error: &kube::Error, then: Stage<K>) -> News<T> {
        self.stage = then;
        let pause = self.subject.pauses.pause();
        // A kind that is not served comes with an installation, not with the next second.
        self.pause = Some(if Problem::of(error) == Problem::NotFound { pause * 3 } else { pause });
        News::Failed(Problem::of(error), explain(verb, &self.resource(), error))
    }

    fn hangs(&mut self, verb: &str, waited: Duration, then: Stage<K>) -> News<T> {
        self.stage = then;
        let silent = RequestError::Silent(waited);
        News::Failed(silent.problem(), silent.explain(verb, &self.resource()))
    }

    /// For people: the kind, and the object if it is only one.
    fn resource(&self) -> String {
        let Subject { api, name, only, .. } = &self.subject;
        match (api.namespace(), only) {
            (_, None) => (*name).to_owned(),
            (None, Some(only)) => format!("{name} {only}"),
            (Some(namespace), Some(only)) => format!("{name} {namespace}/{only}"),
        }
    }

    fn only(&self) -> Option<String> {
        self.subject.only.as_ref().map(|name| format!("metadata.name={name}"))
    }
}

/// 410: the resourceVersion is older than what the API server remembers.
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410)
}

#[cfg(test)]
mod tests;
