// SPDX-License-Identifier: Apache-2.0
//! The two clocks that freshness and silence are measured by, read together; and the time of day, which nothing is measured by.
#![allow(clippy::disallowed_methods, reason = "the one place of this crate that reads the time of day")]

use crate::claims::time::Now;
use k8s_openapi::jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Reads `CLOCK_BOOTTIME` and `CLOCK_MONOTONIC_RAW`.
///
/// The first counts time spent suspended, the second is free of NTP's slewing: neither alone is enough for the rules.
pub fn now() -> Now {
    Now { boot: read(ClockId::Boottime), raw: read(ClockId::MonotonicRaw) }
}

/// The time of day, for the timestamps of Leases, which people read and no announcer does.
pub fn time_of_day() -> Timestamp {
    Timestamp::now()
}

/// Waits so long; for ever without a duration. Cancel-safe.
pub async fn wait(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    // Both clocks count up from zero at boot, so the conversions only fail on a broken kernel.
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
