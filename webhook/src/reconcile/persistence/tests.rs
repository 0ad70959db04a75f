// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::reconcile::judgement::Reason;

const MIN: Duration = Duration::from_mins(1);

fn need(value: &str) -> Need {
    let patch = json!({ "metadata": { "labels": { "a": value }, "annotations": {} } });
    Need { patch, reason: Reason::Injected, keys: vec!["a".into()] }
}

#[test]
fn a_change_may_be_undone_once_and_after_that_it_rests_longer_and_longer() {
    let (mut persistence, mut now) = (Persistence::default(), Instant::now());
    assert_eq!(persistence.judge(&need("1"), Cause::Service, now), Verdict::Write);
    persistence.wrote(need("1"), now);
    assert_eq!(persistence.judge(&need("1"), Cause::Service, now), Verdict::Write);
    for (round, minutes) in [2, 4, 8, 16, 32, 64, 120, 120].into_iter().enumerate() {
        persistence.wrote(need("1"), now);
        let until = now + MIN * minutes;
        assert_eq!(
            persistence.judge(&need("1"), Cause::Service, now),
            Verdict::Pause { until, first: round == 0 }
        );
        // Looking again does not count.
        assert_eq!(
            persistence.judge(&need("1"), Cause::Service, now + MIN),
            Verdict::Pause { until, first: false }
        );
        now = until;
        assert_eq!(persistence.judge(&need("1"), Cause::Service, now), Verdict::Write);
    }
}

#[test]
fn another_change_or_one_much_later_begins_anew() {
    let (mut persistence, now) = (Persistence::default(), Instant::now());
    for _ in 0..2 {
        persistence.wrote(need("1"), now);
        persistence.judge(&need("1"), Cause::Service, now);
    }
    assert!(matches!(persistence.judge(&need("1"), Cause::Service, now), Verdict::Pause { .. }));
    assert_eq!(persistence.judge(&need("2"), Cause::News, now), Verdict::Write);
    // It was kept for long: whoever changes it now is no enemy.
    let later = now + FIRST_PAUSE + REMEMBERED;
    assert_eq!(persistence.judge(&need("1"), Cause::Service, later), Verdict::Write);
    persistence.wrote(need("1"), later);
    assert_eq!(persistence.judge(&need("1"), Cause::Service, later), Verdict::Write);
}

/// What an opponent lets the reconciler write: each entry is a need and the seconds that pass before it.
fn writes(opponent: impl IntoIterator<Item = (u8, u64)>, until: Duration) -> Vec<Duration> {
    let (mut persistence, begin) = (Persistence::default(), Instant::now());
    let (mut now, mut at) = (begin, Vec::new());
    for (number, seconds) in opponent {
        now += Duration::from_secs(seconds);
        if now >= begin + until {
            break;
        }
        let need = need(&number.to_string());
        if persistence.judge(&need, Cause::Service, now) == Verdict::Write {
            persistence.wrote(need, now);
            at.push(now - begin);
        }
    }
    at
}

proptest! {
    #[test]
    fn whatever_an_opponent_does_writes_stay_few(
        opponent in prop::collection::vec((0_u8..4, 0_u64..900), 1..300),
    ) {
        let at = writes(opponent, MIN * 100_000);
        for (index, first) in at.iter().enumerate() {
            let within = at[index..].iter().take_while(|at| **at < *first + REMEMBERED).count();
            // Six, and one after each of the first two pauses.
            prop_assert!(within <= 8, "{within} writes within ten minutes of {first:?}: {at:?}");
        }
    }

    #[test]
    fn an_opponent_that_does_not_rest_gets_two_dozen_writes_a_day(
        opponent in prop::collection::vec((0_u8..4, 1_u64..120), 1..30),
    ) {
        let at = writes(opponent.into_iter().cycle(), MIN * 60 * 24);
        prop_assert!(at.len() <= 25, "{at:?}");
    }
}

#[test]
fn a_gateway_that_changes_all_the_time_is_followed() {
    let (mut persistence, mut now) = (Persistence::default(), Instant::now());
    for round in 0..100 {
        let need = need(&round.to_string());
        assert_eq!(persistence.judge(&need, Cause::News, now), Verdict::Write, "round {round}");
        persistence.wrote(need, now);
        now += Duration::from_secs(1);
    }
    // But not where somebody undoes what is written: what is new then waits too.
    let mut verdicts = (0..12).map(|round| {
        let need = need(&format!("undone {round}"));
        let verdict = persistence.judge(&need, Cause::Service, now);
        persistence.wrote(need, now);
        verdict
    });
    assert_eq!(verdicts.position(|verdict| verdict != Verdict::Write), Some(5));
    drop(verdicts);
    let new = persistence.judge(&need("new"), Cause::News, now);
    assert!(matches!(new, Verdict::Pause { first: false, .. }), "{new:?}");
}
