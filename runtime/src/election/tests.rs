// SPDX-License-Identifier: Apache-2.0
use tokio::time::{Instant, advance, timeout};

use super::*;

thread_local! {
    static START: Instant = Instant::now();
}

/// Follows tokio's paused clock, each test on a thread of its own.
fn paused() -> Duration {
    START.with(Instant::elapsed)
}

fn leadership() -> (watch::Sender<Option<Duration>>, Leadership) {
    START.with(|_| ());
    let (term, until) = watch::channel(None);
    (term, Leadership { until, acting: Arc::new(watch::Sender::new(())), clock: paused, limit: S * 10 })
}

const S: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn nobody_acts_past_the_end_of_a_term_even_if_nobody_says_that_it_ended() {
    let (term, leadership) = leadership();
    assert!(leadership.act().is_none());
    term.send_replace(Some(paused() + S * 20));
    assert!(leadership.gained().await);
    drop(leadership.act().unwrap());
    advance(S * 20).await;
    assert!(leadership.act().is_none());
    leadership.lost().await;
}

#[tokio::test(start_paused = true)]
async fn a_term_that_is_extended_is_not_lost_until_its_new_end() {
    let (term, leadership) = leadership();
    let begin = paused();
    term.send_replace(Some(begin + S * 20));
    let lost = tokio::spawn({
        let leadership = leadership.clone();
        async move {
            leadership.lost().await;
            paused()
        }
    });
    tokio::task::yield_now().await;
    advance(S * 10).await;
    term.send_replace(Some(begin + S * 30));
    let at = lost.await.unwrap();
    assert!(at >= begin + S * 30, "{begin:?} to {at:?}");
}

#[tokio::test(start_paused = true)]
async fn the_release_waits_for_what_is_under_way() {
    let (term, leadership) = leadership();
    term.send_replace(Some(paused() + S * 20));
    let (one, two) = (leadership.act().unwrap(), leadership.act().unwrap());
    let acting = Arc::clone(&leadership.acting);
    drop(one);
    assert!(timeout(S, acting.closed()).await.is_err());
    drop(two);
    acting.closed().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_an_election_that_is_over_learns_it() {
    let (term, leadership) = leadership();
    drop(term);
    assert!(!leadership.gained().await);
    leadership.lost().await;
}
