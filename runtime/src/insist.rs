// SPDX-License-Identifier: Apache-2.0
//! Trying again until it works or the time is over: for commands that run once, where a daemon would have a backoff.

use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep};
use tracing::info;

/// The time is over.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("after {} s: {trouble}", .patience.as_secs())]
pub struct GaveUp {
    /// How long it was tried.
    pub patience: Duration,
    /// What the last attempt said.
    pub trouble: String,
}

/// Makes attempts, `pause` apart, until one succeeds; at least one. Each new trouble is logged once.
pub async fn insist<T>(
    patience: Duration,
    pause: Duration,
    attempt: impl AsyncFn() -> Result<T, String>,
) -> Result<T, GaveUp> {
    let start = Instant::now();
    let mut told = String::new();
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(trouble) if start.elapsed() >= patience => return Err(GaveUp { patience, trouble }),
            Err(trouble) => {
                if trouble != told {
                    info!("not yet: {trouble}");
                    told = trouble;
                }
                sleep(pause).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_is_tried_until_it_works() {
        let tries = Cell::new(0);
        let attempt = async || {
            tries.set(tries.get() + 1);
            if tries.get() == 3 { Ok("done") } else { Err("not there".to_owned()) }
        };
        assert_eq!(insist(10 * SECOND, SECOND, attempt).await, Ok("done"));
        assert_eq!(tries.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_trouble_is_told_when_the_time_is_over_and_one_attempt_is_made_in_any_case() {
        let tries = Cell::new(0);
        let attempt = async || {
            tries.set(tries.get() + 1);
            Err::<(), _>(format!("trouble {}", tries.get()))
        };
        let error = insist(3 * SECOND, SECOND, attempt).await.unwrap_err();
        assert_eq!((tries.get(), error.to_string().as_str()), (4, "after 3 s: trouble 4"));
        tries.set(0);
        assert!(insist(Duration::ZERO, SECOND, attempt).await.is_err());
        assert_eq!(tries.get(), 1);
    }
}
