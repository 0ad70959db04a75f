// SPDX-License-Identifier: Apache-2.0
//! The pause between attempts of everything that is tried for ever.

use std::time::Duration;

/// Pause after the first failure.
const FIRST: Duration = Duration::from_millis(200);
/// No pause is longer: what comes back must be noticed within seconds.
const LONGEST: Duration = Duration::from_secs(5);

/// Endless pauses: 200 ms doubling to 5 s, each shortened by up to a third at random so that replicas spread.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::between(FIRST, LONGEST)
    }
}

impl Backoff {
    /// Pauses that double from `first` to `longest`.
    pub fn between(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// The pause after one more failure.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause.mul_f64(rand::random_range(2.0 / 3.0..=1.0))
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.pause())
    }
}

impl kube::runtime::utils::Backoff for Backoff {
    fn reset(&mut self) {
        Self::reset(self);
    }
}

#[cfg(test)]
mod tests;
