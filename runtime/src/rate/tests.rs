// SPDX-License-Identifier: Apache-2.0
use super::*;

#[test]
fn a_handful_comes_at_once_and_the_rest_evenly() {
    let (mut rate, begin) = (Rate::new(100, 3), Instant::now());
    let mut now = begin;
    let mut at = Vec::new();
    for _ in 0..7 {
        now = now.max(rate.next(now));
        rate.take(now);
        at.push((now - begin).as_millis());
    }
    assert_eq!(at, [0, 0, 0, 10, 20, 30, 40]);
    // After a rest it is as at first.
    now += Duration::from_secs(1);
    for _ in 0..3 {
        assert!(rate.next(now) <= now);
        rate.take(now);
    }
    assert!(rate.next(now) > now);
}

#[test]
fn a_rate_of_nothing_is_a_slow_one() {
    let (mut rate, now) = (Rate::new(0, 0), Instant::now());
    assert!(rate.next(now) <= now);
    rate.take(now);
    assert_eq!(rate.next(now), now + Duration::from_secs(1));
}
