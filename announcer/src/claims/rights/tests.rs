// SPDX-License-Identifier: Apache-2.0
use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn vip() -> IpAddr {
    "192.168.99.128".parse().unwrap()
}

fn at(milliseconds: u64) -> Now {
    let time = Duration::from_millis(milliseconds);
    Now { boot: time, raw: time }
}

fn fresh(probes: u8, until: u64) -> Rights {
    Rights {
        deadline: Some(Deadline::after(at(0), Duration::from_millis(until))),
        titles: Arc::new([vip()].into()),
        probes: Arc::new([(vip(), probes)].into_iter().filter(|(_, n)| *n > 0).collect()),
        ..Rights::default()
    }
}

fn held(round: u64, probes: u8, as_of: u64) -> Rights {
    Rights {
        held: Arc::new([(vip(), Round(round))].into()),
        probes: Arc::new([(vip(), probes)].into_iter().filter(|(_, n)| *n > 0).collect()),
        as_of: at(as_of),
        ..Rights::default()
    }
}

fn holding() -> InForce {
    let mut force = InForce::default();
    assert_eq!(force.put(held(1, 0, 1_000), at(1_000)), None);
    assert_eq!(force.cover(vip(), at(1_000)), Cover::Held);
    force
}

#[test]
fn title_covers_until_the_deadline() {
    let mut force = InForce::default();
    force.put(fresh(0, 3_600), at(10));
    assert!(matches!(force.cover(vip(), at(3_599)), Cover::Fresh(_)));
    assert_eq!(force.cover(vip(), at(3_600)), Cover::None);
    assert_eq!(force.next_deadline(), None, "nobody needs to wake for a title");
}

#[test]
fn nothing_is_said_before_the_probes_have_gone_unanswered() {
    let mut force = InForce::default();
    force.put(fresh(3, 3_600), at(0));
    let mut sent = 0;
    for millis in 0..60 {
        let due = force.probes_due(at(millis), |_| true);
        sent += due.send.len();
        assert!(due.quiet.is_empty());
        assert_eq!(force.cover(vip(), at(millis)), Cover::Probing, "{millis} ms");
    }
    assert_eq!(sent, 3);
    assert_eq!(force.probes_due(at(60), |_| true).quiet, [Heard::Quiet(vip())]);
    assert!(matches!(force.cover(vip(), at(60)), Cover::Fresh(_)));
    // The same right again is no new one.
    force.put(Rights { as_of: at(70), ..fresh(3, 4_600) }, at(70));
    assert!(matches!(force.cover(vip(), at(70)), Cover::Fresh(_)));
}

#[test]
fn another_hosts_word_ends_a_held_right_at_once_and_for_its_round() {
    for probe in [true, false] {
        let mut force = holding();
        let heard = force.other_spoke(vip(), probe, MAC).unwrap();
        let (address, by) = (vip(), MAC);
        let expected = if probe { Heard::Probed { address, by } } else { Heard::Claimed { address, by } };
        assert_eq!(heard, expected);
        assert_eq!(force.cover(vip(), at(1_001)), Cover::None);
        assert_eq!(force.other_spoke(vip(), probe, MAC), None, "it is told once");
        // Rights that were on their way when that happened.
        force.put(held(1, 0, 1_002), at(1_002));
        assert_eq!(force.cover(vip(), at(1_002)), Cover::None);
        force.put(held(2, 0, 1_003), at(1_003));
        assert_eq!(force.cover(vip(), at(1_003)), Cover::Held);
    }
}

#[test]
fn another_hosts_word_does_nothing_to_a_title() {
    let mut force = InForce::default();
    force.put(fresh(0, 3_600), at(0));
    assert_eq!(force.other_spoke(vip(), false, MAC), None);
    assert!(matches!(force.cover(vip(), at(1)), Cover::Fresh(_)));
}

#[test]
fn whoever_stood_still_holds_nothing_any_more() {
    let mut force = holding();
    assert_eq!(force.ran(at(1_250)), None);
    assert_eq!(force.cover(vip(), at(1_500)), Cover::Held);
    assert_eq!(force.cover(vip(), at(1_501)), Cover::None, "before the gap has been noticed");
    assert_eq!(force.ran(at(1_501)), Some(Heard::Gap));
    assert_eq!(force.cover(vip(), at(1_501)), Cover::None);
    assert_eq!(force.ran(at(1_502)), None);
}

#[test]
fn a_right_that_was_granted_before_a_pause_is_not_taken_up_after_it() {
    let mut force = InForce::default();
    assert_eq!(force.put(held(1, 0, 1_000), at(1_251)), Some(Heard::Gap));
    assert_eq!(force.cover(vip(), at(1_251)), Cover::None);
}

#[test]
fn title_follows_a_held_right_without_a_pause() {
    let mut force = holding();
    force.put(fresh(0, 3_600), at(1_010));
    assert!(matches!(force.cover(vip(), at(1_010)), Cover::Fresh(_)));
}

#[test]
fn what_is_held_again_is_asked_for_first_and_an_answer_ends_it() {
    let mut force = InForce::default();
    force.put(held(2, 3, 1_000), at(1_000));
    assert_eq!(force.cover(vip(), at(1_000)), Cover::Probing);
    assert_eq!(force.probes_due(at(1_000), |_| true).send, [vip()]);
    assert!(force.other_spoke(vip(), false, MAC).is_some());
    assert!(force.probes_due(at(1_100), |_| true).send.is_empty());
    assert_eq!(force.cover(vip(), at(1_100)), Cover::None);
}

fn sought() -> Rights {
    Rights { sought: Arc::new([vip()].into()), ..Rights::default() }
}

#[test]
fn a_probe_that_came_before_title_counts_for_it() {
    let mut force = InForce::default();
    force.put(sought(), at(100));
    assert_eq!(force.listens_to().collect::<Vec<_>>(), [vip()]);
    assert_eq!(force.probes_due(at(100), |_| true).send, [vip()]);
    assert_eq!(force.cover(vip(), at(101)), Cover::Probing);
    force.put(fresh(1, 3_600), at(110));
    assert_eq!(force.cover(vip(), at(129)), Cover::Probing);
    assert!(force.waits_end(at(130)));
    assert_eq!(
        force.probes_due(at(130), |_| true),
        ProbesDue { send: vec![], quiet: vec![Heard::Quiet(vip())] }
    );
    assert!(matches!(force.cover(vip(), at(130)), Cover::Fresh(_)));
}

#[test]
fn silence_is_told_with_title_and_not_before() {
    let mut force = InForce::default();
    force.put(sought(), at(100));
    force.probes_due(at(100), |_| true);
    assert_eq!(force.probes_due(at(130), |_| true), ProbesDue::default());
    assert_eq!(force.next_deadline(), None, "nothing to wake for");
    assert_eq!(force.cover(vip(), at(500)), Cover::Probing);
    force.put(fresh(1, 3_600), at(500));
    assert_eq!(force.probes_due(at(500), |_| true).quiet, [Heard::Quiet(vip())]);
    assert!(matches!(force.cover(vip(), at(500)), Cover::Fresh(_)));
}

/// Who fell silent because of it has asked back by then.
#[test]
fn a_probe_that_came_long_before_title_is_sent_again() {
    let mut force = InForce::default();
    force.put(sought(), at(100));
    force.probes_due(at(100), |_| true);
    force.probes_due(at(130), |_| true);
    force.put(fresh(1, 3_600), at(1_101));
    let due = force.probes_due(at(1_101), |_| true);
    assert_eq!((due.send, due.quiet.len()), (vec![vip()], 0));
    assert_eq!(force.cover(vip(), at(1_130)), Cover::Probing);
}

#[test]
fn one_probe_before_title_does_not_stand_for_the_three_of_another_ground() {
    let mut force = InForce::default();
    force.put(sought(), at(100));
    force.probes_due(at(100), |_| true);
    force.put(fresh(3, 3_600), at(110));
    let sent: usize = (110..170).map(|millis| force.probes_due(at(millis), |_| true).send.len()).sum();
    assert_eq!(sent, 3);
}

#[test]
fn an_address_that_was_answered_for_is_not_called_quiet_before_it_is_free() {
    for answered in [105, 200] {
        let mut force = InForce::default();
        force.put(sought(), at(100));
        force.probes_due(at(100), |_| true);
        for millis in [100, 130] {
            if millis > answered {
                force.answered(vip());
            }
            force.probes_due(at(millis), |_| true);
        }
        force.answered(vip());
        force.put(fresh(1, 3_600), at(210));
        for millis in [210, 240, 600] {
            assert_eq!(force.probes_due(at(millis), |_| true), ProbesDue::default());
        }
        assert_eq!(force.freed(vip()), Some(Heard::Quiet(vip())));
        assert_eq!(force.freed(vip()), None);
    }
}

#[test]
fn a_probe_waits_until_its_answer_would_be_heard() {
    let mut force = InForce::default();
    force.put(sought(), at(100));
    assert!(force.probes_due(at(100), |_| false).send.is_empty());
    assert_eq!(force.next_deadline(), Some(at(101).raw));
    assert_eq!(force.probes_due(at(105), |_| true).send, [vip()]);
}

#[test]
fn what_is_sought_no_longer_is_forgotten() {
    let mut force = InForce::default();
    force.put(sought(), at(100));
    force.put(Rights::default(), at(101));
    assert!(force.probes_due(at(101), |_| true).send.is_empty());
    assert_eq!(force.cover(vip(), at(101)), Cover::None);
    assert_eq!(force.listens_to().count(), 0);
}
