// SPDX-License-Identifier: Apache-2.0
//! The task of mode `auto`: follows the shared Secret, takes the rotation's steps, and serves a leaf of its own.
#![allow(clippy::disallowed_methods, reason = "certificates are valid by the time of day")]

use std::sync::Arc;

use futures::StreamExt;
use gateherald_runtime::{
    backoff::Backoff, chain::chain, follow::News, kubernetes::Trouble, shutdown::Shutdown, tasks::TaskResult,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use rustls_pki_types::CertificateDer;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::info;

use crate::{
    authority::Authority,
    io::{
        registration::Live,
        secret::{Seen, Store, StoreError, Written},
    },
    lifetimes::Lifetimes,
    metrics::SecretWrite,
    rotation::{self, LOOK_AGAIN, Served, Signing, Step},
    serving::{Serving, Trust},
    slots::Slots,
};

/// The task and all it knows.
pub(crate) struct Authorities {
    store: Store,
    server_name: String,
    lifetimes: Lifetimes,
    serving: Serving,
    live: watch::Receiver<Option<Arc<Live>>>,
    seen: Seen,
    /// The resourceVersion of the own last write, until the watch shows it: older events must not undo it here.
    awaited: Option<String>,
    known: Option<Arc<Slots>>,
    served: Option<Served<Arc<Authority>>>,
    /// The leaf that is served; empty before the first.
    chain: Vec<CertificateDer<'static>>,
    /// Of the watch.
    watching: Trouble,
    /// With what the Secret holds.
    contents: Trouble,
    /// Of what is to be done about it.
    trouble: Trouble,
}

/// What to write, and why.
struct Change {
    why: SecretWrite,
    slots: Slots,
}

impl Authorities {
    pub(crate) fn new(
        store: Store,
        server_name: String,
        lifetimes: Lifetimes,
        serving: Serving,
        live: watch::Receiver<Option<Arc<Live>>>,
    ) -> Self {
        Self {
            store,
            server_name,
            lifetimes,
            serving,
            live,
            seen: Seen::Unknown,
            awaited: None,
            known: None,
            served: None,
            chain: Vec::new(),
            watching: Trouble::new("watch of the CA's Secret"),
            contents: Trouble::new("the CA's Secret"),
            trouble: Trouble::new("certificate"),
        }
    }

    /// Works until the process stops.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> TaskResult {
        let mut news = self.store.news();
        let mut live = self.live.clone();
        let mut backoff = Backoff::default();
        loop {
            let settled = tokio::select! {
                biased;
                // A write that is under way is left to the API server: it is done once or not at all.
                () = shutdown.stopping() => return Ok(()),
                settled = self.settle() => settled,
            };
            let wait = match settled {
                Ok(wait) => {
                    backoff.reset();
                    self.trouble.over();
                    wait.try_into().unwrap_or_default()
                }
                Err(error) => {
                    let reason = chain(error.as_ref());
                    self.trouble.note(&reason);
                    self.lacks(reason);
                    backoff.pause()
                }
            };
            tokio::select! {
                // First: the sender of `live` goes too when the process stops.
                biased;
                () = shutdown.stopping() => return Ok(()),
                Some(news) = news.next() => self.see(news),
                changed = live.changed() => changed?,
                () = sleep(wait) => {}
            }
        }
    }

    /// There is nothing better to serve than what is served.
    fn lacks(&self, reason: String) {
        let served = self.served.as_ref().map(|served| served.validity);
        self.serving.lacks(served, Timestamp::now(), reason);
    }

    fn see(&mut self, news: News<Secret>) {
        match news {
            News::All(all, _) => {
                self.awaited = None;
                match all.into_iter().next() {
                    Some(secret) => self.see_secret(secret),
                    None => self.seen = Seen::Missing,
                }
            }
            News::Applied(secret) => self.see_secret(secret),
            // Also while the own write is awaited: it is gone, or the event that brings it follows.
            News::Deleted(_) => self.seen = Seen::Missing,
            News::Connected => self.watching.over(),
            News::Failed(_, reason) => {
                self.watching.note(&reason);
                self.lacks(reason);
            }
            News::UpTo(_) | News::Interrupted => {}
        }
    }

    fn see_secret(&mut self, secret: Secret) {
        if self.awaited.is_some() && self.awaited != secret.metadata.resource_version {
            return;
        }
        self.awaited = None;
        self.seen = Seen::read(secret);
        if let Seen::Whole { slots, .. } = &self.seen {
            self.known = Some(Arc::clone(slots));
        }
    }

    /// Does what is due; returns after how long to look again, if nothing happens before.
    async fn settle(&mut self) -> anyhow::Result<SignedDuration> {
        // Before anything is asked of an API server that may not answer: the leaf is this process's own matter.
        let leaf = self.serve();
        let Due { step, fault } = self.due();
        match &fault {
            Some(fault) => self.contents.note(fault),
            None if matches!(self.seen, Seen::Whole { .. }) => self.contents.over(),
            None => {}
        }
        let (why, slots) = match step {
            Next::Wait(wait) => return Ok(wait.min(leaf?)),
            Next::Write(why, slots) => (why, slots),
        };
        let change = self.change(why, slots)?;
        let wait = self.write(change).await?;
        Ok(wait.min(self.serve()?))
    }

    fn due(&self) -> Due {
        let known = self.known.as_deref();
        let now = Timestamp::now();
        let recover = |readable: Option<Slots>, otherwise: SecretWrite| {
            let recovered = rotation::recover(known, readable, now, &self.lifetimes);
            Next::Write(if recovered.is_some() { SecretWrite::Restored } else { otherwise }, recovered)
        };
        match &self.seen {
            Seen::Unknown => Due { step: Next::Wait(LOOK_AGAIN), fault: None },
            Seen::Missing => Due { step: recover(None, SecretWrite::Created), fault: None },
            Seen::Broken { reason, readable, .. } => Due {
                step: recover(readable.clone(), SecretWrite::Replaced),
                fault: Some(format!("unusable, to be rewritten: {reason}")),
            },
            Seen::Whole { slots, .. } => self.rotate(slots, now),
        }
    }

    fn rotate(&self, slots: &Slots, now: Timestamp) -> Due {
        let live = self.live.borrow();
        let (live, instant) = (live.as_deref(), Instant::now());
        let age = |ca: &Arc<Authority>| live.and_then(|live| age(live, ca, instant));
        let mut fault = None;
        let step = match rotation::step(slots, live.map(|_| &age as _), now, &self.lifetimes) {
            Step::Wait(wait) => Next::Wait(wait),
            Step::Prepare => Next::Write(SecretWrite::Prepared, None),
            Step::Publish => Next::Write(SecretWrite::Published, slots.published(now)),
            Step::Promote => Next::Write(SecretWrite::Promoted, slots.promoted(now, &self.lifetimes)),
            Step::Drop => Next::Write(SecretWrite::Dropped, Some(slots.dropped())),
            Step::StartOver => {
                fault = Some(format!("the CA has expired at {}", slots.current.validity().not_after));
                Next::Write(SecretWrite::Replaced, None)
            }
        };
        Due { step, fault }
    }

    /// Completes a change by a new CA where it takes one.
    fn change(&self, why: SecretWrite, slots: Option<Slots>) -> Result<Change, StoreError> {
        if let Some(slots) = slots {
            return Ok(Change { why, slots });
        }
        let new = Arc::new(Authority::generate(Timestamp::now(), &self.lifetimes)?);
        let slots = match &self.seen {
            Seen::Whole { slots, .. } if why == SecretWrite::Prepared => slots.prepared(new),
            _ => Slots { current: new, second: None },
        };
        Ok(Change { why, slots })
    }

    async fn write(&mut self, Change { why, slots }: Change) -> anyhow::Result<SignedDuration> {
        let written = match &self.seen {
            Seen::Whole { secret, .. } | Seen::Broken { secret, .. } => {
                self.store.replace(secret, &slots).await
            }
            Seen::Missing | Seen::Unknown => self.store.create(&slots).await,
        };
        if let Written::Done(version) = written? {
            let not_after = slots.current.validity().not_after;
            info!(secret = self.store.name(), step = why.name(), %not_after, "CA written");
            self.serving.metrics.secret_written(why);
            (self.awaited, self.known) = (Some(version), Some(Arc::new(slots)));
        }
        // In both cases the watch brings what comes next.
        self.seen = Seen::Unknown;
        Ok(LOOK_AGAIN)
    }

    /// Signs a leaf if one is due, and says what must be trusted.
    fn serve(&mut self) -> anyhow::Result<SignedDuration> {
        let Some(known) = self.known.clone() else { return Ok(LOOK_AGAIN) };
        let now = Timestamp::now();
        self.serving.metrics.ca_expires(known.current.validity().not_after);
        let mut wait = LOOK_AGAIN;
        match self.signing(&known, now) {
            Signing::Keep(left) => wait = left,
            Signing::By(authority) => {
                let leaf = authority.issue(&self.server_name, now, &self.lifetimes)?;
                self.serving.serve(&leaf)?;
                self.chain = leaf.chain;
                self.served = Some(Served { authority, validity: leaf.validity });
                if let Signing::Keep(left) = self.signing(&known, now) {
                    wait = left;
                }
            }
        }
        let served = self.served.as_ref().map(|served| &served.authority);
        let trusted = rotation::trust(&known, served, now, &self.lifetimes);
        self.serving.trust(Trust {
            required: certificates(&trusted.required),
            retired: certificates(&trusted.retired),
            chain: self.chain.clone(),
        });
        Ok(wait)
    }

    fn signing(&self, known: &Slots, now: Timestamp) -> Signing<Arc<Authority>> {
        let live = self.live.borrow();
        let (live, instant) = (live.as_deref(), Instant::now());
        let age = |ca: &Arc<Authority>| live.and_then(|live| age(live, ca, instant));
        rotation::signing(known, self.served.as_ref(), live.map(|_| &age as _), now, &self.lifetimes)
    }
}

/// What is due, and what is wrong with the Secret that is there.
struct Due {
    step: Next,
    fault: Option<String>,
}

/// To wait, or a write, with a new CA if there are no slots.
enum Next {
    Wait(SignedDuration),
    Write(SecretWrite, Option<Slots>),
}

fn age(live: &Live, authority: &Authority, now: Instant) -> Option<SignedDuration> {
    let since = live.since(authority.certificate())?;
    SignedDuration::try_from(now.duration_since(since)).ok()
}

fn certificates(authorities: &[Arc<Authority>]) -> Vec<CertificateDer<'static>> {
    authorities.iter().map(|authority| authority.certificate().clone()).collect()
}

#[cfg(test)]
mod tests;
