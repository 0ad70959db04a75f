// SPDX-License-Identifier: Apache-2.0
//! Writes Events: what this node tells of its addresses, and what it tells of the whole cluster while it is elected to.
//!
//! Events are a courtesy. They have a budget and a queue with an end, one attempt each, and nothing waits for them.

use std::{sync::Arc, time::Duration};

use gateherald_model::{
    policy::{PolicyId, PolicyKind},
    service::ServiceKey,
};
use gateherald_runtime::{
    election::Leadership,
    events::{Budget, Occurrence, Published, Publisher, RESOURCE, Teller},
    kubernetes::Troubles,
    request::limited,
    shutdown::Shutdown,
};
use k8s_openapi::api::core::v1::{ObjectReference, Service};
use kube::{Api, Client, ResourceExt, api::ListParams};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{
    claims::Notice,
    desired::Outlook,
    standoff::Contests,
    telling::{
        self, About, Tale,
        metrics::{Metrics, Outcome},
    },
};

/// Who reports, as `kubectl describe` shows it.
const CONTROLLER: &str = "gateherald.io/announcer";
/// What was being done when it happened.
const ACTION: &str = "Announce";
/// A request may take so long; less where the rights of whoever is elected are shorter.
const ATTEMPT: Duration = Duration::from_secs(3);
/// Changes of ownership that may wait to be looked at.
pub const NOTICES: usize = 4096;
/// Events that may wait to be written: no more than the budget gives at once of each kind, and those of the elected one.
pub const TALES: usize = 256;
/// 30 Events of each kind at once, and then one every five seconds: client-go gives one source and object 25 and one every five
/// minutes, and a node has a thousand objects.
const AT_ONCE: u32 = 30;
const PER_MINUTE: u32 = 12;

/// What the task is made of.
pub struct Telling {
    /// The API server.
    pub client: Client,
    /// The node's name.
    pub node: String,
    /// Changes of ownership.
    pub notices: mpsc::Receiver<Notice>,
    /// The addresses that other hosts use.
    pub contests: watch::Receiver<Arc<Contests>>,
    /// What may be announced, and why not.
    pub outlook: watch::Receiver<Arc<Outlook>>,
    /// What is to be written, from here and from the elected one.
    pub tales: mpsc::Receiver<Tale>,
    /// Where what is told from here goes.
    pub teller: Teller<Tale>,
    /// Whether this announcer is the elected one.
    pub leadership: Leadership,
    /// Counters.
    pub metrics: Metrics,
}

impl Telling {
    /// Runs until the process drains: what is not told by then is not worth waiting for.
    pub async fn run(self, shutdown: Shutdown) {
        let Self { client, node, notices, contests, outlook, tales, teller, leadership, metrics } = self;
        let composer = Composer { told: telling::Teller::new(node.clone()), outlook, teller };
        let writer = Writer {
            publisher: Publisher::new(client.clone(), CONTROLLER, &node),
            client,
            leadership,
            budget: Budget::new(AT_ONCE, PER_MINUTE),
            troubles: Troubles::new("events"),
            metrics,
        };
        tokio::select! {
            () = shutdown.draining() => {}
            () = composer.run(notices, contests) => shutdown.draining().await,
            () = writer.run(tales) => shutdown.draining().await,
        }
    }
}

/// Makes tales of what happens on this node.
struct Composer {
    told: telling::Teller,
    outlook: watch::Receiver<Arc<Outlook>>,
    teller: Teller<Tale>,
}

impl Composer {
    async fn run(
        mut self,
        mut notices: mpsc::Receiver<Notice>,
        mut contests: watch::Receiver<Arc<Contests>>,
    ) {
        loop {
            let tales = tokio::select! {
                notice = notices.recv() => match notice {
                    Some(notice) => {
                        let outlook = Arc::clone(&self.outlook.borrow());
                        self.told.notice(&notice, &outlook.evaluation)
                    }
                    None => return,
                },
                changed = contests.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let contests = Arc::clone(&contests.borrow_and_update());
                    let outlook = Arc::clone(&self.outlook.borrow());
                    self.told.contests(contests, &outlook.evaluation)
                }
            };
            for tale in tales {
                self.teller.tell(tale);
            }
        }
    }
}

/// Writes one after the other.
struct Writer {
    client: Client,
    publisher: Publisher,
    leadership: Leadership,
    budget: Budget,
    troubles: Troubles,
    metrics: Metrics,
}

impl Writer {
    async fn run(mut self, mut tales: mpsc::Receiver<Tale>) {
        while let Some(tale) = tales.recv().await {
            if self.budget.take(tale.warning, Instant::now()) {
                self.write(tale).await;
            } else {
                self.metrics.over_budget();
            }
        }
    }

    async fn write(&mut self, tale: Tale) {
        // A look-up, a creation and a count.
        let limit = if tale.elected { ATTEMPT.min(self.leadership.limit() / 3) } else { ATTEMPT };
        let permit = if tale.elected { self.leadership.act() } else { None };
        if tale.elected && permit.is_none() {
            // Whoever is elected now sees it, too.
            return;
        }
        let Some(regarding) = self.object(&tale.about, limit).await else { return };
        let Tale { warning, reason, note, news, .. } = tale;
        let occurrence = Occurrence { regarding, warning, reason, action: ACTION, note, news };
        match self.publisher.publish(&occurrence, limit).await {
            Ok(published) => {
                self.troubles.over();
                self.metrics.event(match published {
                    Published::Written => Outcome::Written,
                    Published::Counted => Outcome::Counted,
                    Published::Known => Outcome::Known,
                });
            }
            Err(error) => {
                self.troubles.note(Some(error.problem()), &error.explain("create", RESOURCE));
                self.metrics.event(Outcome::Failed);
            }
        }
    }

    /// None if it is gone, or if the API server could not tell.
    async fn object(&mut self, about: &About, limit: Duration) -> Option<ObjectReference> {
        match about {
            About::Policy(id, uid) => Some(policy(id, uid)),
            About::Service(key) => self.service(key, limit).await,
        }
    }

    /// A list of one needs no other right than the watch.
    async fn service(&mut self, key: &ServiceKey, limit: Duration) -> Option<ObjectReference> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &key.namespace);
        let only = ListParams::default().fields(&format!("metadata.name={}", key.name));
        match limited(limit, services.list_metadata(&only)).await {
            Ok(found) => {
                let uid = found.items.first().and_then(ResourceExt::uid);
                if uid.is_none() {
                    self.metrics.event(Outcome::Gone);
                }
                uid.map(|uid| service(key, uid))
            }
            Err(error) => {
                self.troubles.note(Some(error.problem()), &error.explain("list", "services"));
                self.metrics.event(Outcome::Failed);
                None
            }
        }
    }
}

fn service(key: &ServiceKey, uid: String) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Service".to_owned()),
        namespace: Some(key.namespace.clone()),
        name: Some(key.name.clone()),
        uid: Some(uid),
        ..ObjectReference::default()
    }
}

fn policy(id: &PolicyId, uid: &str) -> ObjectReference {
    let (api_version, kind) = match id.kind {
        PolicyKind::Gateherald => ("gateherald.io/v1alpha1", "L2AnnouncementPolicy"),
        PolicyKind::Cilium => ("cilium.io/v2alpha1", "CiliumL2AnnouncementPolicy"),
    };
    ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(kind.to_owned()),
        name: Some(id.name.clone()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}
