// SPDX-License-Identifier: Apache-2.0
//! Leader election: one process of several acts, by a Lease (`coordination.k8s.io/v1`).
//!
//! [`candidate`] holds the rules, without I/O. [`Election`] is the task that follows them; [`Leadership`] is what the work
//! that only a leader may do asks before each step.
//!
//! ```text
//!  Election ── term ──▶ Leadership ── act() ──▶ Permit, held while one write is under way
//!     └──── waits until the last Permit is gone, then releases the Lease ◀────┘
//! ```

use std::{sync::Arc, time::Duration};

use clap::Args;
use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use crate::{
    backoff::Backoff,
    follow::{News, Span, Subject, follow},
    kubernetes::Trouble,
    shutdown::Shutdown,
    tasks::TaskResult,
};
use candidate::{Candidate, Draft, Step, Times, TimesError};
use lease::{Failure, LeaseStore, RESOURCE};

pub mod candidate;
mod lease;

/// Flags of the election.
#[derive(Args, Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ElectionArgs {
    /// Seconds after which a silent leader is replaced
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub leader_lease_duration: u32,

    /// Seconds between the renewals of the leader's Lease; at most a third of its duration
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=1200))]
    pub leader_renew_period: u32,
}

impl ElectionArgs {
    /// The times, if they fit together.
    pub fn times(self) -> Result<Times, TimesError> {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Times::new(seconds(self.leader_lease_duration), seconds(self.leader_renew_period))
    }
}

/// What is elected for, and who stands.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace of Lease and owner.
    pub namespace: String,
    /// Name of the Lease.
    pub lease: &'static str,
    /// `ConfigMap` that owns the Lease.
    pub owner: String,
    /// This replica's name for people: its pod's. The holder is this name with something random behind it.
    pub name: String,
    /// Field manager of the writes.
    pub field_manager: &'static str,
    /// Durations.
    pub times: Times,
}

/// Metrics of an election; clones share their values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    leader: Gauge,
    transitions: Counter,
}

impl Metrics {
    /// Adds the metrics to a registry that is prefixed with the program's name.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        metrics.add_to(registry);
        metrics
    }

    /// The same for metrics that are in use already.
    pub fn add_to(&self, registry: &mut Registry) {
        registry.register("leader", "Whether this replica leads", self.leader.clone());
        let help = "How often this replica began or ceased to lead";
        registry.register("leader_transitions", help, self.transitions.clone());
    }
}

/// Reads `CLOCK_BOOTTIME`: time spent suspended counts, since the others' time went on.
fn boot_time() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    // Counts up from zero at boot, so the conversions only fail on a broken kernel.
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

type Clock = fn() -> Duration;

/// The right to act, as the election grants it; clones share it.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// Until when this process leads.
    until: watch::Receiver<Option<Duration>>,
    acting: Arc<watch::Sender<()>>,
    clock: Clock,
    limit: Duration,
}

/// A step of the leader's is under way; the Lease is not released meanwhile. Keep it no longer than one bounded write.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    _acting: watch::Receiver<()>,
}

impl Leadership {
    /// Waits until this process leads; `false` when it never will again because the election is over. Cancel-safe.
    pub async fn gained(&self) -> bool {
        let mut until = self.until.clone();
        until.wait_for(Option::is_some).await.is_ok()
    }

    /// Waits until this process does not lead (any more). Cancel-safe.
    pub async fn lost(&self) {
        let mut term = self.until.clone();
        loop {
            let Some(until) = *term.borrow_and_update() else { return };
            let left = until.saturating_sub((self.clock)());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                changed = term.changed() => if changed.is_err() { return },
                () = sleep(left) => {}
            }
        }
    }

    /// What one step may take, so that it is over before anybody else may begin.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// The right to do one thing now. Asked directly before it is done: a process that was frozen meanwhile gets none.
    pub fn act(&self) -> Option<Permit> {
        // Before the look: whoever ends the term then waits for this permit.
        let permit = Permit { _acting: self.acting.subscribe() };
        let until = *self.until.borrow();
        until.filter(|until| (self.clock)() < *until).map(|_| permit)
    }
}

/// The task that stands for election and tells [`Leadership`].
#[derive(Debug)]
pub struct Election {
    settings: Settings,
    candidate: Candidate,
    store: LeaseStore,
    term: watch::Sender<Option<Duration>>,
    acting: Arc<watch::Sender<()>>,
    metrics: Metrics,
    clock: Clock,
    told: String,
    /// Whether a write was begun of which nobody knows what became of it.
    unsure: bool,
}

impl Election {
    /// Sends nothing yet.
    pub fn new(client: Client, settings: Settings, metrics: Metrics) -> (Self, Leadership) {
        let (term, until) = watch::channel(None);
        let acting = Arc::new(watch::Sender::new(()));
        let limit = settings.times.margin();
        let leadership = Leadership { until, acting: Arc::clone(&acting), clock: boot_time, limit };
        let me = format!("{}_{:08x}", settings.name, rand::random::<u32>());
        let Settings { namespace, lease, owner, field_manager, times, .. } = &settings;
        let store = LeaseStore::new(client, (namespace, lease, owner), field_manager, times.attempt());
        let candidate = Candidate::new(me, *times);
        let told = String::new();
        let election =
            Self { settings, candidate, store, term, acting, metrics, clock: boot_time, told, unsure: false };
        (election, leadership)
    }

    /// Stands for election until the process drains; then gives the Lease back.
    pub async fn run(mut self, shutdown: Shutdown) -> TaskResult {
        let api = self.store.leases.clone();
        let only = Some(self.settings.lease.to_owned());
        // Nothing depends on the order or the age of its events: see `Candidate::heard`.
        let mut news = follow(
            Subject { api, name: RESOURCE, only, pauses: Backoff::default(), span: Span::long() },
            None,
        );
        let mut trouble = Trouble::new("election");
        loop {
            let now = (self.clock)();
            self.candidate.expire(now);
            self.publish("it could not renew its Lease in time");
            let step = self.candidate.next(now);
            let pause = if let Step::Wait(until) = step { self.pause(until, now) } else { Duration::ZERO };
            tokio::select! {
                biased;
                () = shutdown.draining() => break,
                () = self.attempt(&step, &mut trouble), if !matches!(step, Step::Wait(_)) => {}
                () = sleep(pause), if matches!(step, Step::Wait(_)) => {}
                Some(news) = news.next(), if matches!(step, Step::Wait(_)) => self.hear(&news),
            }
        }
        self.resign().await;
        Ok(())
    }

    /// Never past the end of a term. Those who wait for another's Lease spread.
    fn pause(&self, until: Duration, now: Duration) -> Duration {
        let pause = until.saturating_sub(now);
        match self.candidate.leads_until() {
            Some(end) => pause.min(end.saturating_sub(now)),
            None => pause + self.settings.times.retry().mul_f64(rand::random_range(0.0..=0.5)),
        }
    }

    async fn attempt(&mut self, step: &Step, trouble: &mut Trouble) {
        let sent = (self.clock)();
        // This may be cancelled at any await, after the request was sent.
        self.unsure |= matches!(step, Step::Write(_));
        let result = match step {
            Step::Look => self.store.look().await.map(|seen| self.candidate.saw((self.clock)(), seen)),
            Step::Write(draft) => self.write(draft).await.map(|seen| self.candidate.wrote(sent, seen)),
            Step::Wait(_) => Ok(()),
        };
        match result {
            Ok(()) => {
                self.unsure = false;
                trouble.over();
            }
            Err(Failure::Conflict) => {
                self.unsure = false;
                self.candidate.lost_the_race();
            }
            Err(Failure::Failed(reason)) => {
                trouble.note(&reason);
                self.candidate.failed((self.clock)());
            }
        }
    }

    async fn write(&mut self, draft: &Draft) -> Result<candidate::Seen, Failure> {
        let lease = self.settings.times.lease();
        self.store.write(self.candidate.me(), lease, draft).await
    }

    fn hear(&mut self, news: &News<Lease>) {
        let lease = match news {
            News::All(all, _) => all.first(),
            News::Applied(lease) => Some(lease),
            News::Deleted(_) => None,
            // Its own attempts tell of trouble; the watch only makes the others faster.
            News::UpTo(_) | News::Connected | News::Interrupted | News::Failed(..) => return,
        };
        if self.candidate.heard((self.clock)(), lease.map(lease::read))
            && let Some(lease) = lease
        {
            self.store.heard(lease);
        }
    }

    /// Lets the work know, and says what is news.
    fn publish(&mut self, reason: &str) {
        let until = self.candidate.leads_until();
        let before = self.term.send_replace(until);
        let lease = self.settings.lease;
        if before.is_some() != until.is_some() {
            self.metrics.leader.set(i64::from(until.is_some()));
            self.metrics.transitions.inc();
        }
        let holder = self.candidate.holder();
        match (before, until) {
            (None, Some(_)) => info!(lease, holder, "this replica leads"),
            (Some(_), None) if holder.is_empty() => warn!(lease, reason, "this replica leads no longer"),
            (Some(_), None) => warn!(lease, holder, "this replica leads no longer: another one does"),
            (None, None) if !holder.is_empty() && holder != self.told => {
                info!(lease, holder, "another replica leads");
            }
            _ => {}
        }
        if !holder.is_empty() && holder != self.told {
            self.told = holder.to_owned();
        }
    }

    async fn resign(&mut self) {
        let led = self.candidate.resign();
        self.term.send_replace(None);
        if led {
            self.metrics.leader.set(0);
            self.metrics.transitions.inc();
        } else if !self.unsure {
            return;
        }
        self.acting.closed().await;
        let lease = self.settings.lease;
        match self.release().await {
            Ok(true) => info!(lease, "released"),
            Ok(false) => info!(lease, "another replica leads already"),
            Err(Failure::Conflict) => info!(lease, "not released: somebody else wrote it just now"),
            Err(Failure::Failed(reason)) => warn!(lease, reason, "not released: it runs out by itself"),
        }
    }

    /// Whether it was ours to release. A write that was under way may have arrived: then the Lease is read first.
    async fn release(&mut self) -> Result<bool, Failure> {
        if let Some(replaces) = self.candidate.held() {
            match self.store.release(&replaces).await {
                Err(Failure::Conflict) => {}
                result => return result.map(|()| true),
            }
        }
        let seen = self.store.look().await?;
        self.candidate.saw((self.clock)(), seen);
        let Some(replaces) = self.candidate.held() else { return Ok(false) };
        self.store.release(&replaces).await.map(|()| true)
    }
}

#[cfg(test)]
mod tests;
