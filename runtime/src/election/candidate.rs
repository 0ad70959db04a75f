// SPDX-License-Identifier: Apache-2.0
//! The rules of the election, without I/O: what one candidate does next, and until when it may act.
//!
//! Times are readings of one local clock. Another candidate's clock is never looked at: a holder is silent when its record
//! has not changed for its whole lease duration *as observed here*, so clocks may differ by any amount.
//!
//! A leader's right begins when its successful write was sent and ends a third of the lease duration before anybody else may
//! take the Lease, so writes that are under way when it ends have that third to arrive.

use std::time::Duration;

/// How long a Lease lasts and how often it is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    lease: Duration,
    renew: Duration,
}

/// What a Lease says, reduced to what the rules read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; empty when it was released.
    pub holder: String,
    /// For how long, from the last renewal; `None` when the record does not say.
    pub duration: Option<Duration>,
    /// How often it changed hands.
    pub transitions: i32,
    /// The holder's own time of renewal. Only compared for equality: it makes each renewal a change.
    pub renewed: String,
}

/// A Lease as it was read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which object of that name.
    pub uid: String,
    /// Its resourceVersion.
    pub version: String,
    /// What it says.
    pub record: Record,
}

/// A write that is to be tried once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The uid and resourceVersion that it replaces; `None` creates the Lease.
    pub replaces: Option<(String, String)>,
    /// The new number of changes of hands.
    pub transitions: i32,
    /// Whether the holder stays the same, and with it the time of acquisition.
    pub renewal: bool,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read the Lease.
    Look,
    /// Write it.
    Write(Draft),
    /// Nothing before this time.
    Wait(Duration),
}

/// Why times do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimesError {
    /// A right must outlast a failed renewal and its repetition.
    #[error(
        "a lease of {lease:?} must be at least three times as long as the pause between renewals ({renew:?})"
    )]
    TooShort {
        /// The lease duration.
        lease: Duration,
        /// The pause between renewals.
        renew: Duration,
    },
    /// A Lease holds whole seconds.
    #[error("a lease lasts whole seconds, at least one, not {0:?}")]
    NotSeconds(Duration),
    /// There is no pause between renewals.
    #[error("the pause between renewals must not be zero")]
    NoPause,
}

impl Times {
    /// Checks that they fit together.
    pub fn new(lease: Duration, renew: Duration) -> Result<Self, TimesError> {
        if lease.subsec_nanos() != 0 || lease.is_zero() || i32::try_from(lease.as_secs()).is_err() {
            Err(TimesError::NotSeconds(lease))
        } else if renew.is_zero() {
            Err(TimesError::NoPause)
        } else if lease < renew * 3 {
            Err(TimesError::TooShort { lease, renew })
        } else {
            Ok(Self { lease, renew })
        }
    }

    /// After so long without a change of its record a holder is silent.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// From one renewal to the next, and between two looks at another's Lease.
    pub fn renew(&self) -> Duration {
        self.renew
    }

    /// How long one successful write gives the right to act.
    pub fn right(&self) -> Duration {
        self.lease * 2 / 3
    }

    /// From the end of a right to when somebody else may take the Lease.
    pub fn margin(&self) -> Duration {
        self.lease / 3
    }

    /// What one attempt at the API server may take: a failed renewal leaves time for another one.
    pub fn attempt(&self) -> Duration {
        self.renew / 2
    }

    /// The pause after a failed attempt.
    pub fn retry(&self) -> Duration {
        self.renew / 5
    }
}

/// In the place of a time of renewal: the Lease was deleted.
const GONE: &str = "gone";

/// What is known of the Lease.
#[derive(Clone, Debug)]
enum Known {
    /// Nothing, or nothing that a write may build upon: it has to be read.
    No,
    /// There is none.
    Missing,
    /// This one.
    Lease(Seen),
}

/// A holder that was seen, and since when its record has not changed.
#[derive(Clone, Debug)]
struct Observed {
    record: Record,
    since: Duration,
}

/// One candidate.
#[derive(Clone, Debug)]
pub struct Candidate {
    me: String,
    times: Times,
    known: Known,
    /// The last holder's record; it stays when its Lease is deleted, because that does not stop the holder.
    observed: Option<Observed>,
    /// When the write was sent that the right rests on.
    renewed: Option<Duration>,
    /// Not before this time.
    pause: Duration,
    /// When to look again.
    look: Duration,
}

impl Candidate {
    /// `me` must be unique per process: what another process left behind is not ours.
    pub fn new(me: String, times: Times) -> Self {
        let (known, zero) = (Known::No, Duration::ZERO);
        Self { me, times, known, observed: None, renewed: None, pause: zero, look: zero }
    }

    /// Who this is.
    pub fn me(&self) -> &str {
        &self.me
    }

    /// Until when this candidate may act; `None` when it does not lead.
    pub fn leads_until(&self) -> Option<Duration> {
        self.renewed.map(|sent| sent + self.times.right())
    }

    /// Who holds the Lease, as far as is known; empty when nobody does.
    pub fn holder(&self) -> &str {
        match &self.known {
            Known::Lease(seen) => &seen.record.holder,
            Known::No | Known::Missing => "",
        }
    }

    /// What to do at `now`.
    pub fn next(&self, now: Duration) -> Step {
        if now < self.pause {
            return Step::Wait(self.pause);
        }
        let seen = match &self.known {
            Known::No => return Step::Look,
            Known::Missing => return self.create(now),
            Known::Lease(seen) => seen,
        };
        if let Some(sent) = self.renewed {
            return when(now, sent + self.times.renew, self.replace(seen));
        }
        let free = self.free_at();
        if now >= free { self.replace(seen) } else { when(now, free.min(self.look), Step::Look) }
    }

    /// A look showed this.
    pub fn saw(&mut self, now: Duration, seen: Option<Seen>) {
        self.look = now + self.times.renew;
        let Some(seen) = seen else {
            // Somebody may have renewed it just before it went: the silence begins now.
            if let Some(observed) = &self.observed {
                let gone = Record { renewed: GONE.into(), ..observed.record.clone() };
                self.observe(now, &gone);
            }
            self.known = Known::Missing;
            return;
        };
        self.observe(now, &seen.record);
        if seen.record.holder != self.me {
            self.renewed = None;
        }
        self.known = Known::Lease(seen);
    }

    /// A write that was sent at `sent` succeeded.
    pub fn wrote(&mut self, sent: Duration, seen: Seen) {
        self.observe(sent, &seen.record);
        self.renewed = Some(sent);
        self.known = Known::Lease(seen);
    }

    /// An attempt failed, or nobody knows whether it did: whatever is there now has to be read first.
    pub fn failed(&mut self, now: Duration) {
        self.lose_sight();
        self.pause = now + self.times.retry();
    }

    /// Somebody else wrote first: read what it is, at once.
    pub fn lost_the_race(&mut self) {
        self.lose_sight();
    }

    /// The watch says that this is the Lease now (or was it lately), or that it is gone; whether that counts as read.
    ///
    /// Of another holder's Lease it does: it may be old, but then it only makes that one's silence begin later, and whatever is
    /// written upon it is refused. What concerns the own right is read.
    pub fn heard(&mut self, now: Duration, seen: Option<Seen>) -> bool {
        let known = match &self.known {
            Known::Lease(known) => Some(known.version.as_str()),
            Known::Missing => None,
            Known::No => return false,
        };
        if known == seen.as_ref().map(|seen| seen.version.as_str()) {
            return false;
        }
        let others = seen.filter(|seen| self.renewed.is_none() && seen.record.holder != self.me);
        let counts = others.is_some();
        if counts {
            self.saw(now, others);
        } else {
            self.lose_sight();
        }
        counts
    }

    /// The right to act is over when its time is.
    pub fn expire(&mut self, now: Duration) {
        if self.leads_until().is_some_and(|until| now >= until) {
            self.renewed = None;
            self.lose_sight();
        }
    }

    /// Ends the right to act; whether there was one.
    pub fn resign(&mut self) -> bool {
        self.renewed.take().is_some()
    }

    /// The uid and resourceVersion to release, if this candidate is known to hold the Lease.
    pub fn held(&self) -> Option<(String, String)> {
        match &self.known {
            Known::Lease(seen) if seen.record.holder == self.me => {
                Some((seen.uid.clone(), seen.version.clone()))
            }
            Known::Lease(_) | Known::No | Known::Missing => None,
        }
    }

    fn lose_sight(&mut self) {
        self.known = Known::No;
    }

    fn observe(&mut self, now: Duration, record: &Record) {
        if self.observed.as_ref().is_none_or(|observed| observed.record != *record) {
            self.observed = Some(Observed { record: record.clone(), since: now });
        }
    }

    /// When whoever was seen last can no longer act.
    fn free_at(&self) -> Duration {
        let Some(Observed { record, since }) = &self.observed else { return Duration::ZERO };
        if record.holder.is_empty() || record.holder == self.me {
            return Duration::ZERO;
        }
        *since + record.duration.unwrap_or(self.times.lease)
    }

    /// A Lease that was deleted was not released: its holder may not know yet.
    fn create(&self, now: Duration) -> Step {
        let transitions = self.observed.as_ref().map_or(0, |observed| observed.record.transitions);
        let draft = Draft { replaces: None, transitions, renewal: self.renewed.is_some() };
        let free = if self.renewed.is_some() { now } else { self.free_at() };
        if now >= free { Step::Write(draft) } else { when(now, free.min(self.look), Step::Look) }
    }

    fn replace(&self, seen: &Seen) -> Step {
        let renewal = seen.record.holder == self.me;
        Step::Write(Draft {
            replaces: Some((seen.uid.clone(), seen.version.clone())),
            transitions: seen.record.transitions.saturating_add(i32::from(!renewal)),
            renewal,
        })
    }
}

fn when(now: Duration, at: Duration, step: Step) -> Step {
    if now >= at { step } else { Step::Wait(at) }
}

#[cfg(test)]
mod tests;
