// SPDX-License-Identifier: Apache-2.0
//! The task of mode `auto`: follows the shared Secret, takes the rotation's steps, and serves a leaf of its own.

use std::{pin::pin, sync::Arc};

use anyhow::bail;
use futures::StreamExt;
use gateherald_runtime::{
    backoff::Backoff, chain::chain, kubernetes::Trouble, shutdown::Shutdown, tasks::TaskResult,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher::Event;
use rustls_pki_types::CertificateDer;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::{info, warn};

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
            trouble: Trouble::new("certificate"),
        }
    }

    /// Works until the process stops.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> TaskResult {
        let mut events = pin!(self.store.events());
        let mut live = self.live.clone();
        let mut backoff = Backoff::default();
        loop {
            let wait = match self.settle().await {
                Ok(wait) => {
                    backoff.reset();
                    wait.try_into().unwrap_or_default()
                }
                Err(error) => {
                    self.failed(&chain(error.as_ref()));
                    backoff.pause()
                }
            };
            tokio::select! {
                // First: the sender of `live` goes too when the process stops.
                biased;
                () = shutdown.stopping() => return Ok(()),
                event = events.next() => match event {
                    Some(Ok(event)) => self.see(event),
                    Some(Err(reason)) => self.failed(&reason),
                    None => bail!("the watch of the CA's Secret ended"),
                },
                changed = live.changed() => changed?,
                () = sleep(wait) => {}
            }
        }
    }

    fn failed(&mut self, reason: &str) {
        self.trouble.note(reason);
        let served = self.served.as_ref().map(|served| served.validity);
        self.serving.lacks(served, Timestamp::now(), reason.to_owned());
    }

    fn see(&mut self, event: Event<Secret>) {
        match event {
            Event::Init => (self.seen, self.awaited) = (Seen::Unknown, None),
            Event::InitApply(secret) | Event::Apply(secret) => self.see_secret(secret),
            Event::InitDone => {
                self.trouble.over();
                if matches!(self.seen, Seen::Unknown) {
                    self.seen = Seen::Missing;
                }
            }
            // Also while the own write is awaited: it is gone, or the event that brings it follows.
            Event::Delete(_) => self.seen = Seen::Missing,
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
        let changed = match self.due() {
            Due::Change(change) => {
                let change = self.change(change)?;
                self.write(change).await
            }
            Due::Wait(wait) => Ok(wait),
        };
        // Whatever became of the Secret: the leaf is this process's own matter.
        let leaf = self.serve()?;
        Ok(changed?.min(leaf))
    }

    fn due(&self) -> Due {
        let known = self.known.as_deref();
        let now = Timestamp::now();
        match &self.seen {
            Seen::Unknown => Due::Wait(LOOK_AGAIN),
            Seen::Missing => {
                let recovered = rotation::recover(known, None, now, &self.lifetimes);
                let why = if recovered.is_some() { SecretWrite::Restored } else { SecretWrite::Created };
                Due::Change((why, recovered))
            }
            Seen::Broken { reason, readable, .. } => {
                warn!(secret = self.store.name(), reason, "the CA's Secret is unusable and is rewritten");
                let recovered = rotation::recover(known, readable.clone(), now, &self.lifetimes);
                let why = if recovered.is_some() { SecretWrite::Restored } else { SecretWrite::Replaced };
                Due::Change((why, recovered))
            }
            Seen::Whole { slots, .. } => self.rotate(slots, now),
        }
    }

    fn rotate(&self, slots: &Slots, now: Timestamp) -> Due {
        let live = self.live.borrow();
        let (live, instant) = (live.as_deref(), Instant::now());
        let age = |ca: &Arc<Authority>| live.and_then(|live| age(live, ca, instant));
        let (why, changed) = match rotation::step(slots, live.map(|_| &age as _), now, &self.lifetimes) {
            Step::Wait(wait) => return Due::Wait(wait),
            Step::Prepare => (SecretWrite::Prepared, None),
            Step::Publish => (SecretWrite::Published, slots.published(now)),
            Step::Promote => (SecretWrite::Promoted, slots.promoted(now, &self.lifetimes)),
            Step::Drop => (SecretWrite::Dropped, Some(slots.dropped())),
            Step::StartOver => {
                warn!(secret = self.store.name(), not_after = %slots.current.validity().not_after, "the CA has expired");
                (SecretWrite::Replaced, None)
            }
        };
        Due::Change((why, changed))
    }

    /// Completes a change by a new CA where it takes one.
    fn change(&self, (why, slots): (SecretWrite, Option<Slots>)) -> Result<Change, StoreError> {
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
            self.trouble.over();
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

/// What is due: to wait, or a change, with a new CA if there are no slots.
enum Due {
    Wait(SignedDuration),
    Change((SecretWrite, Option<Slots>)),
}

fn age(live: &Live, authority: &Authority, now: Instant) -> Option<SignedDuration> {
    let since = live.since(authority.certificate())?;
    SignedDuration::try_from(now.duration_since(since)).ok()
}

fn certificates(authorities: &[Arc<Authority>]) -> Vec<CertificateDer<'static>> {
    authorities.iter().map(|authority| authority.certificate().clone()).collect()
}
