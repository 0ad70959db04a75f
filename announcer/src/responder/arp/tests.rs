// SPDX-License-Identifier: Apache-2.0
//! The ARP cases A1 to A29, as far as one frame can show them; V is owned, W is not.

use std::net::{IpAddr, Ipv4Addr};

use gateherald_wire::{
    ArpError, ArpRepr, EtherType, FrameError, MacAddr, NeighborFrame, PacketMeta, PacketType, Truncated,
};
use proptest::prelude::*;

use super::*;
use crate::responder::{
    Conflict, Protocol, Refusal, Right, respond,
    tests::{
        CLIENT, Node, OWN, OWN_SECOND_LINK, PEER, RIGHTS, STRANGER, conflict, dropped, meta, owning, refused,
        tagged,
    },
};

const CLIENT_IP: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 20);
const V: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 130);
const W: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 131);

fn node(v: Result<Right, Refusal>) -> Node {
    owning(V, v)
}

fn fresh() -> Node {
    node(Ok(Right::Fresh))
}

fn nic(mac: MacAddr) -> Nic {
    Nic { mac, link_local: None }
}

fn judged(bytes: &[u8], meta: PacketMeta, node: &Node) -> Verdict {
    respond(Protocol::Arp, bytes, meta, nic(OWN), node)
}

fn broadcast() -> PacketMeta {
    meta(PacketType::Broadcast)
}

fn ask(tpa: Ipv4Addr) -> ArpFrame {
    ArpFrame::request(CLIENT, CLIENT_IP, tpa)
}

fn with(change: impl FnOnce(&mut ArpFrame)) -> ArpFrame {
    let mut frame = ask(V);
    change(&mut frame);
    frame
}

fn operation(number: u16) -> ArpFrame {
    with(|frame| frame.arp.operation = number.into())
}

fn by_stranger() -> Verdict {
    conflict(V, STRANGER, false)
}

/// The one right answer to the client.
fn answered() -> Verdict {
    let arp = ArpRepr { operation: Operation::Reply, sha: OWN, spa: V, tha: CLIENT, tpa: CLIENT_IP };
    Verdict::Reply(ArpFrame { destination: CLIENT, source: OWN, arp }.into())
}

fn answered_probe() -> Verdict {
    let Verdict::Reply(NeighborFrame::Arp(mut frame)) = answered() else { unreachable!() };
    frame.arp.tpa = Ipv4Addr::UNSPECIFIED;
    Verdict::Reply(frame.into())
}

#[test]
fn frames_for_an_owned_address() {
    use PacketType::{Host, OtherHost, Outgoing};
    let from_stranger = |spa, tpa| ArpFrame::request(STRANGER, spa, tpa);
    let other = |number| dropped(DropReason::OtherOperation(number));
    let cases = [
        ("A1 broadcast request", broadcast(), ask(V), answered()),
        ("A2 unicast request", meta(Host), with(|f| f.destination = OWN), answered()),
        ("A3 probe", broadcast(), ArpFrame::probe(CLIENT, V), answered_probe()),
        ("A4 request for W", broadcast(), ask(W), refused(Refusal::NotOurs)),
        ("A7 reply about V", meta(Host), operation(2), dropped(DropReason::NotARequest)),
        ("A8 op 3", broadcast(), operation(3), other(3)),
        ("A8 op 4", broadcast(), operation(4), other(4)),
        ("A8 op 8", broadcast(), operation(8), other(8)),
        ("A8 op 9", broadcast(), operation(9), other(9)),
        ("A8 op 0", broadcast(), operation(0), other(0)),
        ("A8 op 65535", broadcast(), operation(65535), other(65535)),
        ("A9 to another", meta(Host), with(|f| f.destination = STRANGER), dropped(DropReason::OtherHost)),
        ("A9 other host", meta(OtherHost), ask(V), dropped(DropReason::OtherHost)),
        ("A14 outgoing", meta(Outgoing), ask(V), dropped(DropReason::OwnFrame)),
        (
            "A14 looped announcement",
            broadcast(),
            ArpFrame::gratuitous_request(OWN, V),
            dropped(DropReason::OwnFrame),
        ),
        (
            "A14 own announcement seen on the second link",
            broadcast(),
            ArpFrame::gratuitous_reply(OWN_SECOND_LINK, V),
            dropped(DropReason::OwnFrame),
        ),
        (
            "A14 own announcement relayed by an access point",
            broadcast(),
            ArpFrame { source: STRANGER, ..ArpFrame::gratuitous_request(OWN, V) },
            dropped(DropReason::OwnFrame),
        ),
        (
            "A14 from an own link, about another host",
            broadcast(),
            ArpFrame { source: OWN_SECOND_LINK, ..ArpFrame::gratuitous_request(STRANGER, V) },
            dropped(DropReason::OwnFrame),
        ),
        ("A14 own probe", broadcast(), ArpFrame::probe(OWN, V), dropped(DropReason::OwnFrame)),
        (
            "A15 announcement, request form",
            broadcast(),
            ArpFrame::gratuitous_request(STRANGER, V),
            by_stranger(),
        ),
        ("A15 announcement, reply form", broadcast(), ArpFrame::gratuitous_reply(STRANGER, V), by_stranger()),
        (
            "A16 reply by another",
            meta(Host),
            ArpFrame { destination: OWN, ..ArpFrame::reply(&ask(V).arp, STRANGER) },
            by_stranger(),
        ),
        ("A17 used by another", broadcast(), from_stranger(V, W), by_stranger()),
        ("A18 group", broadcast(), with(|f| f.arp.sha.0[0] |= 1), dropped(DropReason::BadSender)),
        (
            "A18 broadcast",
            broadcast(),
            with(|f| f.arp.sha = MacAddr::BROADCAST),
            dropped(DropReason::BadSender),
        ),
        ("A18 zero", broadcast(), with(|f| f.arp.sha = MacAddr::ZERO), dropped(DropReason::BadSender)),
        ("A20 tagged", tagged(100), ask(V), dropped(DropReason::Vlan)),
        (
            "A20 tagged announcement",
            tagged(5),
            ArpFrame::gratuitous_request(STRANGER, V),
            dropped(DropReason::Vlan),
        ),
        ("A20 priority tag only", tagged(0xe000), ask(V), answered()),
    ];
    for (case, meta, frame, expected) in cases {
        assert_eq!(judged(&frame.to_bytes(), meta, &fresh()), expected, "{case}");
    }
}

#[test]
fn nothing_is_answered_without_the_right_and_nothing_is_a_conflict() {
    for (case, refusal, name) in [
        ("A5", Refusal::OtherInterface, "other-interface"),
        ("A6", Refusal::NotOwner, "not-owner"),
        ("A6 and A29", Refusal::NotFresh, "not-fresh"),
        ("A27", Refusal::LinkDown, "link-down"),
        ("A28", Refusal::NotDesired, "not-desired"),
        ("A4", Refusal::NotOurs, "not-ours"),
    ] {
        let node = node(Err(refusal));
        let expected = dropped(DropReason::Refused(refusal));
        for frame in [ask(V), ArpFrame::probe(CLIENT, V), ArpFrame::gratuitous_request(STRANGER, V)] {
            let verdict = judged(&frame.to_bytes(), broadcast(), &node);
            assert_eq!(verdict, expected, "{case}: {frame}");
            assert_eq!(verdict.name(), name);
        }
        let reply = judged(&ArpFrame::gratuitous_reply(STRANGER, V).to_bytes(), broadcast(), &node);
        assert_eq!(reply, dropped(DropReason::NotARequest), "{case}");
    }
}

#[test]
fn the_addresses_of_other_announcers_are_no_conflict_while_the_title_is_fresh() {
    for frame in [
        ArpFrame::gratuitous_request(PEER, V),
        ArpFrame::gratuitous_reply(PEER, V),
        ArpFrame::request(PEER, V, W),
    ] {
        let verdict = judged(&frame.to_bytes(), broadcast(), &fresh());
        assert_eq!(verdict, dropped(DropReason::Peer), "{frame}");
        assert_eq!(verdict.name(), "peer");
    }
    let reply =
        ArpFrame { destination: PEER, ..ArpFrame::reply(&ArpFrame::request(PEER, CLIENT_IP, V).arp, OWN) };
    let asking = ArpFrame::request(PEER, CLIENT_IP, V).to_bytes();
    assert_eq!(
        judged(&asking, broadcast(), &fresh()),
        Verdict::Reply(reply.into()),
        "it may ask like anybody"
    );
}

#[test]
fn under_a_held_right_whoever_speaks_up_for_the_address_is_heard_and_not_answered() {
    let held = node(Ok(Right::Held));
    for sender in [PEER, STRANGER] {
        for (frame, probe) in [
            (ArpFrame::probe(sender, V), true),
            (ArpFrame::gratuitous_request(sender, V), false),
            (ArpFrame::gratuitous_reply(sender, V), false),
        ] {
            assert_eq!(judged(&frame.to_bytes(), broadcast(), &held), conflict(V, sender, probe), "{frame}");
        }
    }
    assert_eq!(judged(&ask(V).to_bytes(), broadcast(), &held), answered());
}

#[test]
fn a15_while_an_address_is_at_rest_its_use_by_others_goes_on_being_noticed() {
    for refusal in [Refusal::Probing, Refusal::Suspended, Refusal::Silenced] {
        let node = node(Err(refusal));
        let stranger = ArpFrame::gratuitous_request(STRANGER, V).to_bytes();
        assert_eq!(judged(&stranger, broadcast(), &node), by_stranger());
        let peer = ArpFrame::gratuitous_request(PEER, V).to_bytes();
        assert_eq!(judged(&peer, broadcast(), &node), dropped(DropReason::Peer));
        for asked in [ask(V), ArpFrame::probe(CLIENT, V)] {
            assert_eq!(judged(&asked.to_bytes(), broadcast(), &node), refused(refusal));
        }
    }
}

#[test]
fn a11_and_a12_malformed_frames_are_dropped_by_that_name() {
    let good = ask(V).to_bytes();
    let spoil = |offset: usize, value: u8| {
        let mut bytes = good;
        bytes[offset] = value;
        bytes
    };
    for (offset, value, error) in [
        (15, 6, ArpError::HardwareType(6)),
        (17, 6, ArpError::ProtocolType(EtherType::ARP)),
        (18, 5, ArpError::HardwareLength(5)),
        (19, 16, ArpError::ProtocolLength(16)),
    ] {
        let verdict = judged(&spoil(offset, value), broadcast(), &fresh());
        assert_eq!(verdict, dropped(DropReason::Malformed(error.into())));
        assert_eq!(verdict.name(), "malformed");
    }
    for len in 0..good.len() {
        let verdict = judged(&good[..len], broadcast(), &fresh());
        assert_eq!(verdict.name(), "malformed", "{len} bytes");
    }
    let empty = FrameError::Header(Truncated { have: 0, need: 14 });
    assert_eq!(judged(&[], broadcast(), &fresh()), dropped(DropReason::Malformed(empty)));
}

#[test]
fn a13_padding_and_junk_do_not_matter() {
    for len in [42, 60, 1500] {
        let mut bytes = vec![0xa5; len];
        bytes[..42].copy_from_slice(&ask(V).to_bytes());
        assert_eq!(judged(&bytes, broadcast(), &fresh()), answered(), "{len} bytes");
    }
}

#[test]
fn a27_the_answer_carries_the_address_that_the_link_has_now() {
    let verdict = respond(Protocol::Arp, &ask(V).to_bytes(), broadcast(), nic(OWN_SECOND_LINK), &fresh());
    let Verdict::Reply(NeighborFrame::Arp(frame)) = verdict else { panic!("no reply") };
    assert_eq!((frame.source, frame.arp.sha), (OWN_SECOND_LINK, OWN_SECOND_LINK));
}

#[test]
fn what_is_not_for_us_never_reaches_the_question_who_owns_it() {
    let node = fresh();
    for (meta, frame) in [
        (meta(PacketType::Outgoing), ask(V)),
        (meta(PacketType::OtherHost), ask(V)),
        (tagged(7), ask(V)),
        (broadcast(), operation(8)),
        (meta(PacketType::Host), with(|frame| frame.destination = STRANGER)),
    ] {
        judged(&frame.to_bytes(), meta, &node);
    }
    assert_eq!(*node.asked.borrow(), [] as [IpAddr; 0]);
}

fn any_mac() -> impl Strategy<Value = MacAddr> {
    let known = prop::sample::select(vec![
        OWN,
        OWN_SECOND_LINK,
        PEER,
        CLIENT,
        STRANGER,
        MacAddr::BROADCAST,
        MacAddr::ZERO,
    ]);
    prop_oneof![4 => known, 1 => any::<[u8; 6]>().prop_map(MacAddr)]
}

fn any_address() -> impl Strategy<Value = Ipv4Addr> {
    let known = prop::sample::select(vec![V, W, CLIENT_IP, Ipv4Addr::UNSPECIFIED]);
    prop_oneof![4 => known, 1 => any::<u32>().prop_map(Ipv4Addr::from)]
}

fn any_meta() -> impl Strategy<Value = PacketMeta> {
    let tci = prop::option::weighted(0.2, any::<u16>());
    (0..6_u8, tci).prop_map(|(raw, vlan_tci)| PacketMeta { packet_type: raw.into(), vlan_tci })
}

fn any_frame() -> impl Strategy<Value = ArpFrame> {
    let operation = prop_oneof![4 => 1..3_u16, 1 => any::<u16>()];
    let macs = (any_mac(), any_mac(), any_mac(), any_mac());
    (macs, operation, any_address(), any_address()).prop_map(
        |((destination, source, sha, tha), operation, spa, tpa)| ArpFrame {
            destination,
            source,
            arp: ArpRepr { operation: operation.into(), sha, spa, tha, tpa },
        },
    )
}

fn any_right() -> impl Strategy<Value = Result<Right, Refusal>> {
    prop::sample::select(RIGHTS.to_vec())
}

proptest! {
    /// What must hold of a reply, said without the responder's own order of checks.
    #[test]
    fn a_reply_is_only_ever_sent_to_a_host_that_asked_for_an_owned_address(
        frame in any_frame(), meta in any_meta(), right in any_right()
    ) {
        match judged(&frame.to_bytes(), meta, &node(right)) {
            Verdict::Reply(NeighborFrame::Arp(reply)) => {
                prop_assert!(right.is_ok() && !meta.in_vlan());
                prop_assert!(!matches!(meta.packet_type, PacketType::Outgoing | PacketType::OtherHost));
                prop_assert_eq!((frame.arp.operation, frame.arp.tpa), (Operation::Request, V));
                prop_assert!(frame.arp.spa != V);
                prop_assert!(right != Ok(Right::Held) || !frame.arp.spa.is_unspecified());
                prop_assert!(!reply.destination.is_group() && reply.destination != MacAddr::ZERO);
                prop_assert_eq!(reply, ArpFrame::reply(&frame.arp, OWN));
            }
            Verdict::Reply(NeighborFrame::Ndp(reply)) => prop_assert!(false, "{}", reply),
            Verdict::Conflict(Conflict { address, claimant, probe }) => {
                prop_assert_eq!(address, IpAddr::from(V));
                let said = if probe { frame.arp.tpa } else { frame.arp.spa };
                prop_assert_eq!(said, V);
                prop_assert!(!probe || right == Ok(Right::Held));
                prop_assert!(claimant != OWN && claimant != OWN_SECOND_LINK && !claimant.is_group());
                prop_assert!(claimant != PEER || right == Ok(Right::Held));
            }
            Verdict::Drop(reason) => prop_assert!(!reason.name().is_empty()),
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..128), meta in any_meta(), right in any_right()
    ) {
        prop_assert!(!judged(&bytes, meta, &node(right)).name().is_empty());
    }
}
