// SPDX-License-Identifier: Apache-2.0
//! How many writes per second: evenly spread, after a first handful at once.

use std::time::Duration;

use tokio::time::Instant;

/// A leaky bucket.
#[derive(Clone, Debug)]
pub struct Rate {
    interval: Duration,
    burst: u32,
    /// When the bucket will be empty again.
    empty: Option<Instant>,
}

impl Rate {
    /// So many per second (at least one), of which `burst` may come at once.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second.max(1), burst: burst.max(1), empty: None }
    }

    /// So many per minute (at least one), of which `burst` may come at once.
    pub fn per_minute(count: u32, burst: u32) -> Self {
        Self { interval: Duration::from_mins(1) / count.max(1), burst: burst.max(1), empty: None }
    }

    /// When the next one may come; not later than `now`: at once.
    pub fn next(&self, now: Instant) -> Instant {
        let room = self.interval * (self.burst - 1);
        self.empty.and_then(|empty| empty.checked_sub(room)).unwrap_or(now)
    }

    /// One comes.
    pub fn take(&mut self, now: Instant) {
        self.empty = Some(self.empty.map_or(now, |empty| empty.max(now)) + self.interval);
    }
}

#[cfg(test)]
mod tests;
