// SPDX-License-Identifier: Apache-2.0
//! The Gateways: a cache by metadata watch, reduced to what decides, and a look-up of a single one.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, PoisonError, RwLock},
};

use futures::StreamExt;
use gateherald_model::{
    metadata::Metadata,
    owner::{GATEWAY_GROUP, GATEWAY_KIND, GATEWAY_RESOURCE, Gateway},
    rules::Rules,
};
use gateherald_runtime::{
    backoff::Backoff,
    follow::{News, Span, Subject, follow_reduced},
    kubernetes::{Problem, Trouble, explain},
    readiness::Handle,
    shutdown::Shutdown,
    tasks::TaskResult,
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, PartialObjectMeta},
    core::GroupVersionKind,
};
use tokio::sync::{Semaphore, broadcast, watch};

use crate::{handler::Ask, metrics::Metrics, reconcile::metrics::Age};

type ByName = HashMap<String, Arc<Gateway>>;
/// Gateways by namespace, then by name.
pub type ByNamespace = HashMap<String, ByName>;
/// A Gateway as the watch passes it on: namespace, name, and what decides.
type Named = (String, String, Gateway);

/// Changes that a slow listener may be behind; one that is further behind learns that it is.
const CHANGES: usize = 1024;

/// The Gateways that are known. Written by [`Watch`] alone; the lock is held for one map operation.
#[derive(Debug)]
pub struct Gateways {
    by_namespace: RwLock<ByNamespace>,
    changes: broadcast::Sender<Change>,
}

/// What became different. Told after it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This Gateway was created, changed or deleted.
    One {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Any of them may have been.
    All,
}

impl Default for Gateways {
    fn default() -> Self {
        Self { by_namespace: RwLock::default(), changes: broadcast::Sender::new(CHANGES) }
    }
}

impl Gateways {
    /// What changes from now on.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// The Gateway of this name, if it is known.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Gateway>> {
        let known = self.by_namespace.read().unwrap_or_else(PoisonError::into_inner);
        known.get(namespace)?.get(name).cloned()
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.by_namespace.read().unwrap_or_else(PoisonError::into_inner).values().map(HashMap::len).sum()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Knows these from now on, and no others.
    pub fn replace(&self, all: ByNamespace) {
        *self.by_namespace.write().unwrap_or_else(PoisonError::into_inner) = all;
        self.tell(Change::All);
    }

    pub(crate) fn set(&self, namespace: String, name: String, gateway: Gateway) {
        let mut known = self.by_namespace.write().unwrap_or_else(PoisonError::into_inner);
        insert(&mut known, (namespace.clone(), name.clone(), gateway));
        drop(known);
        self.tell(Change::One { namespace, name });
    }

    pub(crate) fn remove(&self, namespace: String, name: String) {
        let mut known = self.by_namespace.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = known.get_mut(&namespace) {
            there.remove(&name);
            if there.is_empty() {
                known.remove(&namespace);
            }
        }
        drop(known);
        self.tell(Change::One { namespace, name });
    }

    fn tell(&self, change: Change) {
        // Only a leader listens.
        drop(self.changes.send(change));
    }
}

/// Fills [`Gateways`], and puts new rules in force once it holds what they are about.
#[derive(Debug)]
pub struct Watch {
    /// What is filled.
    pub gateways: Arc<Gateways>,
    /// Set once the first list is complete.
    pub synced: watch::Sender<bool>,
    /// The rules as the administrator wants them.
    pub wanted: watch::Receiver<Arc<Rules>>,
    /// The rules that decide.
    pub in_force: watch::Sender<Arc<Rules>>,
    /// The readiness part.
    pub handle: Handle,
    /// For the number of objects.
    pub metrics: Metrics,
    /// When the watch last told anything.
    pub age: Age,
}

impl Watch {
    /// Watches until the process stops.
    pub async fn run(mut self, client: Client, shutdown: Shutdown) -> TaskResult {
        let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client, &resource());
        let mut trouble = Trouble::new("gateways");
        loop {
            let rules = Arc::clone(&self.wanted.borrow_and_update());
            tokio::select! {
                // First: the task that reads the rules' file ends at the same signal, and its end must not be taken for a fault.
                biased;
                () = shutdown.stopping() => return Ok(()),
                outgrown = self.watch(&api, rules, &mut trouble) => outgrown?,
            }
        }
    }

    /// Watches until rules come that are about annotations which were not kept.
    async fn watch(
        &mut self,
        api: &Api<PartialObjectMeta<DynamicObject>>,
        mut rules: Arc<Rules>,
        trouble: &mut Trouble,
    ) -> TaskResult {
        let subject = Subject {
            api: api.clone(),
            name: GATEWAY_RESOURCE,
            only: None,
            pauses: Backoff::default(),
            span: Span::long(),
        };
        let kept = Arc::clone(&rules);
        let mut news = pin!(follow_reduced(subject, None, move |object| name(object, &kept)));
        loop {
            tokio::select! {
                Some(news) = news.next() => self.see(news, &rules, trouble),
                changed = self.wanted.changed() => {
                    changed?;
                    if self.wanted.borrow().annotations != rules.annotations {
                        return Ok(());
                    }
                    rules = Arc::clone(&self.wanted.borrow_and_update());
                    if *self.synced.borrow() {
                        self.in_force.send_replace(Arc::clone(&rules));
                    }
                }
            }
        }
    }

    fn see(&self, news: News<Named>, rules: &Arc<Rules>, trouble: &mut Trouble) {
        if !matches!(news, News::Failed(..) | News::Interrupted) {
            self.age.now();
        }
        match news {
            News::All(all, _) => {
                let mut known = ByNamespace::new();
                for gateway in all {
                    insert(&mut known, gateway);
                }
                self.gateways.replace(known);
                self.in_force.send_replace(Arc::clone(rules));
                self.synced.send_replace(true);
                self.handle.ready();
            }
            News::Applied((namespace, name, gateway)) => self.gateways.set(namespace, name, gateway),
            News::Deleted((namespace, name, _)) => self.gateways.remove(namespace, name),
            News::Connected => {
                trouble.over();
                // A list that came before the trouble is still the beginning of what is known.
                if *self.synced.borrow() {
                    self.handle.ready();
                }
            }
            News::Failed(problem, reason) => self.failed(problem, reason, trouble),
            News::UpTo(_) | News::Interrupted => {}
        }
        self.metrics.cached(self.gateways.len());
    }

    fn failed(&self, problem: Problem, reason: String, trouble: &mut Trouble) {
        if problem == Problem::NotFound {
            let reason = format!("waiting for the Gateway API CRDs ({GATEWAY_RESOURCE})");
            trouble.note(&reason);
            self.handle.waiting(reason);
            return;
        }
        trouble.note(&reason);
        // What is known stays useful while the watch is away: a Gateway that it lacks is asked for.
        if !*self.synced.borrow() {
            self.handle.waiting(reason);
        }
    }
}

/// Questions under way; more wait until their review has no more time. The API server is not asked for more at once than
/// its own clients cause.
const QUESTIONS: usize = 64;

/// Asks the API server for single Gateways.
#[derive(Clone)]
pub struct LiveLookup {
    client: Client,
    resource: ApiResource,
    permits: Arc<Semaphore>,
}

impl LiveLookup {
    /// Sends nothing yet.
    pub fn new(client: Client) -> Self {
        Self { client, resource: resource(), permits: Arc::new(Semaphore::new(QUESTIONS)) }
    }
}

impl Ask for LiveLookup {
    async fn ask(&self, rules: &Rules, namespace: &str, name: &str) -> Result<Option<Gateway>, String> {
        // Whoever calls the admission port chooses the name, and it becomes part of a URL.
        if !is_name(namespace) || !is_name(name) {
            return Ok(None);
        }
        let _permit = self.permits.acquire().await.map_err(|error| error.to_string())?;
        let api: Api<PartialObjectMeta<DynamicObject>> =
            Api::namespaced_with(self.client.clone(), namespace, &self.resource);
        let found = api.get_opt(name).await.map_err(|error| explain("get", GATEWAY_RESOURCE, &error))?;
        Ok(found.map(|object| reduce(object.metadata.into(), rules)))
    }
}

fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GATEWAY_GROUP, "v1", GATEWAY_KIND), "gateways")
}

/// Whether an object can have this name (RFC 1123 subdomain).
fn is_name(text: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| {
        part.bytes().all(|byte| inner(&byte) || byte == b'-')
            && part.as_bytes().first().is_some_and(inner)
            && part.as_bytes().last().is_some_and(inner)
    };
    text.len() <= 253 && text.split('.').all(part)
}

fn reduce(metadata: Metadata, rules: &Rules) -> Gateway {
    Gateway::reduce(metadata, |annotation| rules.annotations.mention(annotation))
}

fn name(object: PartialObjectMeta<DynamicObject>, rules: &Rules) -> Named {
    let mut metadata = Metadata::from(object.metadata);
    let (namespace, name) = (std::mem::take(&mut metadata.namespace), std::mem::take(&mut metadata.name));
    (namespace, name, reduce(metadata, rules))
}

fn insert(gateways: &mut ByNamespace, (namespace, name, gateway): Named) {
    gateways.entry(namespace).or_default().insert(name, Arc::new(gateway));
}

#[cfg(test)]
mod tests;
