// SPDX-License-Identifier: Apache-2.0
//! The ARP cases A1 to A29, as far as one frame can show them; V is owned, W is not.

use std::{cell::RefCell, collections::BTreeMap};

use gateherald_wire::{ArpError, EtherType, Truncated};
use proptest::prelude::*;

use super::*;

const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const OWN_SECOND_LINK: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const CLIENT: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xc]);
const STRANGER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xe]);
const CLIENT_IP: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 20);
const V: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 130);
const W: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 131);

/// A node with some addresses; remembers which it was asked about.
#[derive(Default)]
struct Node {
    addresses: BTreeMap<Ipv4Addr, Result<(), Refusal>>,
    asked: RefCell<Vec<IpAddr>>,
}

impl Ownership for Node {
    fn may_answer(&self, address: IpAddr) -> Result<(), Refusal> {
        self.asked.borrow_mut().push(address);
        let IpAddr::V4(address) = address else { return Err(Refusal::NotOurs) };
        self.addresses.get(&address).copied().unwrap_or(Err(Refusal::NotOurs))
    }

    fn is_own_mac(&self, mac: MacAddr) -> bool {
        [OWN, OWN_SECOND_LINK].contains(&mac)
    }
}

fn node(v: Result<(), Refusal>) -> Node {
    Node { addresses: BTreeMap::from([(V, v)]), ..Node::default() }
}

fn meta(packet_type: PacketType) -> PacketMeta {
    PacketMeta { packet_type, vlan_tci: None }
}

fn tagged(tci: u16) -> PacketMeta {
    PacketMeta { packet_type: PacketType::Broadcast, vlan_tci: Some(tci) }
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

fn dropped(reason: DropReason) -> Verdict {
    Verdict::Drop(reason)
}

fn conflict() -> Verdict {
    Verdict::Conflict { address: V, claimant: STRANGER }
}

/// The one right answer to the client.
fn answered() -> Verdict {
    let arp = ArpRepr { operation: Operation::Reply, sha: OWN, spa: V, tha: CLIENT, tpa: CLIENT_IP };
    Verdict::Reply(ArpFrame { destination: CLIENT, source: OWN, arp })
}

fn answered_probe() -> Verdict {
    let Verdict::Reply(mut frame) = answered() else { unreachable!() };
    frame.arp.tpa = Ipv4Addr::UNSPECIFIED;
    Verdict::Reply(frame)
}

#[test]
fn frames_for_an_owned_address() {
    use PacketType::{Host, OtherHost, Outgoing};
    let refused = |refusal| dropped(DropReason::Refused(refusal));
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
            conflict(),
        ),
        ("A15 announcement, reply form", broadcast(), ArpFrame::gratuitous_reply(STRANGER, V), conflict()),
        (
            "A16 reply by another",
            meta(Host),
            ArpFrame { destination: OWN, ..ArpFrame::reply(&ask(V).arp, STRANGER) },
            conflict(),
        ),
        ("A17 used by another", broadcast(), from_stranger(V, W), conflict()),
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
        assert_eq!(respond(&frame.to_bytes(), meta, OWN, &node(Ok(()))), expected, "{case}");
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
            let verdict = respond(&frame.to_bytes(), broadcast(), OWN, &node);
            assert_eq!(verdict, expected, "{case}: {frame}");
            assert_eq!(verdict.name(), name);
        }
        let reply = respond(&ArpFrame::gratuitous_reply(STRANGER, V).to_bytes(), broadcast(), OWN, &node);
        assert_eq!(reply, dropped(DropReason::NotARequest), "{case}");
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
        let verdict = respond(&spoil(offset, value), broadcast(), OWN, &node(Ok(())));
        assert_eq!(verdict, dropped(DropReason::Malformed(error.into())));
        assert_eq!(verdict.name(), "malformed");
    }
    for len in 0..good.len() {
        let verdict = respond(&good[..len], broadcast(), OWN, &node(Ok(())));
        assert_eq!(verdict.name(), "malformed", "{len} bytes");
    }
    let empty = FrameError::Header(Truncated { have: 0, need: 14 });
    assert_eq!(respond(&[], broadcast(), OWN, &node(Ok(()))), dropped(DropReason::Malformed(empty)));
}

#[test]
fn a13_padding_and_junk_do_not_matter() {
    for len in [42, 60, 1500] {
        let mut bytes = vec![0xa5; len];
        bytes[..42].copy_from_slice(&ask(V).to_bytes());
        assert_eq!(respond(&bytes, broadcast(), OWN, &node(Ok(()))), answered(), "{len} bytes");
    }
}

#[test]
fn a27_the_answer_carries_the_address_that_the_link_has_now() {
    let Verdict::Reply(frame) = respond(&ask(V).to_bytes(), broadcast(), OWN_SECOND_LINK, &node(Ok(())))
    else {
        panic!("no reply")
    };
    assert_eq!((frame.source, frame.arp.sha), (OWN_SECOND_LINK, OWN_SECOND_LINK));
}

#[test]
fn what_is_not_for_us_never_reaches_the_question_who_owns_it() {
    let node = node(Ok(()));
    for (meta, frame) in [
        (meta(PacketType::Outgoing), ask(V)),
        (meta(PacketType::OtherHost), ask(V)),
        (tagged(7), ask(V)),
        (broadcast(), operation(8)),
        (meta(PacketType::Host), with(|frame| frame.destination = STRANGER)),
    ] {
        respond(&frame.to_bytes(), meta, OWN, &node);
    }
    assert_eq!(*node.asked.borrow(), [] as [IpAddr; 0]);
}

fn any_mac() -> impl Strategy<Value = MacAddr> {
    let known =
        prop::sample::select(vec![OWN, OWN_SECOND_LINK, CLIENT, STRANGER, MacAddr::BROADCAST, MacAddr::ZERO]);
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

proptest! {
    /// What must hold of a reply, said without the responder's own order of checks.
    #[test]
    fn a_reply_is_only_ever_sent_to_a_host_that_asked_for_an_owned_address(
        frame in any_frame(), meta in any_meta(), owned: bool
    ) {
        let rights = if owned { Ok(()) } else { Err(Refusal::NotOwner) };
        match respond(&frame.to_bytes(), meta, OWN, &node(rights)) {
            Verdict::Reply(reply) => {
                prop_assert!(owned && !meta.in_vlan());
                prop_assert!(!matches!(meta.packet_type, PacketType::Outgoing | PacketType::OtherHost));
                prop_assert_eq!((frame.arp.operation, frame.arp.tpa), (Operation::Request, V));
                prop_assert!(frame.arp.spa != V);
                prop_assert!(!reply.destination.is_group() && reply.destination != MacAddr::ZERO);
                prop_assert_eq!(reply, ArpFrame::reply(&frame.arp, OWN));
            }
            Verdict::Conflict { address, claimant } => {
                prop_assert!(owned && address == V && frame.arp.spa == V);
                prop_assert!(claimant != OWN && claimant != OWN_SECOND_LINK && !claimant.is_group());
            }
            Verdict::Drop(reason) => prop_assert!(!reason.name().is_empty()),
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..128), meta in any_meta()) {
        prop_assert!(!respond(&bytes, meta, OWN, &node(Ok(()))).name().is_empty());
    }
}
