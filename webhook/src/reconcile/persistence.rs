// SPDX-License-Identifier: Apache-2.0
//! Whether somebody undoes what the reconciler writes to one Service, and how long it then keeps still.

use std::time::Duration;

use tokio::time::Instant;

use super::judgement::Need;

/// A change that is needed again later than this after it was written was not undone: the world moved on.
const REMEMBERED: Duration = Duration::from_mins(10);
/// So many times in a row a change may be undone before the reconciler keeps still.
const PATIENCE: u32 = 2;
/// The first pause; each further change that is undone doubles it.
const FIRST_PAUSE: Duration = Duration::from_mins(2);
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_hours(2);

/// The history of one Service's last change.
#[derive(Clone, Debug, Default)]
pub struct Persistence {
    written: Option<Written>,
}

#[derive(Clone, Debug)]
struct Written {
    need: Need,
    at: Instant,
    /// Whether it is known that this write was undone.
    undone: bool,
    times_undone: u32,
    paused_until: Option<Instant>,
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

impl Persistence {
    /// The change was written.
    pub fn wrote(&mut self, need: Need, now: Instant) {
        let before = self.written.take().filter(|written| written.is_about(&need, now));
        self.written = Some(match before {
            Some(written) => Written { at: now, undone: false, ..written },
            None => Written { need, at: now, undone: false, times_undone: 0, paused_until: None },
        });
    }

    /// The change is needed (again).
    pub fn judge(&mut self, need: &Need, now: Instant) -> Verdict {
        let Some(written) = self.written.as_mut().filter(|written| written.is_about(need, now)) else {
            return Verdict::Write;
        };
        let mut first = false;
        if !written.undone {
            written.undone = true;
            written.times_undone += 1;
            if written.times_undone >= PATIENCE {
                first = written.times_undone == PATIENCE;
                let doublings = (written.times_undone - PATIENCE).min(16);
                let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
                written.paused_until = Some(now + pause);
            }
        }
        match written.paused_until {
            Some(until) if now < until => Verdict::Pause { until, first },
            _ => Verdict::Write,
        }
    }
}

impl Written {
    fn is_about(&self, need: &Need, now: Instant) -> bool {
        let last = self.paused_until.map_or(self.at, |until| until.max(self.at));
        now < last + REMEMBERED && self.need.is_again(need)
    }
}

#[cfg(test)]
mod tests;
