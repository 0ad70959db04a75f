// SPDX-License-Identifier: Apache-2.0
//! The task of the one announcer that is elected: it writes the statuses of policies, and tells what nobody announces.
//!
//! It follows all Leases while it is in office, as every announcer with an address does: its own node may have none.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use gateherald_model::{
    crd::L2AnnouncementPolicy,
    leases::{FIELD_MANAGER, names},
};
use gateherald_runtime::{
    backoff::Backoff,
    election::{Election, Leadership},
    events::Teller,
    follow::{News, Span, Subject, follow_reduced},
    kubernetes::{Problem, Trouble, Troubles},
    request::limited,
    shutdown::Shutdown,
    tasks::TaskResult,
};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};

use super::clock;
use crate::{
    desired::{Outlook, Survey},
    office::{Office, StatusWrite},
    telling::{
        Tale,
        metrics::{Metrics, Outcome},
    },
};

/// The Lease of whoever is elected.
pub const LEASE: &str = "gateherald-announcer-leader";
/// 1 s between two looks at everything.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// One write may take so long; less where the rights are shorter.
const ATTEMPT: Duration = Duration::from_secs(3);
/// 2 s to give the office back when the process ends; else it falls vacant by itself.
const RESIGN_WITHIN: Duration = Duration::from_secs(2);
/// 15 s at least without any holder before people are told; longer when Leases last longer.
const GRACE: Duration = Duration::from_secs(15);

/// What the task is made of.
pub struct Officer {
    /// The API server.
    pub client: Client,
    /// The namespace of the Leases.
    pub namespace: String,
    /// How long a session lasts.
    pub lease_duration: Duration,
    /// What may be announced here, and that there is something to look at.
    pub outlook: watch::Receiver<Arc<Outlook>>,
    /// Whom to ask about the whole cluster.
    pub surveys: mpsc::Sender<oneshot::Sender<Option<Survey>>>,
    /// The right to act.
    pub leadership: Leadership,
    /// Where Events go.
    pub teller: Teller<Tale>,
    /// Counters.
    pub metrics: Metrics,
}

/// Stands for election from when there is a policy, until the process stops.
pub async fn stand(
    election: Election,
    mut outlook: watch::Receiver<Arc<Outlook>>,
    shutdown: Shutdown,
) -> TaskResult {
    tokio::select! {
        () = shutdown.draining() => return Ok(()),
        seen = async { outlook.wait_for(|outlook| !outlook.verdicts.is_empty()).await.is_ok() } => if !seen {
            // The evaluation has ended, and with it the process.
            shutdown.draining().await;
            return Ok(());
        }
    }
    let overdue = async {
        shutdown.draining().await;
        sleep(RESIGN_WITHIN).await;
    };
    tokio::select! {
        ended = election.run(shutdown.clone()) => ended,
        () = overdue => Ok(()),
    }
}

impl Officer {
    /// Acts whenever it is elected, until the process drains.
    pub async fn run(self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                biased;
                () = shutdown.draining() => return,
                // The election only ends when the process does.
                gained = self.leadership.gained() => if !gained { shutdown.draining().await },
            }
            tokio::select! {
                biased;
                () = shutdown.draining() => return,
                () = self.leadership.lost() => {}
                () = self.term() => shutdown.draining().await,
            }
        }
    }

    /// One term; ends only when nobody can be asked any more: then the process ends, too.
    async fn term(&self) {
        let mut term = Term {
            officer: self,
            office: Office::new(GRACE.max(self.lease_duration * 4)),
            policies: Api::all(self.client.clone()),
            leases: Trouble::new("status: Leases"),
            troubles: Troubles::new("status"),
            pauses: Backoff::default(),
            not_before: Duration::ZERO,
        };
        let (mut leases, mut outlook) = (self.leases(), self.outlook.clone());
        let mut look_at = Some(Duration::ZERO);
        let mut looked = Duration::ZERO;
        loop {
            let now = clock::now().raw;
            if look_at.is_some_and(|at| at <= now) {
                if term.look(&outlook).await.is_none() {
                    return;
                }
                (look_at, looked) = (None, now);
            }
            term.write().await;
            let now = clock::now().raw;
            let due = [look_at, term.due(looked)].into_iter().flatten().min();
            let changed = tokio::select! {
                changed = outlook.changed() => match changed {
                    Ok(()) => true,
                    Err(_) => return,
                },
                Some(news) = leases.next() => term.lease_news(news),
                () = clock::wait(due.map(|at| at.saturating_sub(now))) => {
                    term.office.next_review(looked).is_some_and(|at| at <= clock::now().raw)
                }
            };
            if changed {
                look_at.get_or_insert(looked + LOOK_EVERY);
            }
        }
    }

    fn leases(&self) -> BoxStream<'static, News<Option<(IpAddr, bool)>>> {
        let api = Api::<Lease>::namespaced(self.client.clone(), &self.namespace);
        let name = "leases.coordination.k8s.io";
        let subject = Subject { api, name, only: None, pauses: Backoff::default(), span: Span::short() };
        follow_reduced(subject, None, |lease| claim(&lease))
    }
}

/// A term at work.
struct Term<'a> {
    officer: &'a Officer,
    office: Office,
    policies: Api<L2AnnouncementPolicy>,
    leases: Trouble,
    troubles: Troubles,
    pauses: Backoff,
    /// After a write that failed.
    not_before: Duration,
}

impl Term<'_> {
    /// None when the evaluation has ended.
    async fn look(&mut self, outlook: &watch::Receiver<Arc<Outlook>>) -> Option<()> {
        let (asking, answer) = oneshot::channel();
        self.officer.surveys.send(asking).await.ok()?;
        let Some(survey) = answer.await.ok()? else { return Some(()) };
        let here = Arc::clone(&outlook.borrow());
        for tale in self.office.review(survey, &here.evaluation, clock::now().raw, clock::time_of_day()) {
            self.officer.teller.tell(tale);
        }
        Some(())
    }

    /// When there is something to do that was not to be done at the last look.
    fn due(&self, looked: Duration) -> Option<Duration> {
        self.office.next_deadline(looked).map(|at| at.max(self.not_before))
    }

    /// Whether it is worth a look.
    fn lease_news(&mut self, news: News<Option<(IpAddr, bool)>>) -> bool {
        match news {
            News::All(all, _) => {
                let held: BTreeSet<IpAddr> =
                    all.into_iter().flatten().filter_map(|(address, held)| held.then_some(address)).collect();
                self.office.claims(held);
                true
            }
            News::Applied(Some((address, held))) => self.office.claim(address, held),
            News::Deleted(Some((address, _))) => self.office.claim(address, false),
            News::Connected => {
                self.leases.over();
                false
            }
            News::Failed(_, said) => {
                self.leases.note(&said);
                false
            }
            News::Applied(None) | News::Deleted(None) | News::UpTo(_) | News::Interrupted => false,
        }
    }

    async fn write(&mut self) {
        while let Some(write) = self.next_write() {
            let Some(_permit) = self.officer.leadership.act() else { return };
            let limit = ATTEMPT.min(self.officer.leadership.limit());
            let result = limited(limit, self.apply(&write)).await;
            let now = clock::now().raw;
            let outcome = match result {
                Ok(()) => {
                    self.troubles.over();
                    self.pauses.reset();
                    self.office.written(&write, now);
                    Outcome::Written
                }
                // It was deleted meanwhile: the watch tells.
                Err(error) if error.problem() == Problem::NotFound => {
                    self.office.written(&write, now);
                    Outcome::Gone
                }
                Err(error) => {
                    let what = format!("l2announcementpolicies.gateherald.io/status {}", write.name);
                    self.troubles.note(Some(error.problem()), &error.explain("patch", &what));
                    self.not_before = now + self.pauses.pause();
                    Outcome::Failed
                }
            };
            self.officer.metrics.status(outcome);
        }
    }

    fn next_write(&self) -> Option<StatusWrite> {
        let now = clock::now().raw;
        self.office.next_write(now).filter(|_| self.not_before <= now)
    }

    /// By server-side apply, so that nobody else's condition is touched. A uid would not be looked at here: a policy that was made
    /// again just now has the old one's status until the next review.
    async fn apply(&self, write: &StatusWrite) -> kube::Result<()> {
        let object = json!({
            "apiVersion": L2AnnouncementPolicy::api_version(&()),
            "kind": L2AnnouncementPolicy::kind(&()),
            "metadata": { "name": write.name },
            "status": write.status,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.policies.patch_status(&write.name, &params, &Patch::Apply(&object)).await.map(drop)
    }
}

/// The address that a Lease is a claim on, and whether a node has it.
fn claim(lease: &Lease) -> Option<(IpAddr, bool)> {
    let address = names::claimed_address(&lease.name_any())?;
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    Some((address, !holder.is_empty()))
}
