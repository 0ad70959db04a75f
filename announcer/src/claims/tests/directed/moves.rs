// SPDX-License-Identifier: Apache-2.0
//! Moves, other durations and other formats beside one's own.

use super::*;

fn bidder(id: &str, bids: bool) -> Record {
    let Record::Session(session) = session("n", Some(id), &[]) else { panic!("a session") };
    let bids = bids.then(vip).into_iter().collect();
    Record::Session(Session { bids, policies: ["p".to_owned()].into(), ..session })
}

fn prefers(node: &str) -> Arc<Wants> {
    wants([(vip(), Want { preferred_node: Some(node.into()), ..want() })])
}

impl Led {
    /// Whom the newest write gives the address up for; nobody: `-`.
    fn released_to(&mut self) -> Option<String> {
        match self.sent(false)?.1 {
            Record::Claim(Claim { holder: Holder::Released { favours, .. }, .. }) => {
                Some(favours.unwrap_or_else(|| "-".into()))
            }
            other => panic!("{other:?}"),
        }
    }

    fn sees(&mut self, record: Record) {
        let version = self.version();
        self.watch(LeaseEvent::Changed(version, record));
    }
}

#[test]
fn a_holder_hands_over_to_the_preferred_node_that_asks_and_then_waits_a_second() {
    let mut led = Led::owner();
    led.claims.want(prefers("n"));
    led.poll();
    assert!(led.answers(), "nobody asked");
    led.sees(bidder("s", false));
    assert!(led.answers(), "it lives, and does not want it");
    led.order.clear();
    led.sees(bidder("s", true));
    assert!(!led.answers());
    assert_eq!(led.order, ["publish", "write"], "silent first");
    let (id, record) = led.sent(false).unwrap();
    let Record::Claim(Claim { holder: Holder::Released { favours, .. }, .. }) = &record else {
        panic!("{record:?}")
    };
    assert_eq!(favours.as_deref(), Some("n"));
    let version = led.answer(id);
    led.watch(LeaseEvent::Changed(version, record));
    led.pass(Duration::from_millis(990));
    led.settle();
    assert!(!led.answers(), "left to the other for a second");
    led.pass(Duration::from_millis(100));
    led.settle();
    led.pass(Duration::from_millis(100));
    led.settle();
    assert!(led.answers(), "which did not take it");
    for _ in 0..300 {
        led.pass(Duration::from_millis(100));
        led.settle();
    }
    led.sees(bidder("s", true));
    assert!(led.answers(), "nor is it offered again for a minute");
}

#[test]
fn nobody_is_handed_what_nobody_prefers_it_to_have() {
    let mut led = Led::owner();
    led.sees(bidder("s", true));
    assert!(led.answers());
    led.claims.want(prefers("other"));
    led.poll();
    assert!(led.answers());
}

#[test]
fn a_silent_bidder_is_no_heir() {
    let mut led = Led::owner();
    led.sees(bidder("s", true));
    for _ in 0..20 {
        led.pass(Duration::from_millis(100));
        led.settle();
    }
    led.claims.want(prefers("n"));
    led.poll();
    assert!(led.answers(), "its bid is two seconds old");
}

#[test]
fn a_preferred_node_asks_while_another_holds_and_takes_what_is_given_for_it() {
    let mut led = Led::new(vec![session("n", Some("s"), &[]), claim(held("n", "s"), false)]);
    led.settle();
    led.claims.want(prefers("me"));
    led.pass(Duration::from_secs(1));
    let Some((id, Record::Session(own))) = led.sent(true) else { panic!("a session") };
    assert_eq!(own.bids, [vip()].into());
    let version = led.answer(id);
    led.watch(LeaseEvent::Changed(version, Record::Session(own)));
    let given = Holder::Released { node: "n".into(), session: "s".into(), favours: Some("me".into()) };
    led.sees(claim(given, false));
    let (id, _) = led.sent(false).expect("taken at once");
    led.answer(id);
    assert!(led.answers());
    assert!(led.rights().probes.is_empty());
}

#[test]
fn what_is_given_for_another_node_is_left_to_it_for_a_second() {
    let given = Holder::Released { node: "n".into(), session: "s".into(), favours: Some("other".into()) };
    let mut led = Led::new(vec![claim(given, false)]);
    led.settle();
    led.pass(Duration::from_millis(999));
    led.settle();
    assert!(!led.answers());
    led.pass(Duration::from_millis(100));
    led.settle();
    assert!(led.answers());
}

#[test]
fn a_node_that_is_emptied_gives_up_and_takes_nothing() {
    let mut led = Led::owner();
    led.claims.want(wants([(vip(), Want { leaving: true, ..want() })]));
    led.poll();
    assert_eq!(led.released_to().as_deref(), Some("-"));
    led.claims.on_answer(WriteId(u64::MAX), Answer::Unknown, led.now());
    assert!(!led.answers());
    led.pass(Duration::from_secs(2));
    assert!(led.sent(false).is_none_or(|(_, record)| matches!(
        record,
        Record::Claim(Claim { holder: Holder::Released { .. }, .. })
    )));
}

#[test]
fn balance_moves_one_address_and_only_after_ten_quiet_seconds() {
    let released = claim(Holder::Released { node: "n".into(), session: "s".into(), favours: None }, false);
    let mut led = Led::with(vec![released], OnOutage::Fence, Rebalance::Slow);
    led.settle();
    assert!(led.answers());
    let second: IpAddr = "192.168.99.129".parse().unwrap();
    let Record::Claim(first) =
        claim(Holder::Released { node: "n".into(), session: "s".into(), favours: None }, false)
    else {
        panic!("a claim")
    };
    led.claims.want(wants([(vip(), want()), (second, want())]));
    led.sees(Record::Claim(Claim { address: second, ..first }));
    led.settle();
    led.sees(bidder("s", true));
    for _ in 0..90 {
        led.pass(Duration::from_millis(100));
        led.sees(bidder("s", true));
        led.settle();
        assert!(led.answers(), "ownership has not been quiet for long enough");
    }
    for _ in 0..15 {
        led.pass(Duration::from_millis(100));
        led.sees(bidder("s", true));
        while let Some((id, record)) = led.sent(true) {
            let version = led.answer(id);
            led.watch(LeaseEvent::Changed(version, record));
        }
    }
    assert_eq!(led.released_to().as_deref(), Some("n"));
    assert!(led.rights().titles.contains(&second), "one is enough");
}

/// A rolling change of D: everybody is judged by the D of its own Lease, or by the longest in sight.
#[test]
fn a_session_with_a_longer_duration_is_given_its_own_time() {
    for (theirs, expected) in [(9_u32, 9), (4, 4), (2, 2)] {
        let Record::Session(other) = session("n", Some("s"), &[]) else { panic!("a session") };
        let other = Record::Session(Session { duration_seconds: theirs, ..other });
        let Record::Claim(theirs_claim) = claim(held("n", "s"), false) else { panic!("a claim") };
        let theirs_claim = Record::Claim(Claim { duration_seconds: theirs, ..theirs_claim });
        let mut led = Led::new(vec![other, theirs_claim]);
        led.settle();
        let begun = led.now;
        let ended = loop {
            led.pass(Duration::from_millis(50));
            let ending = led
                .writes
                .iter()
                .any(|(_, write)| matches!(write, Write::Replace(_, Record::Session(s)) if s.node == "n"));
            if ending {
                break led.now - begun;
            }
            while let Some((id, record)) = led.sent(true) {
                let version = led.answer(id);
                led.watch(LeaseEvent::Changed(version, record));
            }
            assert!(led.now - begun < Duration::from_secs(12), "never");
        };
        let least = Duration::from_secs(expected);
        assert!(ended >= least && ended < least + D, "{theirs}: {ended:?}");
    }
}

/// Its claim says nothing that can be read but the node: so that node's sessions of that format must be over for D.
#[test]
fn a_claim_of_another_format_is_left_to_its_living_holder_and_waited_out_after_it() {
    let alive = |id: Option<&str>| {
        let id = id.map(|id| format!("n_{id}"));
        let other_format = true;
        Record::Session(Session {
            node: "n".into(),
            id,
            other_format,
            duration_seconds: 4,
            ..Session::default()
        })
    };
    let mut led = Led::new(vec![alive(Some("s")), claim(Holder::OtherFormat { node: "n".into() }, false)]);
    for _ in 0..100 {
        led.pass(Duration::from_millis(100));
        led.sees(alive(Some("s")));
        while let Some((id, record)) = led.sent(true) {
            let version = led.answer(id);
            led.watch(LeaseEvent::Changed(version, record));
        }
        assert!(led.sent(false).is_none(), "taken from a living holder");
    }
    led.sees(alive(None));
    led.settle();
    led.pass(D - Duration::from_millis(1));
    led.settle();
    assert!(!led.answers());
    led.pass(Duration::from_millis(1));
    led.settle();
    assert!(led.answers());
    assert_eq!(led.rights().probes[&vip()], 3);
}
