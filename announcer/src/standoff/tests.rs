// SPDX-License-Identifier: Apache-2.0
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use proptest::prelude::*;

use super::*;
use crate::claims::time::Deadline;

const V: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 99, 130));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
const STRANGER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xe]);

/// So many milliseconds after some beginning, on both clocks.
fn at(ms: u64) -> Now {
    let since = Duration::from_secs(1000) + Duration::from_millis(ms);
    Now { boot: since, raw: since }
}

fn rights(renewed: Now, titles: &[IpAddr]) -> Rights {
    Rights {
        deadline: Some(Deadline::after(renewed, Duration::from_secs(4))),
        titles: Arc::new(titles.iter().copied().collect::<BTreeSet<_>>()),
        ..Rights::default()
    }
}

fn conflict(standoffs: &mut Standoffs, ms: u64) -> Option<Step> {
    standoffs.conflict(V, STRANGER, at(ms))
}

fn titled(_: IpAddr) -> bool {
    true
}

/// After a first conflict and the defence against it, one second later.
fn defended() -> Standoffs {
    let mut standoffs = Standoffs::default();
    conflict(&mut standoffs, 0);
    assert_eq!(standoffs.confirm(&rights(at(900), &[V]), at(1000)), [(V, Step::Defend)]);
    standoffs
}

#[test]
fn a15_an_address_is_silent_until_a_write_sent_after_the_conflict_has_come_back() {
    let mut standoffs = Standoffs::default();
    assert_eq!(standoffs.refusal(V), None);
    assert_eq!(conflict(&mut standoffs, 0), Some(Step::Suspend));
    assert_eq!(standoffs.refusal(V), Some(Refusal::Suspended));
    assert_eq!(standoffs.claimant(V), Some(STRANGER));
    // Sent before the conflict, however late it comes back.
    assert_eq!(standoffs.confirm(&rights(at(0), &[V]), at(500)), []);
    assert_eq!(standoffs.refusal(V), Some(Refusal::Suspended));
    // The other host announces itself in several frames: that is one conflict.
    assert_eq!(conflict(&mut standoffs, 600), None);
    assert_eq!(standoffs.confirm(&rights(at(1), &[V]), at(700)), [(V, Step::Defend)]);
    assert_eq!(standoffs.refusal(V), None);
}

#[test]
fn nothing_but_a_confirmation_ends_a_suspension() {
    let mut standoffs = Standoffs::default();
    conflict(&mut standoffs, 0);
    assert_eq!(standoffs.next_deadline(), None);
    assert_eq!(standoffs.due(at(3_600_000), titled), []);
    assert_eq!(standoffs.confirm(&Rights::default(), at(3_600_000)), []);
    assert_eq!(standoffs.refusal(V), None, "without title there is nothing to dispute");
}

#[test]
fn a_title_that_was_lost_meanwhile_is_not_defended() {
    let mut standoffs = Standoffs::default();
    conflict(&mut standoffs, 0);
    assert_eq!(standoffs.confirm(&rights(at(900), &[V6]), at(1000)), []);
    assert_eq!(standoffs.iter().count(), 0);
}

#[test]
fn a_host_that_persists_silences_the_address_and_somebody_is_asked_every_minute() {
    let mut standoffs = defended();
    assert_eq!(conflict(&mut standoffs, 10_999), Some(Step::Silence));
    assert_eq!(standoffs.refusal(V), Some(Refusal::Silenced));
    assert_eq!(standoffs.confirm(&rights(at(20_000), &[V]), at(20_000)), [], "it is not defended again");
    assert_eq!(conflict(&mut standoffs, 30_000), None);
    assert_eq!(standoffs.next_deadline(), Some(at(70_999).raw));
    assert_eq!(standoffs.due(at(70_999), titled), [(V, Step::Ask)]);
    assert_eq!(standoffs.refusal(V), Some(Refusal::Silenced));
    // It answers: another minute.
    assert_eq!(conflict(&mut standoffs, 71_500), Some(Step::Silence));
    assert_eq!(standoffs.due(at(131_500), titled), [(V, Step::Ask)]);
    // It does not: the address is as good as new.
    assert_eq!(standoffs.due(at(132_499), titled), []);
    assert_eq!(standoffs.due(at(132_500), titled), [(V, Step::Resume)]);
    assert_eq!(standoffs.refusal(V), None);
    assert_eq!(conflict(&mut standoffs, 140_000), Some(Step::Suspend));
}

#[test]
fn at_most_one_defence_in_ten_seconds() {
    let mut standoffs = defended();
    assert_eq!(conflict(&mut standoffs, 11_000), Some(Step::Suspend));
    assert_eq!(standoffs.confirm(&rights(at(11_001), &[V]), at(12_000)), [(V, Step::Defend)]);
    assert_eq!(standoffs.due(at(21_999), titled), []);
    assert_eq!(standoffs.iter().count(), 1);
    assert_eq!(standoffs.due(at(22_000), titled), []);
    assert_eq!(standoffs.iter().count(), 0, "the dispute is over");
}

#[test]
fn an_address_that_was_in_use_before_is_silent_from_the_first() {
    let mut standoffs = Standoffs::default();
    assert_eq!(standoffs.taken(V, STRANGER, at(0)), Some(Step::Silence));
    assert_eq!(standoffs.taken(V, STRANGER, at(10)), None, "both of its answers are one");
    assert_eq!(standoffs.refusal(V), Some(Refusal::Silenced));
    assert_eq!(standoffs.due(at(60_010), titled), [(V, Step::Ask)]);
}

#[test]
fn silence_outlives_a_lapse_but_not_its_minute() {
    let mut standoffs = Standoffs::default();
    standoffs.taken(V, STRANGER, at(0));
    assert_eq!(standoffs.confirm(&Rights::default(), at(1000)), []);
    assert_eq!(standoffs.refusal(V), Some(Refusal::Silenced));
    assert_eq!(standoffs.due(at(60_000), |_| false), []);
    assert_eq!(standoffs.iter().count(), 0);
}

#[derive(Clone, Debug)]
enum Op {
    Conflict(bool),
    Confirm(bool),
    Pass(u64),
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        any::<bool>().prop_map(Op::Conflict),
        any::<bool>().prop_map(Op::Confirm),
        (0..30_000_u64).prop_map(Op::Pass),
    ]
}

proptest! {
    /// What must hold whatever happens, said without the stages.
    #[test]
    fn no_two_defences_within_ten_seconds_and_none_without_a_later_confirmation(
        ops in prop::collection::vec(any_op(), 1..80)
    ) {
        let mut standoffs = Standoffs::default();
        let (mut ms, mut last_conflict, mut last_defence) = (0, None, None::<u64>);
        for op in ops {
            match op {
                Op::Conflict(first) => {
                    let step = if first {
                        standoffs.taken(V, STRANGER, at(ms))
                    } else {
                        standoffs.conflict(V, STRANGER, at(ms))
                    };
                    prop_assert!(standoffs.refusal(V).is_some(), "silent at once: {:?}", step);
                    last_conflict = last_conflict.or(Some(ms));
                }
                Op::Confirm(later) => {
                    let renewed = if later { ms } else { last_conflict.unwrap_or(0) };
                    ms += 1;
                    for (_, step) in standoffs.confirm(&rights(at(renewed), &[V]), at(ms)) {
                        prop_assert_eq!(step, Step::Defend);
                        prop_assert!(last_conflict.is_some_and(|conflict| renewed > conflict));
                        prop_assert!(last_defence.is_none_or(|last| ms >= last + 10_000));
                        (last_defence, last_conflict) = (Some(ms), None);
                    }
                }
                Op::Pass(pause) => {
                    ms += pause;
                    while standoffs.next_deadline().is_some_and(|end| end <= at(ms).raw) {
                        for (_, step) in standoffs.due(at(ms), |_| true) {
                            if step == Step::Resume {
                                last_conflict = None;
                            }
                        }
                    }
                }
            }
        }
    }
}
