// SPDX-License-Identifier: Apache-2.0
//! What was read, as plain data: of each list its items, and why there are none or not all.

use jiff::Timestamp;
use k8s_openapi::api::{
    admissionregistration::v1::MutatingWebhookConfiguration,
    apps::v1::DaemonSet,
    coordination::v1::Lease,
    core::v1::{ConfigMap, Event, Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use gateherald_model::crd::{CiliumL2AnnouncementPolicy, L2AnnouncementPolicy};

use objects::{AnnouncerPage, CiliumPool, Gateway, GatewayClass, MetalLbPool};

pub(crate) mod files;
pub(crate) mod objects;
pub(crate) mod questions;

pub(crate) use questions::Questions;

/// Everything that was read.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// When.
    pub(crate) now: Timestamp,
    /// The one namespace that was looked at, if not all were.
    pub(crate) scope: Option<String>,
    pub(crate) gateways: Listing<Gateway>,
    pub(crate) classes: Listing<GatewayClass>,
    pub(crate) services: Listing<Service>,
    pub(crate) policies: Listing<L2AnnouncementPolicy>,
    pub(crate) cilium_policies: Listing<CiliumL2AnnouncementPolicy>,
    pub(crate) cilium_pools: Listing<CiliumPool>,
    pub(crate) metallb_pools: Listing<MetalLbPool>,
    pub(crate) nodes: Listing<Node>,
    /// Sessions and claims.
    pub(crate) leases: Listing<Lease>,
    /// Those by which Cilium's agents share announcing.
    pub(crate) cilium_leases: Listing<Lease>,
    pub(crate) slices: Listing<EndpointSlice>,
    pub(crate) registrations: Listing<MutatingWebhookConfiguration>,
    /// Pods of Gateherald.
    pub(crate) pods: Listing<Pod>,
    pub(crate) daemon_sets: Listing<DaemonSet>,
    /// The label rules, `cilium-config` and `kube-proxy`.
    pub(crate) config_maps: Listing<ConfigMap>,
    /// Events about addresses that somebody else uses.
    pub(crate) events: Listing<Event>,
    /// What announcers say on their loopback ports.
    pub(crate) announcers: Vec<AnnouncerPage>,
    /// What only `check` asks for.
    pub(crate) questions: Questions,
}

/// A list that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Listing<T> {
    /// What came, sorted by namespace and name.
    pub(crate) items: Vec<T>,
    /// Why that is not everything.
    pub(crate) gap: Option<Gap>,
}

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Gap {
    /// This right is missing, in the words of RBAC: `list nodes`.
    Denied(String),
    /// The API server does not serve this kind.
    Absent(String),
    /// Anything else: what was asked for, and what was said.
    Failed(String, String),
    /// Nobody asked: files were read, or the command has no use for it.
    NotAsked,
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Denied(right) => write!(f, "needs the right to {right}"),
            Self::Absent(kind) => write!(f, "{kind} is not served"),
            Self::Failed(what, said) => write!(f, "cannot {what}: {said}"),
            Self::NotAsked => f.write_str("was not asked for"),
        }
    }
}

impl<T> Listing<T> {
    /// Nothing was asked for.
    pub(crate) const fn unasked() -> Self {
        Self { items: Vec::new(), gap: Some(Gap::NotAsked) }
    }

    /// It could not be read.
    #[cfg(test)]
    pub(crate) const fn missing(gap: Gap) -> Self {
        Self { items: Vec::new(), gap: Some(gap) }
    }

    /// A right that is missing, or a failure: what its items would say is not known.
    pub(crate) fn unreadable(&self) -> Option<&Gap> {
        self.gap.as_ref().filter(|gap| matches!(gap, Gap::Denied(_) | Gap::Failed(..)))
    }

    /// Nobody looked, or nobody could.
    pub(crate) fn unknown(&self) -> Option<&Gap> {
        self.gap.as_ref().filter(|gap| !matches!(gap, Gap::Absent(_)))
    }
}

/// An object with metadata.
pub(crate) trait Named {
    /// Its metadata.
    fn meta(&self) -> &ObjectMeta;

    /// Namespace and name.
    fn key(&self) -> (&str, &str) {
        let meta = self.meta();
        (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }

    /// `namespace/name`, or the name alone.
    fn full_name(&self) -> String {
        match self.key() {
            ("", name) => name.to_owned(),
            (namespace, name) => format!("{namespace}/{name}"),
        }
    }
}

macro_rules! named {
    ($($kind:ty),+ $(,)?) => {$(
        impl Named for $kind {
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
        }
    )+};
}

named!(
    Gateway,
    GatewayClass,
    Service,
    L2AnnouncementPolicy,
    CiliumL2AnnouncementPolicy,
    CiliumPool,
    MetalLbPool,
    Node,
    Lease,
    EndpointSlice,
    MutatingWebhookConfiguration,
    Pod,
    DaemonSet,
    ConfigMap,
    Event,
);

impl<T: Named> Listing<T> {
    /// A list as it was read.
    pub(crate) fn of(mut items: Vec<T>) -> Self {
        items.sort_by(|a, b| a.key().cmp(&b.key()));
        Self { items, gap: None }
    }

    /// Puts an object in the place of the one that has its name, or beside the others.
    pub(crate) fn put(&mut self, item: T) {
        match self.items.binary_search_by(|other| other.key().cmp(&item.key())) {
            Ok(at) => self.items[at] = item,
            Err(at) => self.items.insert(at, item),
        }
        self.gap = None;
    }

    /// The object of this name.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<&T> {
        let at = self.items.binary_search_by(|other| other.key().cmp(&(namespace, name))).ok()?;
        self.items.get(at)
    }
}

impl Snapshot {
    /// Nothing was read.
    pub(crate) fn empty(now: Timestamp) -> Self {
        Self {
            now,
            scope: None,
            gateways: Listing::unasked(),
            classes: Listing::unasked(),
            services: Listing::unasked(),
            policies: Listing::unasked(),
            cilium_policies: Listing::unasked(),
            cilium_pools: Listing::unasked(),
            metallb_pools: Listing::unasked(),
            nodes: Listing::unasked(),
            leases: Listing::unasked(),
            cilium_leases: Listing::unasked(),
            slices: Listing::unasked(),
            registrations: Listing::unasked(),
            pods: Listing::unasked(),
            daemon_sets: Listing::unasked(),
            config_maps: Listing::unasked(),
            events: Listing::unasked(),
            announcers: Vec::new(),
            questions: Questions::default(),
        }
    }

    /// Only what is in this namespace, of what is in one and is asked for by it.
    pub(crate) fn narrow(&mut self, namespace: &str) {
        fn keep<T: Named>(listing: &mut Listing<T>, namespace: &str) {
            listing.items.retain(|item| item.key().0 == namespace);
        }
        keep(&mut self.gateways, namespace);
        keep(&mut self.services, namespace);
        self.scope = Some(namespace.to_owned());
    }

    /// What the chain hangs on and could not be read.
    pub(crate) fn gaps(&self) -> Vec<&Gap> {
        let gaps = [
            self.gateways.unreadable(),
            self.services.unreadable(),
            self.policies.unreadable(),
            self.cilium_policies.unreadable(),
            self.cilium_pools.unreadable(),
            self.metallb_pools.unreadable(),
            self.nodes.unreadable(),
            self.leases.unreadable(),
        ];
        gaps.into_iter().flatten().collect()
    }
}
