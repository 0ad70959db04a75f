// SPDX-License-Identifier: Apache-2.0
use super::*;

const S: Duration = Duration::from_secs(1);

#[test]
fn a_thousand_objects_with_one_problem_are_one_line_a_minute_with_their_number() {
    let (mut troubles, mut now) = (Troubles::new("patches"), Instant::now());
    let mut lines = Vec::new();
    // 1,000 a minute, for ten minutes, one in two of another kind.
    for number in 0..10_000 {
        let problem = if number % 2 == 0 { Problem::Forbidden } else { Problem::Refused };
        lines.extend(troubles.failed(Some(problem), now));
        now += S * 60 / 1000;
    }
    assert_eq!(lines.len(), 20, "{lines:?}");
    assert_eq!((lines[0], lines[1], lines[2]), (1, 1, 500));
}

#[test]
fn successes_among_failures_are_not_the_end_of_them() {
    let (mut troubles, mut now) = (Troubles::new("patches"), Instant::now());
    assert!(!troubles.succeeded(now), "there was no trouble");
    let mut lines = 0;
    for _ in 0..600 {
        lines += usize::from(troubles.failed(Some(Problem::Refused), now).is_some());
        assert!(!troubles.succeeded(now));
        now += S;
    }
    assert_eq!(lines, 10);
    now += CALM;
    assert!(troubles.succeeded(now) && !troubles.succeeded(now), "told once");
    // What fails after that is news.
    assert_eq!(troubles.failed(Some(Problem::Refused), now), Some(1));
    assert_eq!(troubles.failed(None, now), Some(1));
}
