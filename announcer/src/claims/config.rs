// SPDX-License-Identifier: Apache-2.0
//! The times that ownership is safe with, checked together before anything is done by them.

use std::time::Duration;

use super::balance::Rebalance;
use super::hold::OnOutage;

/// 250 ms: the least that the checks, the wire and a scheduler may cost together.
const LEAST_MARGIN: Duration = Duration::from_millis(250);
/// The longest D: a crash silences an address for as long, and clocks that differ by 1% cost a tenth of it.
const LONGEST: u32 = 3600;
/// 50 ms: more renewals per second than that only load the API server.
const SHORTEST_PERIOD: Duration = Duration::from_millis(50);

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name.
    pub node: String,
    /// Lease duration D in whole seconds: a Lease tells it to others as such.
    pub duration_seconds: u32,
    /// How often the session is renewed while it is needed.
    pub renew_period: Duration,
    /// What happens to held addresses while the API server is away.
    pub on_outage: OnOutage,
    /// Whether addresses move without need.
    pub rebalance: Rebalance,
    /// Whether an address that no announcer has had is probed for before the first word.
    pub probe_new: bool,
}

/// Why a [`Config`] cannot be safe. Each names the flags to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Three renewals and the margin must fit into D, or one lost renewal would silence the node.
    #[error(
        "--lease-duration {}s is too short for --renew-period {period:?}: 3 x renewPeriod + the margin of {margin:?} must fit into it; {remedy}",
        duration.as_secs()
    )]
    TooShort {
        /// D.
        duration: Duration,
        /// The renew period.
        period: Duration,
        /// What D loses to its margin.
        margin: Duration,
        /// What would do.
        remedy: Remedy,
    },
    /// More often than this only loads the API server.
    #[error("--renew-period {0:?} is too short: it must be at least {SHORTEST_PERIOD:?}")]
    PeriodTooShort(Duration),
    /// No D at all, or one that nobody waits for.
    #[error("--lease-duration {0}s is out of range: it must be between 1s and {LONGEST}s")]
    DurationOutOfRange(u32),
}

/// What would make a [`ConfigError::TooShort`] safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// The least D in seconds for this renew period; none when it would be out of range.
    pub seconds: Option<u32>,
    /// The longest renew period for this D.
    pub period: Duration,
}

impl std::fmt::Display for Remedy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(seconds) = self.seconds {
            write!(f, "lengthen --lease-duration to {seconds}s or ")?;
        }
        write!(f, "shorten --renew-period to {:?}", self.period)
    }
}

impl Config {
    /// Checks that the times fit together.
    ///
    /// Announcers whose times differ are safe beside each other as long as each one's own fit: nobody is judged by
    /// another's D.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(1..=LONGEST).contains(&self.duration_seconds) {
            return Err(ConfigError::DurationOutOfRange(self.duration_seconds));
        }
        if self.renew_period < SHORTEST_PERIOD {
            return Err(ConfigError::PeriodTooShort(self.renew_period));
        }
        if fits(self.renew_period, self.duration_seconds) {
            return Ok(());
        }
        let (duration, period, margin) = (self.duration(), self.renew_period, margin(self.duration()));
        let seconds = (self.duration_seconds..=LONGEST).find(|seconds| fits(period, *seconds));
        let longest = (duration.saturating_sub(margin) / 3).as_millis();
        let longest = Duration::from_millis(u64::try_from(longest).unwrap_or(u64::MAX));
        Err(ConfigError::TooShort { duration, period, margin, remedy: Remedy { seconds, period: longest } })
    }

    /// D.
    pub fn duration(&self) -> Duration {
        seconds(self.duration_seconds)
    }

    /// How long one renewal keeps this process fresh: D less the margin.
    pub fn freshness(&self) -> Duration {
        self.duration().saturating_sub(margin(self.duration()))
    }

    /// After how long another connection to the API server is tried beside one that does not come: of two servers one may be a
    /// black hole, and the other must be reached within the attempt.
    pub fn hedge_after(&self) -> Duration {
        (self.renew_period / 4).min(Duration::from_millis(250))
    }
}

fn fits(period: Duration, duration: u32) -> bool {
    let duration = seconds(duration);
    period * 3 + margin(duration) <= duration
}

fn seconds(n: u32) -> Duration {
    Duration::from_secs(u64::from(n))
}

/// What the holder's own clock, its checks and the wire may cost together: the larger of a tenth of D and 250 ms.
fn margin(duration: Duration) -> Duration {
    (duration / 10).max(LEAST_MARGIN)
}

#[cfg(test)]
mod tests;
