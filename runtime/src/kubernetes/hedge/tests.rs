// SPDX-License-Identifier: Apache-2.0
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::time::Instant;
use tower::service_fn;

use super::*;

const AFTER: Duration = Duration::from_millis(250);
const WITHIN: Duration = Duration::from_secs(1);
/// In milliseconds: an hour.
const NEVER: u64 = 3_600_000;

/// Dials servers of which the n-th attempt meets the n-th: each takes so many milliseconds, and then accepts or refuses. The result is the
/// number of the attempt that stood, after how long, and how many there were.
async fn dial(servers: &'static [(u64, bool)]) -> (Result<usize, String>, Duration, usize) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let connector = service_fn(move |_: Uri| {
        let number = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            let (takes, accepts) = servers[number.min(servers.len() - 1)];
            sleep(Duration::from_millis(takes)).await;
            if accepts { Ok(number) } else { Err(io::Error::from(io::ErrorKind::ConnectionRefused)) }
        }
    });
    let start = Instant::now();
    let mut hedged = Hedged::new(connector, AFTER, WITHIN);
    let outcome = hedged.call(Uri::from_static("https://api")).await.map_err(|error| error.to_string());
    (outcome, start.elapsed(), count.load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn a_quick_server_is_dialled_once() {
    let (outcome, took, attempts) = dial(&[(3, true)]).await;
    assert_eq!((outcome, attempts), (Ok(0), 1));
    assert!(took < AFTER);
}

#[tokio::test(start_paused = true)]
async fn a_black_hole_costs_a_quarter_of_a_second_and_the_next_twice_that() {
    let (outcome, took, _) = dial(&[(NEVER, true), (NEVER, true), (0, true)]).await;
    assert_eq!(outcome, Ok(2));
    assert!(took >= AFTER * 3 && took < AFTER * 4, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn on_a_busy_machine_the_first_slow_handshake_is_used() {
    let (outcome, took, attempts) = dial(&[(600, true)]).await;
    assert_eq!((outcome, attempts), (Ok(0), 2));
    assert!(took < Duration::from_millis(700), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_at_once_unless_another_attempt_is_under_way() {
    let (outcome, took, attempts) = dial(&[(0, false)]).await;
    assert!(outcome.is_err() && took < AFTER && attempts == 1);
    let (outcome, ..) = dial(&[(400, true), (0, false)]).await;
    assert_eq!(outcome, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn whoever_meets_only_black_holes_is_told_in_time() {
    let (outcome, took, attempts) = dial(&[(NEVER, true)]).await;
    assert_eq!((outcome, attempts), (Err("no connection within 1s".to_owned()), 3));
    assert!(took <= WITHIN + AFTER, "{took:?}");
}
