// SPDX-License-Identifier: Apache-2.0
//! The pause between attempts of everything that is tried for ever.

use std::time::Duration;

use tokio::time::Instant;

/// Pause after the first failure.
const FIRST: Duration = Duration::from_millis(200);
/// No pause is longer: what comes back must be noticed within seconds.
const LONGEST: Duration = Duration::from_secs(5);

/// So long after the last pause the next failure is a new one.
const CALM: Duration = Duration::from_secs(30);

/// Endless pauses: 200 ms doubling to 5 s, each shortened by up to a third at random so that replicas spread.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    paused_until: Option<Instant>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::between(FIRST, LONGEST)
    }
}

impl Backoff {
    /// Pauses that double from `first` to `longest`.
    pub fn between(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first, paused_until: None }
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// The pause after one more failure.
    pub fn pause(&mut self) -> Duration {
        let now = Instant::now();
        if self.paused_until.is_some_and(|until| now > until + CALM) {
            self.reset();
        }
        let pause = self.next.mul_f64(rand::random_range(2.0 / 3.0..=1.0));
        self.next = (self.next * 2).min(self.longest);
        self.paused_until = Some(now + pause);
        pause
    }
}

#[cfg(test)]
mod tests;
