// SPDX-License-Identifier: Apache-2.0
//! Waits until something changed that chains are made of. What changed is read anew as a whole: it is little.

use std::{pin::Pin, time::Duration};

use futures::{Stream, StreamExt, stream::select_all};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Service},
};
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject, GroupVersionKind},
    core::PartialObjectMeta,
    runtime::watcher,
};

use super::cluster::{Cluster, ClusterError};

/// Changes come in flocks.
const SETTLE: Duration = Duration::from_millis(200);

/// Changes of a cluster.
pub(crate) struct Changes<'a> {
    cluster: &'a Cluster,
    watched: Option<Changed>,
}

/// Watches the kinds that chains are made of. Sessions and Nodes change every few seconds without meaning anything: of
/// Leases only claims are watched, and Nodes by their labels alone.
fn watch(cluster: &Cluster, scope: Option<&str>) -> Result<Changed, ClusterError> {
    let client = cluster.for_watches()?;
    let client = || client.clone();
    let services: Api<PartialObjectMeta<Service>> = match scope {
        Some(namespace) => Api::namespaced(client(), namespace),
        None => Api::all(client()),
    };
    let resource = |group, version, kind| ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let dynamic = |group, version, kind, plural: &str, namespace: Option<&str>| {
        let mut resource = resource(group, version, kind);
        plural.clone_into(&mut resource.plural);
        let api: Api<PartialObjectMeta<DynamicObject>> = match namespace {
            Some(namespace) => Api::namespaced_with(client(), namespace, &resource),
            None => Api::all_with(client(), &resource),
        };
        changes(api, "")
    };
    let streams = vec![
        changes(services, ""),
        changes(Api::<PartialObjectMeta<Lease>>::all(client()), "gateherald.io/lease=claim"),
        labels_of_nodes(client()),
        dynamic("gateway.networking.k8s.io", "v1", "Gateway", "gateways", scope),
        dynamic("gateherald.io", "v1alpha1", "L2AnnouncementPolicy", "l2announcementpolicies", None),
        dynamic("cilium.io", "v2alpha1", "CiliumL2AnnouncementPolicy", "ciliuml2announcementpolicies", None),
        dynamic("cilium.io", "v2alpha1", "CiliumLoadBalancerIPPool", "ciliumloadbalancerippools", None),
    ];
    Ok(Box::pin(select_all(streams)))
}

impl<'a> Changes<'a> {
    pub(crate) const fn of(cluster: &'a Cluster) -> Self {
        Self { cluster, watched: None }
    }

    /// Waits for the next change, and until it is over. The first call begins to watch, and counts what is there as changed.
    /// `scope` is the namespace whose Services and Gateways were read, if not all were.
    pub(crate) async fn next(&mut self, scope: Option<&str>) -> Result<(), ClusterError> {
        let watched = match &mut self.watched {
            Some(watched) => watched,
            none => none.insert(watch(self.cluster, scope)?),
        };
        watched.next().await;
        while tokio::time::timeout(SETTLE, watched.next()).await.is_ok_and(|change| change.is_some()) {}
        Ok(())
    }
}

type Changed = Pin<Box<dyn Stream<Item = ()> + Send>>;

/// Errors are no changes: the watcher pauses and tries again, a kind that is not served costs a request now and then.
fn changes<K>(api: Api<K>, labels: &str) -> Changed
where
    K: Resource + Clone + std::fmt::Debug + Send + serde::de::DeserializeOwned + 'static,
{
    let config = watcher::Config::default().labels(labels);
    let events = watcher::watcher(api, config);
    Box::pin(backing_off(events).filter_map(|event| {
        let told =
            matches!(event, watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone);
        async move { told.then_some(()) }
    }))
}

fn labels_of_nodes(client: Client) -> Changed {
    let events = watcher::watcher(Api::<PartialObjectMeta<Node>>::all(client), watcher::Config::default());
    let mut known = std::collections::BTreeMap::new();
    Box::pin(backing_off(events).filter_map(move |event| {
        let changed = match event {
            watcher::Event::Apply(node) => {
                let labels = node.metadata.labels.clone();
                known.insert(node.metadata.name.clone(), labels.clone()) != Some(labels)
            }
            watcher::Event::Delete(node) => known.remove(&node.metadata.name).is_some(),
            _ => false,
        };
        async move { changed.then_some(()) }
    }))
}

/// Without errors, and with pauses after them.
fn backing_off<T: Send + 'static>(
    events: impl Stream<Item = watcher::Result<T>> + Send + 'static,
) -> impl Stream<Item = T> + Send {
    use kube::runtime::WatchStreamExt;
    events.default_backoff().filter_map(|event| async { event.ok() })
}
