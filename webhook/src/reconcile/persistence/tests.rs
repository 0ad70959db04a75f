// SPDX-License-Identifier: Apache-2.0
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
    assert_eq!(persistence.judge(&need("1"), now), Verdict::Write);
    persistence.wrote(need("1"), now);
    assert_eq!(persistence.judge(&need("1"), now), Verdict::Write);
    for (round, minutes) in [2, 4, 8, 16, 32, 64, 120, 120].into_iter().enumerate() {
        persistence.wrote(need("1"), now);
        let until = now + MIN * minutes;
        assert_eq!(persistence.judge(&need("1"), now), Verdict::Pause { until, first: round == 0 });
        // Looking again does not count.
        assert_eq!(persistence.judge(&need("1"), now + MIN), Verdict::Pause { until, first: false });
        now = until;
        assert_eq!(persistence.judge(&need("1"), now), Verdict::Write);
    }
}

#[test]
fn another_change_or_one_much_later_begins_anew() {
    let (mut persistence, now) = (Persistence::default(), Instant::now());
    for _ in 0..2 {
        persistence.wrote(need("1"), now);
        persistence.judge(&need("1"), now);
    }
    assert!(matches!(persistence.judge(&need("1"), now), Verdict::Pause { .. }));
    assert_eq!(persistence.judge(&need("2"), now), Verdict::Write);
    // It was kept for long: whoever changes it now is no enemy.
    let later = now + FIRST_PAUSE + REMEMBERED;
    assert_eq!(persistence.judge(&need("1"), later), Verdict::Write);
    persistence.wrote(need("1"), later);
    assert_eq!(persistence.judge(&need("1"), later), Verdict::Write);
}
