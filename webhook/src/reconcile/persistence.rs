// SPDX-License-Identifier: Apache-2.0
//! Whether somebody undoes what the reconciler writes to one Service, and how long it then keeps still.

use std::time::Duration;

use tokio::time::Instant;

use super::judgement::Need;

/// A change that is needed again later than this after it was written was not undone: the world moved on.
const REMEMBERED: Duration = Duration::from_mins(10);
/// So many times in a row one and the same change may be undone before the reconciler keeps still.
const PATIENCE: u32 = 2;
/// So many times in a row a Service may be changed so that it needs a change, whatever change that is: an opponent may undo
/// something else each time.
const PATIENCE_FOR_ANY: u32 = 6;
/// The first pause; each further change that is undone doubles it.
const FIRST_PAUSE: Duration = Duration::from_mins(2);
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_hours(2);

/// The history of one Service's last changes.
#[derive(Clone, Debug, Default)]
pub struct Persistence {
    /// The last change.
    same: Option<(Need, Tally)>,
    /// All of them.
    any: Option<Tally>,
}

/// Why a change is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The Gateway or the rules are not those of the last write: they are followed, however often they change.
    News,
    /// They are: so somebody changed the Service.
    Service,
}

/// Whether a needed change may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Write it.
    Write,
    /// Not before this time. `first`: nobody was told yet.
    Pause {
        /// When to try again.
        until: Instant,
        /// Whether this is news.
        first: bool,
    },
}

/// Writes in a row, and how many of them were undone.
#[derive(Clone, Debug)]
struct Tally {
    at: Instant,
    /// Whether it is known that the last write was undone.
    undone: bool,
    times_undone: u32,
    paused_until: Option<Instant>,
}

impl Persistence {
    /// The change was written.
    pub fn wrote(&mut self, need: Need, now: Instant) {
        let same =
            self.same.take().filter(|(written, tally)| tally.is_recent(now) && written.is_again(&need));
        self.same = Some((need, Tally::after(same.map(|(_, tally)| tally), now)));
        self.any = Some(Tally::after(self.any.take().filter(|tally| tally.is_recent(now)), now));
    }

    /// The change is needed (again).
    pub fn judge(&mut self, need: &Need, cause: Cause, now: Instant) -> Verdict {
        let any = self.any.as_mut().filter(|tally| tally.is_recent(now));
        let any = any.map_or(Verdict::Write, |tally| match cause {
            Cause::Service => tally.undone(PATIENCE_FOR_ANY, now),
            Cause::News => tally.verdict(now, false),
        });
        let same =
            self.same.as_mut().filter(|(written, tally)| tally.is_recent(now) && written.is_again(need));
        let same = same.map_or(Verdict::Write, |(_, tally)| tally.undone(PATIENCE, now));
        match (same, any) {
            // Whoever was told of the one knows.
            (Verdict::Pause { until, first }, Verdict::Pause { until: other, .. }) => {
                Verdict::Pause { until: until.max(other), first }
            }
            (pause @ Verdict::Pause { .. }, Verdict::Write) | (Verdict::Write, pause) => pause,
        }
    }
}

impl Tally {
    fn after(before: Option<Self>, now: Instant) -> Self {
        match before {
            Some(tally) => Self { at: now, undone: false, ..tally },
            None => Self { at: now, undone: false, times_undone: 0, paused_until: None },
        }
    }

    fn is_recent(&self, now: Instant) -> bool {
        let last = self.paused_until.map_or(self.at, |until| until.max(self.at));
        now < last + REMEMBERED
    }

    /// What was written last was undone; looking again does not count again.
    fn undone(&mut self, patience: u32, now: Instant) -> Verdict {
        let mut first = false;
        if !self.undone {
            self.undone = true;
            self.times_undone += 1;
            if self.times_undone >= patience {
                first = self.times_undone == patience;
                let doublings = (self.times_undone - patience).min(16);
                let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
                self.paused_until = Some(now + pause);
            }
        }
        self.verdict(now, first)
    }

    fn verdict(&self, now: Instant, first: bool) -> Verdict {
        match self.paused_until {
            Some(until) if now < until => Verdict::Pause { until, first },
            _ => Verdict::Write,
        }
    }
}

#[cfg(test)]
mod tests;
