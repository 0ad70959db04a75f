// SPDX-License-Identifier: Apache-2.0
//! Reads all lists at once, each page by page. The number of requests does not depend on the number of Services, but for
//! one page per five hundred.

use anyhow::{Context, bail};
use http::Request;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{clock, cluster::Cluster};
use crate::snapshot::{
    Gap, Listing, Named, Questions, Snapshot, files, objects::component, questions::ServerVersion,
};

/// Objects per page, as kubectl asks.
const PAGE: usize = 500;
const CORE: &str = "/api/v1";
const GATEWAY_API: &str = "/apis/gateway.networking.k8s.io/v1";
/// Our sessions and claims carry this label, whatever the release's namespace is.
const OURS: &str = "labelSelector=gateherald.io%2Flease";
const PODS: &str = "labelSelector=app.kubernetes.io%2Fcomponent%20in%20%28webhook%2Cannouncer%29";
const CONFLICTS: &str = "fieldSelector=reason%3DAddressConflict";
/// Names of the chart's objects can be changed, these labels not.
const RULES: &str =
    "labelSelector=app.kubernetes.io%2Fpart-of%3Dgateherald,app.kubernetes.io%2Fcomponent%3Dwebhook";
const ANNOUNCER: &str =
    "labelSelector=app.kubernetes.io%2Fpart-of%3Dgateherald,app.kubernetes.io%2Fcomponent%3Dannouncer";
const KUBE_SYSTEM: &str = "kube-system";

/// How much is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What the chains need.
    Chains,
    /// What all checks need.
    Everything,
}

/// A list as it is asked for.
#[derive(Clone, Copy, Debug)]
struct Wanted<'a> {
    /// `/api/v1` or `/apis/group/version`.
    api: &'a str,
    plural: &'a str,
    namespace: Option<&'a str>,
    query: &'a str,
}

/// Reads a snapshot.
///
/// # Errors
/// When the API server cannot be reached, or does not accept the credentials; anything less is a [`Gap`].
pub(crate) async fn snapshot(cluster: &Cluster, depth: Depth) -> anyhow::Result<Snapshot> {
    // Twenty requests at once make a future of 30 KiB.
    Box::pin(all(cluster, depth)).await
}

async fn all(cluster: &Cluster, depth: Depth) -> anyhow::Result<Snapshot> {
    let mut snapshot = Snapshot::empty(clock::now());
    let scope = cluster.scope.as_deref();
    let (version, namespaced, shared, others) = tokio::join!(
        version(&cluster.client),
        namespaced(&cluster.client, scope, depth),
        shared(&cluster.client),
        others(&cluster.client, depth),
    );
    let version = version.with_context(|| format!("cannot ask the API server {}", cluster.server))?;
    namespaced.into(&mut snapshot);
    shared.into(&mut snapshot);
    others.into(&mut snapshot);
    snapshot.scope = scope.map(str::to_owned);
    if let (Some(Gap::Denied(_)), None) = (&snapshot.services.gap, scope) {
        self::namespaced(&cluster.client, Some(&cluster.namespace), depth).await.into(&mut snapshot);
        snapshot.scope = Some(cluster.namespace.clone());
    }
    snapshot.questions = Questions { version, ..Questions::default() };
    Ok(snapshot)
}

/// What `-n` narrows.
struct Namespaced(Snapshot);

/// What is of no namespace, or of one that is known.
struct Shared(Snapshot);

/// What only some commands need.
struct Others(Snapshot);

impl Namespaced {
    fn into(self, snapshot: &mut Snapshot) {
        let Snapshot { gateways, services, slices, events, .. } = self.0;
        (snapshot.gateways, snapshot.services) = (gateways, services);
        (snapshot.slices, snapshot.events) = (slices, events);
    }
}

impl Shared {
    fn into(self, snapshot: &mut Snapshot) {
        let Snapshot {
            classes, policies, cilium_policies, cilium_pools, metallb_pools, nodes, leases, ..
        } = self.0;
        (snapshot.classes, snapshot.policies, snapshot.cilium_policies) =
            (classes, policies, cilium_policies);
        (snapshot.cilium_pools, snapshot.metallb_pools) = (cilium_pools, metallb_pools);
        (snapshot.nodes, snapshot.leases) = (nodes, leases);
    }
}

impl Others {
    fn into(self, snapshot: &mut Snapshot) {
        let Snapshot { cilium_leases, registrations, pods, daemon_sets, config_maps, .. } = self.0;
        (snapshot.cilium_leases, snapshot.registrations) = (cilium_leases, registrations);
        (snapshot.pods, snapshot.daemon_sets, snapshot.config_maps) = (pods, daemon_sets, config_maps);
    }
}

async fn namespaced(client: &Client, scope: Option<&str>, depth: Depth) -> Namespaced {
    let list = |api, plural, query| Wanted { api, plural, namespace: scope, query };
    let mut snapshot = Snapshot::empty(Timestamp::UNIX_EPOCH);
    let events = async {
        if depth == Depth::Chains {
            return Listing::unasked();
        }
        read(client, list(CORE, "events", CONFLICTS)).await
    };
    (snapshot.gateways, snapshot.services, snapshot.slices, snapshot.events) = tokio::join!(
        read(client, list(GATEWAY_API, "gateways", "")),
        read(client, list(CORE, "services", "")),
        read(client, list("/apis/discovery.k8s.io/v1", "endpointslices", "")),
        events,
    );
    Namespaced(snapshot)
}

async fn shared(client: &Client) -> Shared {
    let list = |api, plural| Wanted { api, plural, namespace: None, query: "" };
    let mut snapshot = Snapshot::empty(Timestamp::UNIX_EPOCH);
    let pools = async {
        // Cilium 1.18 serves v2, older ones v2alpha1.
        let (new, old) = tokio::join!(
            read(client, list("/apis/cilium.io/v2", "ciliumloadbalancerippools")),
            read(client, list("/apis/cilium.io/v2alpha1", "ciliumloadbalancerippools")),
        );
        if matches!(new.gap, Some(Gap::Absent(_))) { old } else { new }
    };
    let leases = Wanted { query: OURS, ..list("/apis/coordination.k8s.io/v1", "leases") };
    (
        snapshot.classes,
        snapshot.policies,
        snapshot.cilium_policies,
        snapshot.cilium_pools,
        snapshot.metallb_pools,
        snapshot.nodes,
        snapshot.leases,
    ) = tokio::join!(
        read(client, list(GATEWAY_API, "gatewayclasses")),
        read(client, list("/apis/gateherald.io/v1alpha1", "l2announcementpolicies")),
        read(client, list("/apis/cilium.io/v2alpha1", "ciliuml2announcementpolicies")),
        pools,
        read(client, list("/apis/metallb.io/v1beta1", "ipaddresspools")),
        read(client, list(CORE, "nodes")),
        read(client, leases),
    );
    Shared(snapshot)
}

async fn others(client: &Client, depth: Depth) -> Others {
    let all = |api, plural, query| Wanted { api, plural, namespace: None, query };
    let everything = depth == Depth::Everything;
    let mut snapshot = Snapshot::empty(Timestamp::UNIX_EPOCH);
    let cilium_leases =
        Wanted { namespace: Some(KUBE_SYSTEM), ..all("/apis/coordination.k8s.io/v1", "leases", "") };
    let registrations = async {
        if !everything {
            return Listing::unasked();
        }
        read(client, all("/apis/admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations", "")).await
    };
    let pods = async {
        if !everything {
            return Listing::unasked();
        }
        // kube-vip is a static pod where it speaks for control planes.
        let system = Wanted { namespace: Some(KUBE_SYSTEM), ..all(CORE, "pods", "") };
        let (mut ours, system) = tokio::join!(read(client, all(CORE, "pods", PODS)), read(client, system));
        ours.items.retain(|pod| component(pod).is_some());
        both(ours, system)
    };
    let sets = all("/apis/apps/v1", "daemonsets", if everything { "" } else { ANNOUNCER });
    (
        snapshot.cilium_leases,
        snapshot.registrations,
        snapshot.pods,
        snapshot.daemon_sets,
        snapshot.config_maps,
    ) = tokio::join!(
        read(client, cilium_leases),
        registrations,
        pods,
        read(client, sets),
        config_maps(client)
    );
    // Others' Leases, the node heartbeats above all, are nobody's business here.
    snapshot.cilium_leases.items.retain(|lease| lease.key().1.starts_with("cilium-l2announce-"));
    Others(snapshot)
}

async fn config_maps(client: &Client) -> Listing<ConfigMap> {
    let list = |namespace, query| Wanted { api: CORE, plural: "configmaps", namespace, query };
    let (rules, cilium, proxy) = tokio::join!(
        read(client, list(None, RULES)),
        read(client, list(Some(KUBE_SYSTEM), "fieldSelector=metadata.name%3Dcilium-config")),
        read(client, list(Some(KUBE_SYSTEM), "fieldSelector=metadata.name%3Dkube-proxy")),
    );
    both(rules, both(cilium, proxy))
}

/// The items of both, and the first gap.
fn both<T: Named>(a: Listing<T>, b: Listing<T>) -> Listing<T> {
    let gap = a.gap.or(b.gap);
    let mut joined = Listing::of(a.items.into_iter().chain(b.items).collect());
    joined.items.dedup_by(|a, b| a.key() == b.key());
    joined.gap = gap;
    joined
}

#[derive(Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Default, Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

/// All pages of a list.
async fn read<T: DeserializeOwned + Named>(client: &Client, wanted: Wanted<'_>) -> Listing<T> {
    let mut items = Vec::new();
    let mut gap = None;
    let mut next = String::new();
    loop {
        let text = match get(client, &wanted.path(&next)).await {
            Ok(text) => text,
            Err(error) => {
                let mut partial = Listing::of(items);
                partial.gap = Some(wanted.gap(&error));
                return partial;
            }
        };
        let page = match serde_json::from_str::<Page<T>>(&text) {
            Ok(page) => page,
            Err(error) => {
                gap = Some(Gap::Failed(format!("read all {}", wanted.plural), error.to_string()));
                readable(&text)
            }
        };
        items.extend(page.items);
        match page.metadata.next.filter(|token| !token.is_empty()) {
            Some(token) => next = token,
            None => break,
        }
    }
    let mut listing = Listing::of(items);
    listing.gap = gap;
    listing
}

/// What can be read of a page with an object that cannot.
fn readable<T: DeserializeOwned>(text: &str) -> Page<T> {
    let page = serde_json::from_str::<Page<Value>>(text).ok();
    let (metadata, items) = page.map_or_else(Default::default, |page| (page.metadata, page.items));
    Page { metadata, items: items.into_iter().filter_map(|item| serde_json::from_value(item).ok()).collect() }
}

impl Wanted<'_> {
    fn path(&self, next: &str) -> String {
        let place = self.namespace.map_or_else(String::new, |namespace| format!("/namespaces/{namespace}"));
        let mut path = format!("{}{place}/{}?limit={PAGE}", self.api, self.plural);
        if !self.query.is_empty() {
            path = format!("{path}&{}", self.query);
        }
        if !next.is_empty() {
            path = format!("{path}&continue={}", percent_encoded(next));
        }
        path
    }

    fn gap(&self, error: &kube::Error) -> Gap {
        let group = self.api.strip_prefix("/apis/").and_then(|api| api.split('/').next());
        let kind = group.map_or_else(|| self.plural.to_owned(), |group| format!("{}.{group}", self.plural));
        let place = self.namespace.map_or("in all namespaces".to_owned(), |n| format!("in namespace {n}"));
        match error {
            kube::Error::Api(status) if status.code == 403 => Gap::Denied(format!("list {kind} {place}")),
            kube::Error::Api(status) if status.code == 404 => Gap::Absent(kind),
            error => Gap::Failed(format!("list {kind}"), said(error)),
        }
    }
}

/// An error in one line.
pub(crate) fn said(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.clone();
    }
    crate::run::chain(error)
}

/// Continue tokens are base64, which has characters that mean something in a query.
fn percent_encoded(token: &str) -> String {
    token.replace('%', "%25").replace('+', "%2B").replace('/', "%2F").replace('=', "%3D").replace('&', "%26")
}

/// GETs a path.
pub(crate) async fn get(client: &Client, path: &str) -> Result<String, kube::Error> {
    let request = Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
    client.request_text(request).await
}

/// The server's version; it is also the question whether there is one, and whether it knows us.
async fn version(client: &Client) -> anyhow::Result<Result<ServerVersion, Gap>> {
    match get(client, "/version").await {
        Ok(text) => Ok(Ok(files::version(&serde_json::from_str(&text)?))),
        Err(kube::Error::Api(status)) if status.code == 401 => bail!("the credentials are not accepted"),
        // Somebody who may not even ask for the version may yet read lists.
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Ok(Err(Gap::Denied("get /version".to_owned())))
        }
        Err(error) => Err(anyhow::anyhow!("{}", said(&error))),
    }
}
