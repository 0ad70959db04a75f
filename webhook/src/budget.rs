// SPDX-License-Identifier: Apache-2.0
//! How much time a review may take: what the API server's `?timeout=` leaves.

use std::time::Duration;

use tokio::time::Instant;

/// The API server's default, for callers that don't say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// What an answer needs to get back to the API server in time.
const RESERVE: Duration = Duration::from_millis(500);
/// A live look-up of a Gateway never takes longer.
const LONGEST_LOOKUP: Duration = Duration::from_secs(1);
/// A wait for the first list of Gateways never takes longer: then another replica should be tried.
const LONGEST_SYNC_WAIT: Duration = Duration::from_secs(1);

/// The time of one review.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// When the request's head was read.
    pub started: Instant,
    timeout: Duration,
}

impl Budget {
    /// From the request's query. A timeout that cannot be read counts as absent.
    pub fn of(query: Option<&str>, started: Instant) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let timeout = pairs.filter(|(key, _)| *key == "timeout").find_map(|(_, value)| duration(value));
        Self { started, timeout: timeout.unwrap_or(DEFAULT_TIMEOUT) }
    }

    /// Until when the body must have arrived: as soon as the caller has given up, it need not come any more.
    pub fn body_deadline(&self, longest: Duration) -> Instant {
        self.started + self.timeout.min(longest)
    }

    /// Until when a live look-up may take.
    pub fn lookup_deadline(&self, now: Instant) -> Instant {
        self.latest().min(now + LONGEST_LOOKUP)
    }

    /// Until when to wait for the first list of Gateways: half of the time, for another attempt elsewhere.
    pub fn sync_deadline(&self) -> Instant {
        (self.started + self.timeout / 2).min(self.started + LONGEST_SYNC_WAIT)
    }

    fn latest(&self) -> Instant {
        self.started + self.timeout.saturating_sub(RESERVE)
    }
}

/// A duration as Go prints it: `3s`, `1m30s`, `500ms`, `1.5s`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[end..];
    }
    (total > Duration::ZERO).then_some(total)
}

#[cfg(test)]
mod tests;
