// SPDX-License-Identifier: Apache-2.0
//! Time as the ownership rules measure it: by two clocks, so that neither a suspended machine nor an adjusted clock
//! can make anybody believe in a right for longer than it lasts.

use std::time::Duration;

/// One instant on both clocks. They are read together, the boot clock first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// `CLOCK_BOOTTIME`: goes on while the machine is suspended, is slewed by NTP.
    pub boot: Duration,
    /// `CLOCK_MONOTONIC_RAW`: is never slewed, stands still while the machine is suspended.
    pub raw: Duration,
}

impl Now {
    /// How long ago `earlier` was at the most: for one's own rights.
    pub fn at_most_since(self, earlier: Self) -> Duration {
        let (boot, raw) = self.since(earlier);
        boot.max(raw)
    }

    /// How long ago `earlier` was at the least: for others' silence.
    pub fn at_least_since(self, earlier: Self) -> Duration {
        let (boot, raw) = self.since(earlier);
        boot.min(raw)
    }

    /// The later of two instants of one process.
    #[must_use]
    pub fn or_later(self, other: Self) -> Self {
        Self { boot: self.boot.max(other.boot), raw: self.raw.max(other.raw) }
    }

    fn since(self, earlier: Self) -> (Duration, Duration) {
        (self.boot.saturating_sub(earlier.boot), self.raw.saturating_sub(earlier.raw))
    }
}

/// The end of a right: it is over as soon as either clock says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    start: Now,
    length: Duration,
}

impl Deadline {
    /// The deadline `length` after `start`.
    pub fn after(start: Now, length: Duration) -> Self {
        Self { start, length }
    }

    /// The instant from which it counts: of a session, when the newest renewal was sent that came back in the watch.
    pub fn start(&self) -> Now {
        self.start
    }

    /// How long the right has been over; zero while it lasts.
    pub fn over_for(&self, now: Now) -> Duration {
        now.at_most_since(self.start).saturating_sub(self.length)
    }

    /// Whether the right is over.
    pub fn passed(&self, now: Now) -> bool {
        now.at_most_since(self.start) >= self.length
    }

    /// What is left of the right.
    pub fn left(&self, now: Now) -> Duration {
        self.length.saturating_sub(now.at_most_since(self.start))
    }
}
