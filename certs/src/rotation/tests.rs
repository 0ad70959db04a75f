// SPDX-License-Identifier: Apache-2.0
mod world;

use super::*;

/// A CA without keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    id: u32,
    validity: Validity,
}

impl Ca for Name {
    fn validity(&self) -> Validity {
        self.validity
    }
}

const LIFETIMES: Lifetimes = Lifetimes {
    ca: SignedDuration::from_secs(30_000),
    leaf: SignedDuration::from_secs(3_000),
    settle: SignedDuration::from_secs(60),
    clock_skew: SignedDuration::from_secs(300),
};

/// The test's clock, in seconds.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

fn made(id: u32, seconds: i64) -> Name {
    Name { id, validity: Validity::starting(at(seconds), LIFETIMES.ca, LIFETIMES.backdate()) }
}

fn leaf(authority: Name, signed: i64) -> Served<Name> {
    let mut validity = Validity::starting(at(signed), LIFETIMES.leaf, LIFETIMES.backdate());
    validity.not_after = validity.not_after.min(authority.validity.not_after);
    Served { authority, validity }
}

const NEW: Role = Role::Successor { published_at: None };

fn slots(current: Name, second: Option<(Name, Role)>) -> Slots<Name> {
    Slots { current, second: second.map(|(authority, role)| Second { authority, role }) }
}

#[test]
fn each_step_waits_for_what_it_needs() {
    let (old, new) = (made(1, 0), made(2, 20_000));
    let published = Role::Successor { published_at: Some(at(20_000)) };
    let previous = Role::Predecessor { drop_after: at(23_600) };
    let alone = slots(old, None);
    let (next, ready) = (slots(old, Some((new, NEW))), slots(old, Some((new, published))));
    let promoted = slots(new, Some((old, previous)));
    // The slots, the second CA's age in the live bundle, the time, the step.
    for (slots, age, now, expected) in [
        (&alone, None, 0, Step::Wait(LOOK_AGAIN)),
        (&alone, None, 19_990, Step::Wait(seconds(10))),
        (&alone, None, 20_000, Step::Prepare),
        (&next, None, 20_001, Step::Wait(LOOK_AGAIN)),
        (&next, Some(0), 20_001, Step::Publish),
        (&ready, None, 20_100, Step::Wait(LOOK_AGAIN)),
        (&ready, Some(59), 20_100, Step::Wait(seconds(1))),
        (&ready, Some(60), 20_100, Step::Promote),
        // The CA expires: whoever knows the next one has nothing better.
        (&next, None, 30_000, Step::Promote),
        (&alone, None, 30_000, Step::StartOver),
        (&promoted, Some(9_999), 22_990, Step::Wait(seconds(10))),
        (&promoted, Some(9_999), 23_590, Step::Wait(seconds(10))),
        (&promoted, Some(9_999), 23_600, Step::Wait(LOOK_AGAIN)),
        (&promoted, None, 23_599, Step::Wait(seconds(1))),
        (&promoted, None, 23_600, Step::Drop),
        (&promoted, None, 50_000, Step::StartOver),
    ] {
        let live = |name: &Name| match &slots.second {
            Some(second) if second.authority == *name => age.map(seconds),
            _ => Some(seconds(20_000)),
        };
        assert_eq!(step(slots, Some(&live), at(now), &LIFETIMES), expected, "{now} {slots:?} {age:?}");
    }
}

#[test]
fn nothing_is_promoted_or_dropped_before_the_live_bundle_was_seen() {
    let (old, new) = (made(1, 0), made(2, 20_000));
    for role in [NEW, Role::Predecessor { drop_after: at(0) }] {
        let slots = slots(old, Some((new, role)));
        assert_eq!(step(&slots, None, at(20_000), &LIFETIMES), Step::Wait(LOOK_AGAIN));
    }
}

#[test]
fn a_wrong_time_in_the_secret_never_stops_the_rotation() {
    let never = Role::Predecessor { drop_after: at(10_000_000) };
    let slots = slots(made(2, 0), Some((made(1, -15_000), never)));
    let gone = |_: &Name| None;
    assert_eq!(step(&slots, Some(&gone), at(14_999), &LIFETIMES), Step::Wait(LOOK_AGAIN));
    // Its CA has expired.
    assert_eq!(step(&slots, Some(&gone), at(15_000), &LIFETIMES), Step::Drop);
    for edge in [Timestamp::MIN, Timestamp::MAX] {
        let role = Role::Predecessor { drop_after: edge };
        let slots = Slots { second: slots.second.clone().map(|second| Second { role, ..second }), ..slots };
        let expected = if edge == Timestamp::MIN { Step::Drop } else { Step::Wait(LOOK_AGAIN) };
        assert_eq!(step(&slots, Some(&gone), at(1), &LIFETIMES), expected);
        assert_eq!(trust(&slots, None, at(1), &LIFETIMES).required[0], slots.current);
    }
}

#[test]
fn a_successor_that_expired_is_replaced() {
    let slots = slots(made(2, 0), Some((made(1, -30_000), NEW)));
    let live = |_: &Name| Some(seconds(100));
    assert_eq!(step(&slots, Some(&live), at(1), &LIFETIMES), Step::Prepare);
}

#[test]
fn a_leaf_of_another_ca_is_served_only_when_that_ca_has_settled() {
    let (old, new) = (made(1, 0), made(2, 20_000));
    let promoted = slots(new, Some((old, Role::Predecessor { drop_after: at(23_600) })));
    // What is served, the ages of old and new, the time, the answer.
    let served = leaf(old, 19_000);
    for (served, old_age, new_age, now, expected) in [
        (None, None, None, 20_100, Signing::By(new)),
        (Some(&served), Some(9), Some(59), 20_100, Signing::Keep(seconds(1))),
        (Some(&served), Some(9), Some(60), 20_100, Signing::By(new)),
        (Some(&served), Some(9), None, 20_100, Signing::Keep(LOOK_AGAIN)),
        // It verifies nowhere.
        (Some(&served), None, Some(0), 20_100, Signing::By(new)),
        (Some(&served), None, None, 20_100, Signing::Keep(LOOK_AGAIN)),
        // Its renewal is due, and the new CA has not settled.
        (Some(&served), Some(9), Some(59), 21_000, Signing::By(old)),
        (Some(&served), Some(9), Some(59), 22_000, Signing::By(new)),
    ] {
        let live = |name: &Name| if *name == old { old_age } else { new_age }.map(seconds);
        assert_eq!(signing(&promoted, served, Some(&live), at(now), &LIFETIMES), expected, "{now}");
    }
}

#[test]
fn a_leaf_is_renewed_when_a_third_is_left_unless_it_ends_with_its_ca() {
    let ca = made(1, 0);
    let slots = slots(ca, None);
    let (served, last) = (leaf(ca, 10_000), leaf(ca, 28_000));
    for (served, now, expected) in [
        (&served, 11_990, Signing::Keep(seconds(10))),
        (&served, 12_000, Signing::By(ca)),
        (&last, 29_995, Signing::Keep(seconds(5))),
        // Another CA is about to come.
        (&last, 30_000, Signing::Keep(LOOK_AGAIN)),
    ] {
        assert_eq!(signing(&slots, Some(served), None, at(now), &LIFETIMES), expected, "{now}");
    }
}

#[test]
fn what_the_bundle_must_and_must_not_hold_follows_the_slots_and_the_served_leaf() {
    let (old, new, other) = (made(1, 0), made(2, 20_000), made(3, 20_000));
    let next = slots(old, Some((new, NEW)));
    let promoted = slots(new, Some((old, Role::Predecessor { drop_after: at(23_600) })));
    for (slots, served, now, required, retired) in [
        (&next, None, 20_000, vec![old, new], vec![]),
        (&next, Some(&other), 20_000, vec![old, new, other], vec![]),
        (&promoted, Some(&new), 22_999, vec![new, old], vec![]),
        // A replica whose clock is ahead may have withdrawn it: don't put it back.
        (&promoted, Some(&new), 23_000, vec![new], vec![]),
        (&promoted, Some(&old), 23_000, vec![new, old], vec![]),
        (&promoted, Some(&new), 23_600, vec![new], vec![old]),
        (&promoted, Some(&old), 23_600, vec![new, old], vec![]),
        // What has expired is nobody's wish.
        (&next, Some(&old), 30_000, vec![new], vec![]),
    ] {
        let trusted = trust(slots, served, at(now), &LIFETIMES);
        assert_eq!(trusted, Trusted { required, retired }, "{now} {served:?}");
    }
}

#[test]
fn a_lost_secret_comes_back_as_it_was_known_else_as_it_can_be_read() {
    let (old, new, other) = (made(1, 0), made(2, 20_000), made(3, 20_000));
    let next = slots(old, Some((new, NEW)));
    let readable = slots(other, None);
    let recovered = |known, readable, now| recover(known, readable, at(now), &LIFETIMES);
    assert_eq!(recovered(Some(&next), Some(readable.clone()), 20_000), Some(next.clone()));
    assert_eq!(recovered(None, Some(readable.clone()), 20_000), Some(readable));
    assert_eq!(recovered(None, None, 20_000), None);
    // The known CA has expired, its successor has not.
    assert_eq!(recovered(Some(&next), None, 30_000).map(|slots| slots.current), Some(new));
    assert_eq!(recovered(Some(&next), None, 60_000), None);
}

/// How many worlds each search looks at.
const WORLDS: u64 = 100;

#[test]
fn every_served_leaf_verifies_at_every_api_server_through_rotations_crashes_and_lag() {
    (0..WORLDS).for_each(|seed| world::World::new(seed, world::Hands::Off).run());
}

#[test]
fn it_does_so_while_people_delete_break_and_restore_the_secret() {
    (0..WORLDS).for_each(|seed| world::World::new(seed, world::Hands::On).run());
}
