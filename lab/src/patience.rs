// SPDX-License-Identifier: Apache-2.0
//! Waiting for a condition, with a deadline and a reason.

use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep};

/// How long tests wait for what should take a moment: generous, since the machine may be busy.
pub const LONG: Duration = Duration::from_mins(1);

/// The pause between two looks.
const STEP: Duration = Duration::from_millis(20);

/// Looks again and again until `look` finds something.
///
/// # Errors
/// When `within` has passed (the message names `what` and the last reason), or when `look` fails for good.
pub async fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<Look<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + within;
    loop {
        let reason = match look().await? {
            Look::Found(value) => return Ok(value),
            Look::NotYet(reason) => reason,
        };
        if Instant::now() >= deadline {
            bail!("{what}: not within {within:?}; last seen: {reason}");
        }
        sleep(STEP).await;
    }
}

/// As [`until`], on the calling thread; whether `look` found it `within` the time.
pub(crate) fn block_until(
    within: Duration,
    mut look: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<bool> {
    let mut waited = Duration::ZERO;
    while !look()? {
        if waited >= within {
            return Ok(false);
        }
        std::thread::sleep(STEP);
        waited += STEP;
    }
    Ok(true)
}

/// One look of [`until`].
#[derive(Debug)]
pub enum Look<T> {
    /// What was waited for.
    Found(T),
    /// Not there; what is there instead.
    NotYet(String),
}
