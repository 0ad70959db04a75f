// SPDX-License-Identifier: Apache-2.0
//! The watches over what decides about announcing: policies, Services, Nodes. Each object is reduced to what is used
//! before it is passed on; the rest, managedFields included, is dropped at once.

use futures::StreamExt;
use gateherald_model::{
    crd::{CiliumL2AnnouncementPolicy, L2AnnouncementPolicy},
    node::NodeView,
    policy::{PolicyId, PolicyKind, PolicyVersion},
    service::{ServiceKey, ServiceView},
};
use gateherald_runtime::{
    backoff::Backoff,
    kubernetes::{Problem, Trouble},
    readiness,
    shutdown::Shutdown,
};
use k8s_openapi::api::core::v1::{Node, Service};
use kube::{Api, Client, ResourceExt, core::DeserializeGuard};
use tokio::sync::mpsc;

use super::follow::{Followed, News, Span, Subject, follow, follow_reduced};
use crate::desired::{Change, Seen};

/// After so many 404s in a row a CRD is gone, and its objects with it; a single one may be an API server that starts.
const GONE_AFTER: u32 = 3;

/// What a watch tells the evaluation.
#[derive(Debug)]
pub enum Told {
    /// Objects.
    Seen(Box<Seen>),
    /// Whether policies of this kind are served at all; unknown for this reason.
    Served(PolicyKind, Served),
}

/// Whether a kind of policy can be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// It is being watched.
    Yes,
    /// Its CRD is not there.
    No,
    /// It cannot be told.
    Unknown(String),
}

/// Watches our own policies.
pub async fn policies(client: Client, out: mpsc::Sender<Told>, shutdown: Shutdown) {
    let api: Api<DeserializeGuard<L2AnnouncementPolicy>> = Api::all(client);
    let subject = subject(api, "l2announcementpolicies.gateherald.io");
    let reduce = |policy: DeserializeGuard<L2AnnouncementPolicy>| {
        let (uid, generation) = version(&policy);
        let (spec, status) =
            policy.0.map_or_else(|e| (Err(e.error), None), |policy| (Ok(policy.spec), policy.status));
        PolicyVersion { uid, generation, spec, status }
    };
    follow_policies(subject, PolicyKind::Gateherald, reduce, out, shutdown).await;
}

/// Watches Cilium's policies.
pub async fn cilium_policies(client: Client, out: mpsc::Sender<Told>, shutdown: Shutdown) {
    let api: Api<DeserializeGuard<CiliumL2AnnouncementPolicy>> = Api::all(client);
    let subject = subject(api, "ciliuml2announcementpolicies.cilium.io");
    let reduce = |policy: DeserializeGuard<CiliumL2AnnouncementPolicy>| {
        let (uid, generation) = version(&policy);
        let spec = policy.0.map(|policy| policy.spec.into()).map_err(|e| e.error);
        PolicyVersion { uid, generation, spec, status: None }
    };
    follow_policies(subject, PolicyKind::Cilium, reduce, out, shutdown).await;
}

/// Which version of which object it is; that much is known of one that cannot be decoded, too.
fn version(object: &impl ResourceExt) -> (String, i64) {
    (object.uid().unwrap_or_default(), object.meta().generation.unwrap_or_default())
}

/// Watches Services.
pub async fn services(client: Client, out: mpsc::Sender<Told>, ready: readiness::Handle, shutdown: Shutdown) {
    let reduce = |s: &Service| {
        let key = ServiceKey::new(s.namespace().unwrap_or_default(), s.name_any());
        (key, Box::new(ServiceView::from(s)))
    };
    let subject = subject(Api::<Service>::all(client), "services");
    follow_core(subject, reduce, Seen::Services, (out, ready, shutdown)).await;
}

/// Watches Nodes.
pub async fn nodes(client: Client, out: mpsc::Sender<Told>, ready: readiness::Handle, shutdown: Shutdown) {
    let subject = subject(Api::<Node>::all(client), "nodes");
    follow_core(subject, |n| (n.name_any(), NodeView::from(n)), Seen::Nodes, (out, ready, shutdown)).await;
}

async fn follow_core<K: Followed, I, T>(
    subject: Subject<K>,
    reduce: impl Fn(&K) -> (I, T) + Send + 'static,
    seen: impl Fn(Change<I, T>) -> Seen,
    (out, ready, shutdown): (mpsc::Sender<Told>, readiness::Handle, Shutdown),
) where
    I: Send + 'static,
    T: Send + 'static,
{
    let mut trouble = Trouble::new(subject.name);
    // At once, not when all are listed: of ten thousand Services few are held whole at a time.
    let mut news = follow_reduced(subject, None, move |object| reduce(&object));
    while let Some(news) = next(&mut news, &shutdown).await {
        let change = match news {
            News::All(all, _) => Change::All(all),
            News::Applied((key, view)) => Change::Set(key, view),
            News::Deleted((key, _)) => Change::Gone(key),
            News::Connected => {
                trouble.over();
                ready.ready();
                continue;
            }
            News::Failed(_, said) => {
                trouble.note(&said);
                ready.waiting(said);
                continue;
            }
            News::UpTo(_) | News::Interrupted => continue,
        };
        if out.send(Told::Seen(Box::new(seen(change)))).await.is_err() {
            return;
        }
    }
}

async fn follow_policies<K: Followed>(
    subject: Subject<K>,
    kind: PolicyKind,
    reduce: impl Fn(K) -> PolicyVersion,
    out: mpsc::Sender<Told>,
    shutdown: Shutdown,
) {
    let name = subject.name;
    let mut trouble = Trouble::new(name);
    let mut missing = 0;
    let read = |policy: K| (PolicyId::new(kind, policy.name_any()), reduce(policy));
    let mut news = follow(subject, None);
    while let Some(news) = next(&mut news, &shutdown).await {
        let told = match news {
            News::All(all, _) => seen(kind, Change::All(all.into_iter().map(&read).collect())),
            News::Applied(policy) => {
                let (id, version) = read(policy);
                seen(kind, Change::Set(id, version))
            }
            News::Deleted(policy) => seen(kind, Change::Gone(PolicyId::new(kind, policy.name_any()))),
            News::Connected => {
                trouble.over();
                missing = 0;
                Told::Served(kind, Served::Yes)
            }
            News::Failed(Problem::NotFound, _) => {
                missing += 1;
                if missing == GONE_AFTER && out.send(seen(kind, Change::All(Vec::new()))).await.is_err() {
                    return;
                }
                Told::Served(kind, Served::No)
            }
            News::Failed(_, said) => {
                trouble.note(&said);
                Told::Served(kind, Served::Unknown(said))
            }
            News::UpTo(_) | News::Interrupted => continue,
        };
        if out.send(told).await.is_err() {
            return;
        }
    }
}

fn seen(kind: PolicyKind, change: Change<PolicyId, PolicyVersion>) -> Told {
    Told::Seen(Box::new(Seen::Policies(kind, change)))
}

fn subject<K>(api: Api<K>, name: &'static str) -> Subject<K> {
    Subject { api, name, only: None, pauses: Backoff::default(), span: Span::short() }
}

/// The next news; none when the process stops.
async fn next<K>(
    news: &mut futures::stream::BoxStream<'static, News<K>>,
    shutdown: &Shutdown,
) -> Option<News<K>> {
    tokio::select! {
        () = shutdown.stopping() => None,
        news = news.next() => news,
    }
}
