// SPDX-License-Identifier: Apache-2.0
//! The Gateways: a cache by metadata watch, reduced to what decides, and a look-up of a single one.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, PoisonError, RwLock},
};

use anyhow::bail;
use futures::StreamExt;
use gateherald_model::{
    metadata::Metadata,
    owner::{GATEWAY_GROUP, GATEWAY_KIND, GATEWAY_RESOURCE, Gateway},
    rules::Rules,
};
use gateherald_runtime::{
    backoff::Backoff,
    kubernetes::{Problem, Trouble, explain, explain_watch},
    readiness::Handle,
    shutdown::Shutdown,
    tasks::TaskResult,
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, PartialObjectMeta},
    core::GroupVersionKind,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use tokio::sync::{Semaphore, watch};

use crate::{handler::Ask, metrics::Metrics};

type ByName = HashMap<String, Arc<Gateway>>;
/// Gateways by namespace, then by name.
pub type ByNamespace = HashMap<String, ByName>;

/// The Gateways that are known. Written by [`Watch`] alone; the lock is held for one map operation.
#[derive(Debug, Default)]
pub struct Gateways {
    by_namespace: RwLock<ByNamespace>,
}

impl Gateways {
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
    }

    fn change(&self, change: impl FnOnce(&mut ByNamespace)) {
        change(&mut self.by_namespace.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A list under way, and what decides which part of a Gateway is kept.
#[derive(Debug, Default)]
struct Listing {
    rules: Arc<Rules>,
    gateways: ByNamespace,
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
        rules: Arc<Rules>,
        trouble: &mut Trouble,
    ) -> TaskResult {
        let mut events = pin!(watcher(api.clone(), watcher::Config::default()).backoff(Backoff::default()));
        let mut listing = Listing { rules, gateways: ByNamespace::new() };
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        if matches!(event, Event::InitDone) {
                            trouble.over();
                        }
                        self.see(event, &mut listing);
                    }
                    Some(Err(error)) => self.failed(&error, trouble),
                    None => bail!("the watch of {GATEWAY_RESOURCE} ended"),
                },
                changed = self.wanted.changed() => {
                    changed?;
                    if self.wanted.borrow().annotations != listing.rules.annotations {
                        return Ok(());
                    }
                    listing.rules = Arc::clone(&self.wanted.borrow_and_update());
                    if *self.synced.borrow() {
                        self.in_force.send_replace(Arc::clone(&listing.rules));
                    }
                }
            }
        }
    }

    fn see(&self, event: Event<PartialObjectMeta<DynamicObject>>, listing: &mut Listing) {
        let Listing { rules, gateways } = listing;
        match event {
            Event::Init => return gateways.clear(),
            Event::InitApply(object) => return insert(gateways, object, rules),
            Event::InitDone => {
                self.gateways.replace(std::mem::take(gateways));
                self.in_force.send_replace(Arc::clone(rules));
                self.synced.send_replace(true);
                self.handle.ready();
            }
            Event::Apply(object) => self.gateways.change(|known| insert(known, object, rules)),
            Event::Delete(object) => self.gateways.change(|known| remove(known, object)),
        }
        self.metrics.cached(self.gateways.len());
    }

    fn failed(&self, error: &watcher::Error, trouble: &mut Trouble) {
        if is_missing(error) {
            let reason = format!("waiting for the Gateway API CRDs ({GATEWAY_RESOURCE})");
            trouble.note(&reason);
            self.handle.waiting(reason);
            return;
        }
        let reason = explain_watch(GATEWAY_RESOURCE, error);
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

/// Whether the API server does not serve the kind.
fn is_missing(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => Problem::of(error) == Problem::NotFound,
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => false,
    }
}

fn reduce(metadata: Metadata, rules: &Rules) -> Gateway {
    Gateway::reduce(metadata, |annotation| rules.annotations.mention(annotation))
}

fn insert(gateways: &mut ByNamespace, object: PartialObjectMeta<DynamicObject>, rules: &Rules) {
    let mut metadata = Metadata::from(object.metadata);
    let (namespace, name) = (std::mem::take(&mut metadata.namespace), std::mem::take(&mut metadata.name));
    gateways.entry(namespace).or_default().insert(name, Arc::new(reduce(metadata, rules)));
}

fn remove(gateways: &mut ByNamespace, object: PartialObjectMeta<DynamicObject>) {
    let (Some(namespace), Some(name)) = (object.metadata.namespace, object.metadata.name) else { return };
    if let Some(known) = gateways.get_mut(&namespace) {
        known.remove(&name);
        if known.is_empty() {
            gateways.remove(&namespace);
        }
    }
}

#[cfg(test)]
mod tests;
