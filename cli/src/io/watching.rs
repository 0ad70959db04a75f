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

use super::cluster::Cluster;

/// Changes come in flocks.
const SETTLE: Duration = Duration::from_millis(200);

/// A stream of changes.
pub(crate) struct Changes(Pin<Box<dyn Stream<Item = ()> + Send>>);

/// Watches the kinds that chains are made of. Sessions and Nodes change every few seconds without meaning anything: of
/// Leases only claims are watched, and Nodes by their labels alone.
pub(crate) fn watch(cluster: &Cluster) -> Changes {
    let client = || cluster.client.clone();
    let resource = |group, version, kind| ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let dynamic = |group, version, kind, plural: &str| {
        let mut resource = resource(group, version, kind);
        plural.clone_into(&mut resource.plural);
        changes(Api::<PartialObjectMeta<DynamicObject>>::all_with(client(), &resource), "")
    };
    let streams = vec![
        changes(Api::<PartialObjectMeta<Service>>::all(client()), ""),
        changes(Api::<PartialObjectMeta<Lease>>::all(client()), "gateherald.io/lease=claim"),
        labels_of_nodes(client()),
        dynamic("gateway.networking.k8s.io", "v1", "Gateway", "gateways"),
        dynamic("gateherald.io", "v1alpha1", "L2AnnouncementPolicy", "l2announcementpolicies"),
        dynamic("cilium.io", "v2alpha1", "CiliumL2AnnouncementPolicy", "ciliuml2announcementpolicies"),
        dynamic("cilium.io", "v2alpha1", "CiliumLoadBalancerIPPool", "ciliumloadbalancerippools"),
    ];
    Changes(Box::pin(select_all(streams)))
}

impl Changes {
    /// Waits for the next change, and until it is over.
    pub(crate) async fn next(&mut self) {
        self.0.next().await;
        while tokio::time::timeout(SETTLE, self.0.next()).await.is_ok_and(|change| change.is_some()) {}
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
