// SPDX-License-Identifier: Apache-2.0
//! One process, led by the hand: what each rule says about one situation.
#![allow(clippy::unchecked_time_subtraction, reason = "constants of which the first is the larger")]

use std::{net::IpAddr, sync::Arc, time::Duration};

use gateherald_model::leases::{Claim, Ended, EndedBy, Holder, Record, Session, Version};

use crate::claims::{
    Action, Answer, Claims, Config, Incarnation, LeaseEvent, NodeNotes, Notice, OnOutage, Rebalance, Rights,
    Want, Wants, Write, WriteId, time::Now,
};

const D: Duration = Duration::from_secs(4);
/// D less the margin of a tenth.
const FRESH: Duration = Duration::from_millis(3_600);

mod moves;
mod outage;

/// A process on node `me`, its API server played by the test.
struct Led {
    claims: Claims,
    now: Duration,
    revision: u64,
    writes: Vec<(WriteId, Write)>,
    order: Vec<&'static str>,
    told: Vec<Notice>,
}

fn vip() -> IpAddr {
    "192.168.99.128".parse().unwrap()
}

fn session(node: &str, id: Option<&str>, ended: &[&str]) -> Record {
    let ended = ended.iter().map(|id| Ended { id: (*id).into(), by: EndedBy::Shutdown }).collect();
    Record::Session(Session {
        node: node.into(),
        id: id.map(str::to_owned),
        ended,
        duration_seconds: 4,
        ..Session::default()
    })
}

fn claim(holder: Holder, touched: bool) -> Record {
    Record::Claim(Claim {
        address: vip(),
        holder,
        duration_seconds: 4,
        transitions: 3,
        nonce: "n".into(),
        services: ["ns/s".to_owned()].into(),
        interfaces: [].into(),
        unproven: false,
        touched,
    })
}

fn wants<const N: usize>(all: [(IpAddr, Want); N]) -> Arc<Wants> {
    Arc::new(all.into_iter().map(|(address, want)| (address, Arc::new(want))).collect())
}

fn want() -> Want {
    Want {
        policies: ["p".to_owned()].into(),
        services: ["ns/s".to_owned()].into(),
        interfaces: ["ens18".to_owned()].into(),
        ..Want::default()
    }
}

fn held(node: &str, session: &str) -> Holder {
    Holder::Session { node: node.into(), session: session.into() }
}

impl Led {
    /// The process has listed these Leases and wants the address.
    fn new(leases: Vec<Record>) -> Self {
        Self::with(leases, OnOutage::Fence, Rebalance::Off)
    }

    fn with(leases: Vec<Record>, on_outage: OnOutage, rebalance: Rebalance) -> Self {
        let config = Config {
            node: "me".into(),
            duration_seconds: 4,
            renew_period: Duration::from_secs(1),
            on_outage,
            rebalance,
            probe_new: true,
        };
        let mut n = 0;
        let ids = move || {
            n += 1;
            format!("id{n}")
        };
        let mut claims = Claims::new(config, Incarnation::default(), Box::new(ids));
        claims.describe(NodeNotes { policies: ["p".to_owned()].into(), links: Vec::new() });
        let want = want();
        claims.want(wants([(vip(), want)]));
        let mut led = Self {
            claims,
            now: Duration::from_secs(100),
            revision: 0,
            writes: Vec::new(),
            order: Vec::new(),
            told: Vec::new(),
        };
        led.poll();
        let leases: Vec<_> = leases.into_iter().map(|record| (led.version(), record)).collect();
        led.watch(LeaseEvent::Listed { leases, revision: 1_000 });
        led.revision = 1_000;
        led
    }

    fn now(&self) -> Now {
        Now { boot: self.now, raw: self.now }
    }

    fn version(&mut self) -> Version {
        self.revision += 1;
        Version { uid: "u".into(), resource_version: self.revision }
    }

    fn poll(&mut self) {
        for action in self.claims.poll(self.now()) {
            match action {
                Action::Write(id, write) => {
                    self.order.push("write");
                    self.writes.push((id, write));
                }
                Action::Publish(_) => self.order.push("publish"),
                Action::Tell(notice) => self.told.push(notice),
                _ => {}
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.poll();
    }

    fn watch(&mut self, event: LeaseEvent) {
        self.claims.on_watch(event, self.now());
        self.poll();
    }

    /// The newest write of that kind that was not looked at yet.
    fn sent(&mut self, session: bool) -> Option<(WriteId, Record)> {
        let at = self.writes.iter().rposition(|(_, write)| {
            matches!(
                (write, session),
                (Write::Create(Record::Session(_)) | Write::Replace(_, Record::Session(_)), true)
                    | (Write::Create(Record::Claim(_)) | Write::Replace(_, Record::Claim(_)), false)
            )
        })?;
        match self.writes.remove(at) {
            (id, Write::Create(record) | Write::Replace(_, record)) => Some((id, record)),
            (_, Write::Delete(..)) => None,
        }
    }

    fn answer(&mut self, id: WriteId) -> Version {
        let version = self.version();
        self.claims.on_answer(id, Answer::Written(version.clone()), self.now());
        self.poll();
        version
    }

    /// Everything that is sent is written, answered and seen at once, until nothing more is sent.
    fn settle(&mut self) {
        while let Some((id, record)) = self.sent(true).or_else(|| self.sent(false)) {
            let version = self.answer(id);
            self.watch(LeaseEvent::Changed(version, record));
        }
    }

    fn rights(&self) -> &Rights {
        self.claims.rights()
    }

    fn answers(&self) -> bool {
        self.rights().cover(vip(), self.now())
    }

    /// A process that is creating the claim on an address that nobody had.
    fn creating() -> Self {
        Self::creating_with(true)
    }

    fn creating_with(probe_new: bool) -> Self {
        let mut led = Self::new(vec![]);
        led.claims.config.probe_new = probe_new;
        led.settle();
        led.pass(D);
        while let Some((id, record)) = led.sent(true) {
            let version = led.answer(id);
            led.watch(LeaseEvent::Changed(version, record));
        }
        led
    }

    /// A process that owns the address, which a predecessor of another node gave up.
    fn owner() -> Self {
        Self::owner_with(OnOutage::Fence)
    }

    fn owner_with(on_outage: OnOutage) -> Self {
        let released = Holder::Released { node: "n".into(), session: "s".into(), favours: None };
        let mut led = Self::with(vec![claim(released, false)], on_outage, Rebalance::Off);
        led.settle();
        assert!(led.answers());
        led
    }
}

#[test]
fn freshness_counts_from_before_the_renewal_was_sent() {
    let mut led = Led::new(vec![]);
    let (id, record) = led.sent(true).unwrap();
    led.pass(Duration::from_secs(2));
    let version = led.answer(id);
    assert!(!led.claims.fresh(led.now()), "answered is not enough");
    led.watch(LeaseEvent::Changed(version, record));
    let left = led.rights().deadline.unwrap().left(led.now());
    assert_eq!(left, FRESH - Duration::from_secs(2));
}

#[test]
fn a_renewal_that_comes_back_before_its_answer_counts_once_it_is_answered() {
    let mut led = Led::new(vec![]);
    let (id, record) = led.sent(true).unwrap();
    led.revision += 1;
    let version = Version { uid: "u".into(), resource_version: led.revision };
    led.watch(LeaseEvent::Changed(version.clone(), record));
    assert!(!led.claims.fresh(led.now()));
    led.claims.on_answer(id, Answer::Written(version), led.now());
    assert!(led.claims.fresh(led.now()));
}

#[test]
fn nothing_is_claimed_while_not_fresh() {
    let mut led = Led::new(vec![claim(
        Holder::Released { node: "n".into(), session: "s".into(), favours: None },
        false,
    )]);
    let (id, record) = led.sent(true).unwrap();
    let version = led.answer(id);
    led.pass(Duration::from_millis(500));
    assert!(led.sent(false).is_none(), "answered, but not seen");
    led.watch(LeaseEvent::Changed(version, record));
    assert!(led.sent(false).is_some());
}

#[test]
fn a_deadline_voids_every_title_and_the_next_session_has_another_id() {
    let mut led = Led::owner();
    let before = led.claims.session().to_owned();
    led.pass(FRESH - Duration::from_millis(1));
    assert!(led.answers());
    led.pass(Duration::from_millis(1));
    assert!(!led.answers() && led.rights().deadline.is_none());
    assert_ne!(led.claims.session(), before);
}

#[test]
fn a_late_answer_gives_back_nothing_that_has_lapsed() {
    let mut led = Led::owner();
    led.pass(Duration::from_secs(1));
    let (id, record) = led.sent(true).unwrap();
    led.pass(FRESH);
    let version = led.answer(id);
    led.watch(LeaseEvent::Changed(version, record));
    assert!(!led.answers());
}

#[test]
fn a_created_claim_counts_from_its_watch_event() {
    let mut led = Led::new(vec![]);
    led.settle();
    led.pass(D - Duration::from_millis(1));
    led.settle();
    assert!(led.sent(false).is_none() && !led.answers(), "created before the watch was synced for D");
    led.pass(Duration::from_millis(1));
    while let Some((id, record)) = led.sent(true) {
        let version = led.answer(id);
        led.watch(LeaseEvent::Changed(version, record));
    }
    let (id, record) = led.sent(false).unwrap();
    let version = led.answer(id);
    assert!(!led.answers(), "answered is not enough");
    led.watch(LeaseEvent::Changed(version, record));
    assert!(led.answers());
}

/// Where a stranger may use it, that is asked while the API server is still writing.
#[test]
fn a_new_address_is_probed_for_beside_its_creation() {
    let mut led = Led::creating();
    let probing = |led: &Led| led.rights().sought.contains(&vip());
    assert!(probing(&led) && !led.answers() && led.rights().probes.is_empty());
    let (id, record) = led.sent(false).unwrap();
    let version = led.answer(id);
    assert!(probing(&led), "until its event has come");
    led.watch(LeaseEvent::Changed(version, record));
    assert!(led.answers() && !probing(&led));
    assert_eq!(led.rights().probes.get(&vip()), Some(&1), "those that came before count for it");
}

#[test]
fn whoever_comes_second_to_a_new_address_asks_no_longer() {
    let mut led = Led::creating();
    let (id, _) = led.sent(false).unwrap();
    let version = led.version();
    led.watch(LeaseEvent::Changed(version, session("n", Some("s"), &[])));
    let version = led.version();
    led.watch(LeaseEvent::Changed(version, claim(held("n", "s"), false)));
    led.claims.on_answer(id, Answer::Conflict, led.now());
    led.pass(Duration::from_millis(200));
    assert!(led.rights().sought.is_empty() && !led.answers());
}

#[test]
fn no_probe_is_sent_where_none_is_wanted() {
    let mut led = Led::creating_with(false);
    assert!(led.rights().sought.is_empty());
    led.settle();
    assert!(led.answers() && led.rights().probes.is_empty());
}

#[test]
fn a_claim_of_a_living_session_is_never_overwritten_and_a_silent_one_is_ended_first() {
    let mut led = Led::new(vec![session("n", Some("s"), &[]), claim(held("n", "s"), false)]);
    led.settle();
    for _ in 0..40 {
        led.pass(Duration::from_millis(100));
        assert!(led.sent(false).is_none(), "the claim was written");
        let end = led.writes.iter().find(
            |(_, write)| matches!(write, Write::Replace(_, Record::Session(session)) if session.node == "n"),
        );
        if let Some((id, Write::Replace(version, Record::Session(ended)))) = end.cloned() {
            assert!(led.now >= Duration::from_secs(104), "before its D");
            assert_eq!((version.resource_version, ended.id), (1, None));
            led.writes.retain(|(other, _)| *other != id);
            let version = led.answer(id);
            led.watch(LeaseEvent::Changed(version, session("n", None, &["s"])));
            led.pass(Duration::from_millis(300));
            assert!(led.sent(false).is_some(), "ended, so free");
            return;
        }
        led.settle();
    }
    panic!("the silent session was not ended");
}

#[test]
fn a_claim_of_an_ended_session_is_free_at_once() {
    let mut led = Led::new(vec![session("n", None, &["s"]), claim(held("n", "s"), false)]);
    led.settle();
    assert!(led.answers());
}

/// A restored copy looks true to a process that has seen nothing else; who wrote it does not.
#[test]
fn what_a_stranger_wrote_is_waited_out() {
    let released = Holder::Released { node: "n".into(), session: "s".into(), favours: None };
    for holder in [held("n", "s"), released, Holder::Stranger] {
        let mut led = Led::new(vec![session("n", None, &["s"]), claim(holder.clone(), true)]);
        led.settle();
        led.pass(D - Duration::from_millis(1));
        led.settle();
        assert!(!led.answers(), "{holder:?}");
        led.pass(Duration::from_millis(1));
        led.settle();
        assert!(led.answers(), "{holder:?}");
    }
}

#[test]
fn title_is_dead_before_its_release_is_sent_and_stays_dead() {
    let mut led = Led::owner();
    led.order.clear();
    led.claims.want(Arc::default());
    led.poll();
    assert_eq!(led.order, ["publish", "write"]);
    let (id, _) = led.sent(false).unwrap();
    led.claims.want(wants([(vip(), want())]));
    led.claims.on_answer(id, Answer::Unknown, led.now());
    led.poll();
    assert!(!led.answers(), "nobody knows whether it was written, so it was");
}

#[test]
fn title_is_lost_on_any_other_version() {
    let mut led = Led::owner();
    let mine = led.claims.session().to_owned();
    let version = led.version();
    led.watch(LeaseEvent::Changed(version, claim(held("me", &mine), true)));
    assert!(!led.answers(), "its own name in a claim that it did not write");
}

#[test]
fn the_own_session_seen_ended_missing_or_foreign_is_a_lapse() {
    let events: [fn(&mut Led) -> LeaseEvent; 3] = [
        |led| LeaseEvent::Changed(led.version(), session("me", None, &[led.claims.session()])),
        |led| LeaseEvent::Gone(session("me", None, &[]).key(), led.version().resource_version),
        |led| LeaseEvent::Changed(led.version(), session("me", Some("other"), &[])),
    ];
    for event in events {
        let mut led = Led::owner();
        let before = led.claims.session().to_owned();
        let event = event(&mut led);
        led.watch(event.clone());
        assert!(!led.answers() && led.claims.session() != before, "{event:?}");
    }
}

#[test]
fn every_replacement_names_the_version_that_was_seen() {
    let mut led = Led::owner();
    led.pass(Duration::from_secs(1));
    led.claims.want(Arc::default());
    led.poll();
    assert_eq!(led.writes.len(), 2, "a renewal and a release: {:?}", led.writes);
    for (_, write) in &led.writes {
        let Write::Replace(version, _) = write else { panic!("{write:?}") };
        assert!(version.uid == "u" && version.resource_version > 1_000);
    }
}

#[test]
fn shutting_down_is_silence_and_then_one_write() {
    let mut led = Led::owner();
    led.order.clear();
    led.claims.shut_down();
    led.poll();
    assert_eq!(led.order, ["publish", "write"]);
    let (id, record) = led.sent(true).unwrap();
    let Record::Session(session) = record else { panic!("a session") };
    assert_eq!((session.id, session.ended.last().map(|ended| ended.by)), (None, Some(EndedBy::Shutdown)));
    led.claims.on_answer(id, Answer::Unknown, led.now());
    assert_eq!(led.claims.poll(led.now()), [Action::Finished]);
}

/// The claim is there, so the next holder relies on what this session's end says of it.
#[test]
fn whoever_shuts_down_without_title_to_its_own_creation_promises_nothing() {
    let unseen = |led: &mut Led, id, _| drop(led.answer(id));
    // Somebody else's claim came and went before it, so what was sent counts for nothing.
    let void = |led: &mut Led, id, record| {
        let version = led.version();
        led.watch(LeaseEvent::Changed(version, claim(held("n", "s"), false)));
        let gone = led.version().resource_version;
        led.watch(LeaseEvent::Gone(claim(Holder::Stranger, false).key(), gone));
        let version = led.answer(id);
        led.watch(LeaseEvent::Changed(version, record));
    };
    let cases: [fn(&mut Led, WriteId, Record); 2] = [unseen, void];
    for case in cases {
        let mut led = Led::creating();
        let (id, record) = led.sent(false).unwrap();
        case(&mut led, id, record);
        assert!(!led.answers());
        led.claims.shut_down();
        led.poll();
        let Some((_, Record::Session(session))) = led.sent(true) else { panic!("a session") };
        assert_eq!(session.ended.last().map(|ended| ended.by), Some(EndedBy::Lapse));
    }
}

#[test]
fn a_stuck_watch_is_opened_anew_and_ends_freshness_by_itself() {
    let mut led = Led::owner();
    led.pass(Duration::from_secs(1));
    let (id, _) = led.sent(true).unwrap();
    led.answer(id);
    led.now += Duration::from_secs(1);
    let actions = led.claims.poll(led.now());
    assert!(actions.contains(&Action::OpenWatch), "{actions:?}");
    led.pass(FRESH - Duration::from_secs(2));
    assert!(!led.answers());
}

/// Its title went with the claim, if it knows; if it does not, it is not fresh any more after D. It may be holding on.
#[test]
fn a_claim_that_vanished_is_waited_out_though_its_holder_lives() {
    let other_format = Record::Session(Session {
        node: "n".into(),
        id: Some("s".into()),
        other_format: true,
        duration_seconds: 4,
        ..Session::default()
    });
    let cases = [
        (session("n", Some("s"), &[]), held("n", "s")),
        (other_format, Holder::OtherFormat { node: "n".into() }),
        (session("n", Some("t"), &[]), held("n", "s")),
    ];
    for (living, holder) in cases {
        let mut led = Led::new(vec![living.clone(), claim(holder.clone(), false)]);
        let renew_for = |led: &mut Led, time: Duration| {
            let end = led.now + time;
            while led.now < end {
                led.pass(Duration::from_millis(250).min(end - led.now));
                let version = led.version();
                led.watch(LeaseEvent::Changed(version, living.clone()));
                while let Some((id, record)) = led.sent(true) {
                    let version = led.answer(id);
                    led.watch(LeaseEvent::Changed(version, record));
                }
            }
        };
        renew_for(&mut led, Duration::from_secs(1));
        let gone = led.version().resource_version;
        led.watch(LeaseEvent::Gone(claim(Holder::Stranger, false).key(), gone));
        renew_for(&mut led, D - Duration::from_millis(1));
        assert!(led.sent(false).is_none(), "{holder:?}: claimed before D");
        renew_for(&mut led, Duration::from_secs(1));
        let (id, record) = led.sent(false).unwrap_or_else(|| panic!("{holder:?}: never claimed"));
        let version = led.answer(id);
        led.watch(LeaseEvent::Changed(version, record));
        assert!(led.answers());
        assert_eq!(led.rights().probes.get(&vip()), Some(&3), "{holder:?}");
    }
}
