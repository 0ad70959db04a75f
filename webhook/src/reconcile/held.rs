// SPDX-License-Identifier: Apache-2.0
//! One Service in the reconciler's view.

use std::sync::Arc;

use gateherald_model::{injection::Outcome, owner::Gateway};
use tokio::time::Instant;

use super::{
    CONFIRM, GatewayKey, Seen,
    judgement::Need,
    notice::{Kind, Notice},
    order::{Done, Order},
    persistence::{Cause, Persistence, Verdict},
};

/// Where a Service stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing is to be done.
    Resting,
    /// It waits for a decision.
    Queued,
    /// A write is under way; `dirty`: something happened meanwhile.
    Writing {
        /// The object that is written.
        uid: String,
        /// Whether it has to be decided about again.
        dirty: bool,
    },
    /// It was written, by us or by somebody else, and the event that shows it has not come.
    Awaiting,
}

/// What is known of one Service, and what was done and told about it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) seen: Seen,
    pub(super) seen_at: Instant,
    pub(super) gateway: Option<GatewayKey>,
    pub(super) phase: Phase,
    /// When it is looked at again by itself.
    pub(super) wake: Option<Instant>,
    /// Before this nothing is written, because the last write failed.
    pub(super) retry: Option<Instant>,
    pub(super) failures: u32,
    pub(super) persistence: Persistence,
    /// What the last write was decided with, if it was not forgotten since.
    pub(super) written_with: Option<Basis>,
    /// The version that the last write replaced. Whoever shows it again is late: it says nothing about what became of the
    /// write.
    pub(super) replaced: Option<String>,
    /// Before this the needed change is not written, because somebody undoes it.
    pub(super) paused: Option<Instant>,
    /// The change that it needs.
    pub(super) drift: Option<Need>,
    /// Whether its first judgement is where news begins.
    baseline: bool,
    told: Option<Outcome>,
    suspected: Option<(Outcome, Instant)>,
}

/// What a write is decided with, beside the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Basis {
    gateway: Option<Arc<Gateway>>,
}

/// What of it is counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    pub(super) drifted: bool,
    pub(super) backed_off: bool,
}

impl Held {
    pub(super) fn flags(&self) -> Flags {
        Flags { drifted: self.drift.is_some(), backed_off: self.paused.is_some() }
    }

    pub(super) fn new(seen: Seen, now: Instant, baseline: bool) -> Self {
        Self {
            seen,
            seen_at: now,
            gateway: None,
            phase: Phase::Resting,
            wake: None,
            retry: None,
            failures: 0,
            persistence: Persistence::default(),
            written_with: None,
            replaced: None,
            paused: None,
            drift: None,
            baseline,
            told: None,
            suspected: None,
        }
    }

    /// It was written.
    pub(super) fn wrote(&mut self, order: &Order, done: &Done, now: Instant) {
        self.failures = 0;
        self.persistence.wrote(order.need.clone(), now);
        let gateway = order.gateway.as_ref().map(|(_, gateway)| Arc::clone(gateway));
        self.written_with = Some(Basis { gateway });
        self.replaced = done.changed(order).then(|| order.version.clone());
    }

    /// Whether it is shown as it was before the last write.
    pub(super) fn is_late(&self) -> bool {
        self.replaced.as_ref() == Some(&self.seen.version)
    }

    /// Whether a change that is needed with this Gateway may be written.
    pub(super) fn judge(&mut self, need: &Need, gateway: Option<&Arc<Gateway>>, now: Instant) -> Verdict {
        if self.is_late() {
            return Verdict::Write;
        }
        let same = self.written_with.as_ref().is_some_and(|basis| basis.gateway.as_ref() == gateway);
        self.persistence.judge(need, if same { Cause::Service } else { Cause::News }, now)
    }

    /// It is not (or no longer) for the reconciler.
    pub(super) fn ignore(&mut self) {
        self.settled();
        self.suspected = None;
    }

    /// It needs nothing.
    pub(super) fn settled(&mut self) {
        self.drift = None;
        self.paused = None;
        self.baseline = false;
    }

    /// It needs this; whether that is news for people.
    pub(super) fn drifts(&mut self, need: &Need) -> bool {
        let known = self.drift.as_ref().is_some_and(|drift| drift.is_again(need));
        self.drift = Some(need.clone());
        !known && !std::mem::take(&mut self.baseline)
    }

    /// Until when nothing is written, if that is in the future.
    pub(super) fn rests_until(&self, now: Instant) -> Option<Instant> {
        self.retry.into_iter().chain(self.paused).filter(|rest| now < *rest).max()
    }

    /// Tells an outcome that became a bad one and stays so. When to look again, if that is not sure yet.
    pub(super) fn note(&mut self, outcome: Outcome, now: Instant, out: &mut Vec<Notice>) -> Option<Instant> {
        let Some(kind) = Kind::of(outcome) else {
            self.told = Some(outcome);
            self.suspected = None;
            return None;
        };
        if self.baseline {
            self.told = Some(outcome);
        }
        if self.told == Some(outcome) {
            return None;
        }
        // What a Service's own annotations tell needs no confirmation.
        let wait = if kind == Kind::AnnotationsFull { now } else { now + CONFIRM };
        let at = match self.suspected {
            Some((suspected, at)) if suspected == outcome => at,
            _ => wait,
        };
        if now < at {
            self.suspected = Some((outcome, at));
            return Some(at);
        }
        self.suspected = None;
        self.told = Some(outcome);
        out.push(Notice::new(&self.seen.metadata, kind, self.gateway.as_ref(), &[]));
        None
    }
}
