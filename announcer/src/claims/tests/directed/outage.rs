// SPDX-License-Identifier: Apache-2.0
//! The API server is away, and `--on-api-outage hold`.

use super::*;
use crate::claims::{Heard, HoldEnd, LapseReason};

const STRANGER: [u8; 6] = [2, 0, 0, 0, 0, 9];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 7];

impl Led {
    fn holds(&self) -> bool {
        self.rights().held.contains_key(&vip())
    }

    /// Every write that is under way fails for want of an answer.
    fn fail_writes(&mut self) {
        for (id, _) in std::mem::take(&mut self.writes) {
            self.claims.on_answer(id, Answer::Unknown, self.now());
        }
        self.poll();
    }

    /// Owns the address; then nothing is answered any more, and the deadline passes.
    fn cut_off() -> Self {
        let mut led = Self::owner_with(OnOutage::Hold);
        for _ in 0..36 {
            led.pass(Duration::from_millis(100));
            led.fail_writes();
        }
        led
    }

    fn hear(&mut self, heard: Heard) {
        self.claims.on_heard(heard, self.now());
        self.poll();
    }

    fn hold_ended(&self) -> Vec<HoldEnd> {
        let ends = self.told.iter().filter_map(|notice| match notice {
            Notice::HoldEnded { reason, .. } => Some(*reason),
            _ => None,
        });
        ends.collect()
    }
}

/// Its Lease shows what it wrote; but who waits for `/ready` waits for an answer.
#[test]
fn an_idle_process_whose_write_was_not_answered_writes_until_one_is() {
    let mut led = Led::new(Vec::new());
    led.claims.want(Arc::default());
    let (id, record) = led.sent(true).unwrap();
    let version = led.version();
    led.watch(LeaseEvent::Changed(version, record));
    led.claims.on_answer(id, Answer::Unknown, led.now());
    led.pass(Duration::from_secs(2));
    let (id, record) = led.sent(true).expect("another write");
    let version = led.answer(id);
    led.watch(LeaseEvent::Changed(version, record));
    led.pass(Duration::from_secs(10));
    assert!(led.sent(true).is_none(), "idle nodes cost nothing");
}

#[test]
fn a_holder_whose_renewals_fail_answers_on_and_has_no_title() {
    let led = Led::cut_off();
    assert!(led.holds() && !led.answers() && led.rights().deadline.is_none());
    let lapsed = led.told.iter().any(|notice| {
        matches!(notice, Notice::Lapsed { reason: LapseReason::Deadline, titles: 1, held: 1, .. })
    });
    assert!(lapsed, "{:?}", led.told);
}

#[test]
fn nothing_is_held_by_who_fences_sleeps_or_is_answered() {
    let fences = {
        let mut led = Led::owner();
        for _ in 0..36 {
            led.pass(Duration::from_millis(100));
            led.fail_writes();
        }
        led
    };
    // Noticed too late: it slept through the deadline.
    let slept = {
        let mut led = Led::owner_with(OnOutage::Hold);
        led.pass(Duration::from_secs(1));
        led.fail_writes();
        led.now += FRESH;
        led.poll();
        led
    };
    // The API server answers, only the watch is stuck.
    let stuck = {
        let mut led = Led::owner_with(OnOutage::Hold);
        for _ in 0..36 {
            led.pass(Duration::from_millis(100));
            while let Some((id, _)) = led.sent(true) {
                led.answer(id);
            }
        }
        led
    };
    // Somebody else wrote the session.
    let ended = {
        let mut led = Led::owner_with(OnOutage::Hold);
        for _ in 0..36 {
            led.pass(Duration::from_millis(100));
            while let Some((id, _)) = led.sent(true) {
                led.claims.on_answer(id, Answer::Conflict, led.now());
                led.poll();
            }
        }
        led
    };
    for (led, name) in [(fences, "fences"), (slept, "slept"), (stuck, "stuck"), (ended, "ended")] {
        assert!(!led.holds() && !led.answers(), "{name}");
    }
}

#[test]
fn a_held_address_has_title_again_without_a_pause_when_the_api_server_is_back() {
    let mut led = Led::cut_off();
    led.pass(Duration::from_secs(20));
    assert!(led.holds());
    // The new session, which says that the old one is over.
    let (id, record) = led.sent(true).unwrap();
    let Record::Session(session) = &record else { panic!("a session") };
    assert_eq!(session.ended.last().map(|ended| ended.by), Some(EndedBy::Lapse));
    let version = led.answer(id);
    assert!(led.holds());
    led.watch(LeaseEvent::Changed(version, record));
    assert!(led.holds(), "until the claim is decided");
    led.settle();
    assert!(led.answers() && !led.holds());
    assert!(led.rights().probes.is_empty(), "nobody else can have had it");
}

#[test]
fn a_held_right_ends_with_what_it_rests_on() {
    type Happens = fn(&mut Led);
    let ends: [(Happens, HoldEnd); 7] = [
        (|led| led.hear(Heard::Claimed { address: vip(), by: STRANGER }), HoldEnd::Claimed),
        (|led| led.hear(Heard::Gap), HoldEnd::StoodStill),
        (
            |led| {
                led.claims.want(wants([(vip(), Want { interfaces: [].into(), ..want() })]));
                led.poll();
            },
            HoldEnd::LinkLost,
        ),
        (
            |led| {
                led.claims.want(Arc::default());
                led.poll();
            },
            HoldEnd::NotDesired,
        ),
        (
            |led| {
                let version = led.version();
                led.watch(LeaseEvent::Changed(version, claim(held("n", "s"), false)));
            },
            HoldEnd::ClaimLost,
        ),
        (
            |led| {
                let revision = led.version().resource_version;
                led.watch(LeaseEvent::Gone(claim(Holder::Stranger, false).key(), revision));
            },
            HoldEnd::ClaimLost,
        ),
        (
            |led| {
                let version = led.version();
                led.watch(LeaseEvent::Changed(version, session("me", Some("other"), &[])));
            },
            HoldEnd::SessionLost,
        ),
    ];
    for (happens, reason) in ends {
        let mut led = Led::cut_off();
        happens(&mut led);
        assert!(!led.holds(), "{reason:?}");
        assert_eq!(led.hold_ended(), [reason]);
        led.pass(Duration::from_secs(10));
        assert!(!led.holds(), "{reason:?}: for good");
    }
}

#[test]
fn a_person_who_probes_silences_for_five_seconds_an_announcer_for_good() {
    let mut led = Led::cut_off();
    let first = led.rights().held[&vip()];
    led.hear(Heard::Probed { address: vip(), by: STRANGER });
    assert!(!led.holds());
    led.pass(Duration::from_millis(4_999));
    assert!(!led.holds());
    led.pass(Duration::from_millis(1));
    assert!(led.rights().held[&vip()] > first, "another right, for which nobody was silenced");
    assert_eq!(led.rights().probes[&vip()], 3, "not before it has asked itself");

    let mut led = Led::cut_off();
    let Record::Session(taker) = session("n", Some("s"), &[]) else { panic!("a session") };
    let link = gateherald_model::leases::LinkNote {
        name: "ens18".into(),
        mac: "02:00:00:00:00:07".into(),
        up: true,
    };
    let version = led.version();
    let taker = Record::Session(Session { links: vec![link], ..taker });
    led.watch(LeaseEvent::Changed(version, taker));
    assert!(led.holds());
    led.hear(Heard::Probed { address: vip(), by: PEER });
    led.pass(Duration::from_secs(10));
    assert!(!led.holds());
    assert_eq!(led.hold_ended(), [HoldEnd::TakenOver]);
}

/// Whoever takes what an observer ended asks first; whoever is handed something by a holder that asked need not.
#[test]
fn probes_come_before_what_somebody_may_hold() {
    let ended_by = |by| {
        let Record::Session(ended) = session("n", None, &["s"]) else { panic!("a session") };
        let ended = Session { ended: vec![Ended { id: "s".into(), by }], ..ended };
        let mut led = Led::new(vec![Record::Session(ended), claim(held("n", "s"), false)]);
        led.settle();
        led.pass(Duration::from_millis(1_100));
        led.settle();
        assert!(led.answers(), "{by:?}");
        led
    };
    for (by, probes) in
        [(EndedBy::Observer, 3), (EndedBy::Lapse, 3), (EndedBy::Shutdown, 0), (EndedBy::Successor, 0)]
    {
        let led = ended_by(by);
        assert_eq!(led.rights().probes.get(&vip()).copied().unwrap_or_default(), probes, "{by:?}");
    }
    // Stopped before it knew: its successor must ask too, so the session does not end as one that shut down.
    let mut led = ended_by(EndedBy::Observer);
    led.claims.shut_down();
    led.poll();
    let Some((_, Record::Session(session))) = led.sent(true) else { panic!("a session") };
    assert_eq!(session.ended.last().map(|ended| ended.by), Some(EndedBy::Lapse));
    let mut led = ended_by(EndedBy::Observer);
    led.hear(Heard::Quiet(vip()));
    led.claims.want(Arc::default());
    led.poll();
    let Some((_, Record::Claim(released))) = led.sent(false) else { panic!("a claim") };
    assert!(!released.unproven);
}

#[test]
fn a_conflict_makes_the_next_renewal_come_at_once() {
    let mut led = Led::owner();
    led.pass(Duration::from_millis(300));
    assert!(led.sent(true).is_none());
    led.hear(Heard::Conflict(vip()));
    assert!(led.sent(true).is_some());
}
