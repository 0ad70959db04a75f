// SPDX-License-Identifier: Apache-2.0
use super::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn times() -> Times {
    Times::new(s(30), s(10)).unwrap()
}

fn candidate() -> Candidate {
    Candidate::new("me".into(), times())
}

fn seen(version: u32, holder: &str) -> Seen {
    let record = Record {
        holder: holder.into(),
        duration: Some(s(30)),
        transitions: 4,
        renewed: format!("renewal {version}"),
    };
    Seen { uid: "u".into(), version: version.to_string(), record }
}

fn draft(version: u32, transitions: i32, renewal: bool) -> Step {
    Step::Write(Draft { replaces: Some(("u".into(), version.to_string())), transitions, renewal })
}

/// A candidate that has led since a write that was sent at `at`.
fn leader(at: u64) -> Candidate {
    let mut leader = candidate();
    leader.saw(s(at), None);
    leader.wrote(s(at), seen(1, "me"));
    leader
}

#[test]
fn times_must_fit_together() {
    assert_eq!(Times::new(s(30), s(11)), Err(TimesError::TooShort { lease: s(30), renew: s(11) }));
    assert_eq!(Times::new(s(0), s(0)), Err(TimesError::NotSeconds(s(0))));
    let millis = Duration::from_millis(1500);
    assert_eq!(Times::new(millis, s(0)), Err(TimesError::NotSeconds(millis)));
    assert_eq!(Times::new(s(3), s(0)), Err(TimesError::NoPause));
    // The first renewal may fail twice, each attempt taking its whole time, before the right ends.
    let times = times();
    assert!(times.renew() + times.attempt() + times.attempt() <= times.right());
    // What was sent just before the right ended arrives before somebody else may act.
    assert!(times.right() + times.attempt() < times.lease());
}

#[test]
fn a_lease_is_read_before_it_is_written_and_created_when_it_is_missing() {
    let mut candidate = candidate();
    assert_eq!(candidate.next(s(100)), Step::Look);
    candidate.saw(s(100), None);
    let create = Step::Write(Draft { replaces: None, transitions: 0, renewal: false });
    assert_eq!(candidate.next(s(100)), create);
    assert_eq!(candidate.leads_until(), None);
    candidate.wrote(s(100), seen(1, "me"));
    assert_eq!(candidate.leads_until(), Some(s(120)));
}

#[test]
fn a_leader_renews_and_its_right_counts_from_when_the_write_was_sent() {
    let mut leader = leader(100);
    assert_eq!(leader.next(s(101)), Step::Wait(s(110)));
    assert_eq!(leader.next(s(110)), draft(1, 4, true));
    // The answer comes late; the right does not begin with it.
    leader.wrote(s(110), seen(2, "me"));
    assert_eq!(leader.leads_until(), Some(s(130)));
    assert_eq!(leader.next(s(119)), Step::Wait(s(120)));
}

#[test]
fn a_leader_that_cannot_renew_stops_before_anybody_may_start() {
    let (mut leader, mut other) = (leader(100), candidate());
    // The other one sees the last renewal as soon as it is written, which is the worst case.
    other.saw(s(100), Some(seen(1, "me")));
    other = Candidate { me: "other".into(), ..other };
    for now in [110, 112, 114, 119] {
        leader.failed(s(now));
        leader.expire(s(now));
        assert_eq!(leader.leads_until(), Some(s(120)));
    }
    leader.expire(s(120));
    assert_eq!(leader.leads_until(), None);
    assert_eq!(leader.next(s(122)), Step::Look);
    for now in 100..130 {
        assert!(!matches!(other.next(s(now)), Step::Write(_)), "at {now}");
    }
    assert_eq!(other.next(s(130)), draft(1, 5, false));
}

#[test]
fn a_holder_that_renews_is_never_silent_however_its_clock_goes() {
    let mut candidate = candidate();
    for round in 0..20 {
        let now = s(100 + 10 * u64::from(round));
        candidate.saw(now, Some(seen(round, "other")));
        assert_eq!(candidate.next(now), Step::Wait(now + s(10)));
        assert_eq!(candidate.next(now + s(10)), Step::Look);
    }
    // The same record again is no renewal, even in another version of the object.
    let last = s(290);
    candidate.saw(s(300), Some(Seen { version: "99".into(), ..seen(19, "other") }));
    candidate.saw(s(310), Some(Seen { version: "100".into(), ..seen(19, "other") }));
    assert_eq!(candidate.next(s(319)), Step::Wait(last + s(30)));
    assert_eq!(candidate.next(last + s(30)), draft(100, 5, false));
}

#[test]
fn the_holders_own_duration_counts() {
    for (duration, free) in [(Some(s(60)), 160), (Some(s(5)), 105), (None, 130)] {
        let mut candidate = candidate();
        let mut other = seen(1, "other");
        other.record.duration = duration;
        candidate.saw(s(100), Some(other.clone()));
        candidate.saw(s(free - 1), Some(other));
        assert_eq!(candidate.next(s(free - 1)), Step::Wait(s(free)));
        assert!(matches!(candidate.next(s(free)), Step::Write(_)));
    }
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let mut candidate = candidate();
    candidate.saw(s(100), Some(seen(1, "other")));
    assert!(matches!(candidate.next(s(101)), Step::Wait(_)));
    assert!(candidate.heard(s(101), Some(seen(2, ""))));
    assert_eq!(candidate.next(s(101)), draft(2, 5, false), "no look is needed");
}

#[test]
fn a_leader_that_is_heard_to_renew_costs_no_look() {
    let mut candidate = candidate();
    candidate.saw(s(100), Some(seen(1, "other")));
    assert!(candidate.heard(s(109), Some(seen(2, "other"))));
    assert!(!candidate.heard(s(110), Some(seen(2, "other"))), "that is known");
    assert_eq!(candidate.next(s(111)), Step::Wait(s(119)));
    assert_eq!(candidate.next(s(119)), Step::Look, "the watch may be stuck");
    // What it wrote in its own name before is not what it leads by.
    assert!(!candidate.heard(s(111), Some(seen(1, "me"))));
    assert_eq!(candidate.next(s(111)), Step::Look);
}

#[test]
fn a_deleted_lease_is_not_a_released_one() {
    let mut other = candidate();
    other.saw(s(100), Some(seen(1, "leader")));
    other.heard(s(101), None);
    other.saw(s(108), None);
    other.saw(s(118), None);
    // It may have been renewed just before it was seen to be gone.
    assert_eq!(other.next(s(137)), Step::Look);
    other.saw(s(137), None);
    assert_eq!(other.next(s(137)), Step::Wait(s(138)));
    let create = Step::Write(Draft { replaces: None, transitions: 4, renewal: false });
    assert_eq!(other.next(s(138)), create);
    // Its holder puts it back without a pause.
    let mut leader = leader(100);
    leader.heard(s(101), None);
    leader.saw(s(108), None);
    assert_eq!(leader.leads_until(), Some(s(120)));
    let again = Step::Write(Draft { replaces: None, transitions: 4, renewal: true });
    assert_eq!(leader.next(s(108)), again);
}

#[test]
fn a_leader_that_was_replaced_stops_when_it_sees_it() {
    let mut leader = leader(100);
    assert!(!leader.heard(s(101), Some(seen(1, "me"))));
    assert!(matches!(leader.next(s(105)), Step::Wait(_)), "its own write is no news");
    assert!(!leader.heard(s(104), Some(seen(2, "other"))), "it is read");
    assert_eq!(leader.next(s(105)), Step::Look);
    assert_eq!(leader.leads_until(), Some(s(120)), "until it is known what the news is");
    leader.saw(s(105), Some(seen(2, "other")));
    assert_eq!(leader.leads_until(), None);
    assert_eq!(leader.holder(), "other");
    assert_eq!(leader.held(), None);
}

#[test]
fn an_edit_by_hand_costs_a_look_but_no_leadership() {
    let mut leader = leader(100);
    leader.lost_the_race();
    assert_eq!(leader.next(s(110)), Step::Look);
    leader.saw(s(110), Some(seen(7, "me")));
    assert_eq!(leader.next(s(110)), draft(7, 4, true));
}

#[test]
fn a_write_without_an_answer_is_looked_after_and_built_upon() {
    let mut candidate = candidate();
    candidate.saw(s(100), None);
    candidate.failed(s(105));
    assert_eq!(candidate.next(s(106)), Step::Wait(s(107)));
    assert_eq!(candidate.next(s(107)), Step::Look);
    // It had been written: there is no right yet, but nobody else's either.
    candidate.saw(s(107), Some(seen(3, "me")));
    assert_eq!(candidate.leads_until(), None);
    assert_eq!(candidate.next(s(107)), draft(3, 4, true));
}

#[test]
fn a_frozen_leaders_late_answer_gives_no_right() {
    let mut leader = leader(100);
    // Sent at 110, frozen, answered at 200.
    leader.wrote(s(110), seen(2, "me"));
    leader.expire(s(200));
    assert_eq!(leader.leads_until(), None);
    assert_eq!(leader.next(s(200)), Step::Look);
}

#[test]
fn a_resigning_leader_releases_what_it_holds() {
    let mut leader = leader(100);
    assert_eq!(leader.held(), Some(("u".into(), "1".into())));
    assert!(leader.resign());
    assert_eq!(leader.leads_until(), None);
    assert!(!leader.resign());
    assert!(!candidate().resign());
}
