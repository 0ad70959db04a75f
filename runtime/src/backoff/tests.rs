// SPDX-License-Identifier: Apache-2.0
use super::*;

#[test]
fn pauses_grow_to_the_longest_and_start_over() {
    let mut backoff = Backoff::default();
    let pauses: Vec<_> = (0..20).map(|_| backoff.pause()).collect();
    assert!(pauses[0] <= FIRST && pauses[0] >= FIRST.mul_f64(0.66));
    assert!(pauses.iter().all(|pause| *pause <= LONGEST));
    assert!(pauses[19] >= LONGEST.mul_f64(0.66));
    backoff.reset();
    assert!(backoff.pause() <= FIRST);
}

#[tokio::test(start_paused = true)]
async fn failures_close_together_slow_down_and_one_after_a_calm_starts_over() {
    let mut backoff = Backoff::default();
    for _ in 0..10 {
        let pause = backoff.pause();
        tokio::time::advance(pause).await;
    }
    assert!(backoff.pause() >= LONGEST.mul_f64(0.66));
    tokio::time::advance(LONGEST + CALM + FIRST).await;
    assert!(backoff.pause() <= FIRST);
}
