// SPDX-License-Identifier: Apache-2.0
//! The NDP cases N1 to N25, as far as one frame can show them; V is owned, W is not, and shares V's group.

use std::net::{IpAddr, Ipv6Addr};

use gateherald_wire::{
    ALL_NODES, AdvertFlags, MacAddr, NeighborFrame, PacketMeta, PacketType, ethernet_group, solicited_node,
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

const CLIENT_IP: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0x99, 0, 0, 0, 0x20);
const LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const V: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0x99, 0, 0, 0xab, 0xcdef);
const W: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0x99, 0, 1, 0xab, 0xcdef);
/// Where the ICMPv6 message begins.
const MESSAGE: usize = 54;

fn nic() -> Nic {
    Nic { mac: OWN, link_local: Some(LOCAL) }
}

fn bytes(frame: &NdpFrame) -> Vec<u8> {
    let mut bytes = vec![0xa5; frame.wire_len()];
    frame.emit(&mut bytes).unwrap();
    bytes
}

fn judged(frame: &NdpFrame, meta: PacketMeta, node: &Node) -> Verdict {
    respond(Protocol::Ndp, &bytes(frame), meta, nic(), node)
}

fn fresh() -> Node {
    owning(V, Ok(Right::Fresh))
}

fn group() -> PacketMeta {
    meta(PacketType::Multicast)
}

fn ask(target: Ipv6Addr) -> NdpFrame {
    NdpFrame::solicit(CLIENT, CLIENT_IP, target)
}

fn silent(frame: NdpFrame) -> NdpFrame {
    NdpFrame { ndp: NdpRepr::Solicit { target: frame.ndp.target(), link_layer: None }, ..frame }
}

fn unicast(frame: NdpFrame) -> NdpFrame {
    NdpFrame { destination: OWN, to: frame.ndp.target(), ..frame }
}

/// What another host tells about an address, answering somebody.
fn advert(mac: MacAddr, address: Ipv6Addr) -> NdpFrame {
    let flags = AdvertFlags { solicited: true, ..AdvertFlags::default() };
    let ndp = NdpRepr::Advert { target: address, link_layer: Some(mac), flags };
    NdpFrame { destination: OWN, source: mac, from: address, to: LOCAL, ndp }
}

/// The one right answer to the client.
fn answered() -> Verdict {
    let flags = AdvertFlags { solicited: true, overrides: true, router: false };
    let ndp = NdpRepr::Advert { target: V, link_layer: Some(OWN), flags };
    Verdict::Reply(NdpFrame { destination: CLIENT, source: OWN, from: LOCAL, to: CLIENT_IP, ndp }.into())
}

#[test]
fn frames_about_an_owned_address() {
    use PacketType::{Host, OtherHost, Outgoing};
    let everybody = Verdict::Reply(NdpFrame::unsolicited(OWN, LOCAL, V).into());
    let probe = NdpFrame::probe(CLIENT, V);
    let by_stranger = || conflict(V, STRANGER, false);
    let from = |frame: NdpFrame, from| NdpFrame { from, ..frame };
    let cases = [
        ("N1 to the group", group(), ask(V), answered()),
        ("N2 without SLLA", group(), silent(ask(V)), answered()),
        ("N3 unicast, without SLLA", meta(Host), unicast(silent(ask(V))), answered()),
        ("N3 unicast", meta(Host), unicast(ask(V)), answered()),
        ("N4 probe", group(), probe, everybody),
        ("N14 W in V's group", group(), ask(W), refused(Refusal::NotOurs)),
        ("N16 solicited", meta(Host), advert(STRANGER, V), by_stranger()),
        ("N16 to everybody", group(), NdpFrame::unsolicited(STRANGER, CLIENT_IP, V), by_stranger()),
        ("N16 sends from V", group(), NdpFrame::solicit(STRANGER, V, W), by_stranger()),
        ("N16 asks from V for V", group(), NdpFrame::solicit(STRANGER, V, V), by_stranger()),
        ("N16 tells from V about W", group(), NdpFrame::unsolicited(STRANGER, V, W), by_stranger()),
        ("N17 probe of another announcer", group(), NdpFrame::probe(PEER, V), everybody),
        (
            "N20 advertisement of W",
            group(),
            NdpFrame::unsolicited(STRANGER, W, W),
            dropped(DropReason::NotARequest),
        ),
        ("N25 tagged", tagged(100), ask(V), dropped(DropReason::Vlan)),
        ("N25 priority tag only", tagged(0xe000), ask(V), answered()),
        ("N25 looped probe", group(), NdpFrame::probe(OWN, V), dropped(DropReason::OwnFrame)),
        ("N25 looped", group(), NdpFrame::unsolicited(OWN, LOCAL, V), dropped(DropReason::OwnFrame)),
        (
            "N25 seen on the second link",
            group(),
            NdpFrame::unsolicited(OWN_SECOND_LINK, LOCAL, V),
            dropped(DropReason::OwnFrame),
        ),
        (
            "N25 relayed",
            group(),
            NdpFrame { source: STRANGER, ..NdpFrame::unsolicited(OWN, LOCAL, V) },
            dropped(DropReason::OwnFrame),
        ),
        ("N25 outgoing", meta(Outgoing), ask(V), dropped(DropReason::OwnFrame)),
        ("N25 other host", meta(OtherHost), ask(V), dropped(DropReason::OtherHost)),
        (
            "N25 to another",
            meta(Host),
            NdpFrame { destination: STRANGER, ..unicast(ask(V)) },
            dropped(DropReason::OtherHost),
        ),
        ("an ordinary handover", group(), NdpFrame::unsolicited(PEER, LOCAL, V), dropped(DropReason::Peer)),
        ("SLLA of a group", group(), sllao(MacAddr::BROADCAST), dropped(DropReason::BadSender)),
        ("SLLA zero", group(), sllao(MacAddr::ZERO), dropped(DropReason::BadSender)),
        (
            "asks from elsewhere",
            group(),
            from(ask(V), LOCAL),
            match answered() {
                Verdict::Reply(NeighborFrame::Ndp(reply)) => {
                    Verdict::Reply(NdpFrame { to: LOCAL, ..reply }.into())
                }
                other => other,
            },
        ),
    ];
    for (case, meta, frame, expected) in cases {
        assert_eq!(judged(&frame, meta, &fresh()), expected, "{case}");
    }
}

fn sllao(mac: MacAddr) -> NdpFrame {
    NdpFrame { ndp: NdpRepr::Solicit { target: V, link_layer: Some(mac) }, ..ask(V) }
}

#[test]
fn n24_without_a_link_local_address_the_answer_comes_from_the_address_itself() {
    let verdict =
        respond(Protocol::Ndp, &bytes(&ask(V)), group(), Nic { mac: OWN, link_local: None }, &fresh());
    let Verdict::Reply(NeighborFrame::Ndp(reply)) = verdict else { panic!("no reply") };
    assert_eq!((reply.from, reply.to), (V, CLIENT_IP));
}

#[test]
fn n15_and_n17_nothing_is_answered_without_the_right() {
    for right in RIGHTS {
        let Err(refusal) = right else { continue };
        let node = owning(V, right);
        for frame in
            [ask(V), silent(ask(V)), unicast(ask(V)), NdpFrame::probe(PEER, V), NdpFrame::probe(CLIENT, V)]
        {
            assert_eq!(judged(&frame, group(), &node), refused(refusal), "{frame}");
        }
        let told = judged(&NdpFrame::unsolicited(STRANGER, V, V), group(), &node);
        let expected = match refusal {
            Refusal::Probing | Refusal::Suspended | Refusal::Silenced => conflict(V, STRANGER, false),
            _ => dropped(DropReason::NotARequest),
        };
        assert_eq!(told, expected, "{}", refusal.name());
    }
}

#[test]
fn under_a_held_right_whoever_speaks_up_for_the_address_is_heard_and_not_answered() {
    let held = owning(V, Ok(Right::Held));
    for sender in [PEER, STRANGER] {
        for (frame, probe) in [
            (NdpFrame::probe(sender, V), true),
            (NdpFrame::unsolicited(sender, LOCAL, V), false),
            (advert(sender, V), false),
        ] {
            assert_eq!(judged(&frame, group(), &held), conflict(V, sender, probe), "{frame}");
        }
    }
    assert_eq!(judged(&ask(V), group(), &held), answered());
}

#[test]
fn n5_and_n7_to_n20_each_broken_rule_has_its_own_name() {
    for (case, offset, value, name) in [
        ("N5", 22, vec![0; 16], "bad-probe"),
        ("N7", 21, vec![254], "hop-limit"),
        ("N9", MESSAGE + 1, vec![1], "bad-code"),
        ("N10", 18, vec![0, 23], "too-short"),
        ("N11", MESSAGE + 8, ALL_NODES.octets().to_vec(), "group-target"),
        ("N12 no length", MESSAGE + 25, vec![0], "bad-option"),
        ("N12 overrun", MESSAGE + 25, vec![2], "bad-option"),
        ("N20 router solicitation", MESSAGE, vec![133], "other-message"),
        ("N20 router advertisement", MESSAGE, vec![134], "other-message"),
        ("N20 redirect", MESSAGE, vec![137], "other-message"),
        ("N20 echo", MESSAGE, vec![128], "other-message"),
        ("fragment", 20, vec![44], "other-message"),
        ("IPv4", 14, vec![0x45], "malformed"),
    ] {
        let mut bytes = bytes(&ask(V));
        bytes[offset..offset + value.len()].copy_from_slice(&value);
        let verdict = respond(Protocol::Ndp, &mended(bytes), group(), nic(), &fresh());
        assert_eq!(verdict.name(), name, "{case}");
        assert!(matches!(verdict, Verdict::Drop(DropReason::Malformed(_))), "{case}");
    }
    let mut damaged = bytes(&ask(V));
    damaged[MESSAGE + 2] ^= 1;
    assert_eq!(respond(Protocol::Ndp, &damaged, group(), nic(), &fresh()).name(), "bad-checksum", "N8");
    for len in 0..MESSAGE {
        let cut = respond(Protocol::Ndp, &bytes(&ask(V))[..len], group(), nic(), &fresh());
        assert_eq!(cut.name(), "malformed", "{len} bytes");
    }
}

/// With the checksum that belongs to what the message has become.
fn mended(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[MESSAGE + 2..MESSAGE + 4].fill(0);
    let length = usize::from(u16::from_be_bytes([bytes[18], bytes[19]]));
    let words = |bytes: &[u8]| -> u32 {
        bytes
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
            .sum()
    };
    let sum = words(&bytes[22..54]) + u32::from(bytes[19]) + 58 + words(&bytes[MESSAGE..MESSAGE + length]);
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
    bytes[MESSAGE + 2..MESSAGE + 4].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

#[test]
fn what_is_not_for_us_never_reaches_the_question_who_owns_it() {
    let node = fresh();
    for (meta, frame) in [
        (meta(PacketType::Outgoing), ask(V)),
        (meta(PacketType::OtherHost), ask(V)),
        (tagged(7), ask(V)),
        (meta(PacketType::Host), NdpFrame { destination: STRANGER, ..ask(V) }),
        (group(), sllao(MacAddr::ZERO)),
    ] {
        judged(&frame, meta, &node);
    }
    assert_eq!(*node.asked.borrow(), [] as [IpAddr; 0]);
}

fn any_mac() -> impl Strategy<Value = MacAddr> {
    let v = ethernet_group(solicited_node(V));
    prop::sample::select(vec![OWN, OWN_SECOND_LINK, PEER, CLIENT, STRANGER, MacAddr::ZERO, v])
}

fn any_address() -> impl Strategy<Value = Ipv6Addr> {
    prop::sample::select(vec![V, V, W, CLIENT_IP, LOCAL, solicited_node(V), ALL_NODES, Ipv6Addr::UNSPECIFIED])
}

fn any_frame() -> impl Strategy<Value = NdpFrame> {
    let flags = any::<[bool; 3]>().prop_map(|[router, solicited, overrides]| AdvertFlags {
        router,
        solicited,
        overrides,
    });
    let macs = (any_mac(), any_mac(), prop::option::of(any_mac()));
    let addresses = (any_address(), any_address(), any_address());
    (macs, addresses, prop::option::of(flags)).prop_map(
        |((destination, source, link_layer), (from, to, target), flags)| {
            let ndp = match flags {
                None => NdpRepr::Solicit { target, link_layer },
                Some(flags) => NdpRepr::Advert { target, link_layer, flags },
            };
            NdpFrame { destination, source, from, to, ndp }
        },
    )
}

fn any_meta() -> impl Strategy<Value = PacketMeta> {
    let tci = prop::option::weighted(0.2, any::<u16>());
    (0..6_u8, tci).prop_map(|(raw, vlan_tci)| PacketMeta { packet_type: raw.into(), vlan_tci })
}

proptest! {
    /// What must hold of an answer, said without the responder's own order of checks.
    #[test]
    fn an_answer_is_only_ever_sent_to_a_host_that_asked_for_an_owned_address(
        frame in any_frame(), meta in any_meta(), right in prop::sample::select(RIGHTS.to_vec())
    ) {
        let node = owning(V, right);
        match judged(&frame, meta, &node) {
            Verdict::Reply(NeighborFrame::Ndp(reply)) => {
                prop_assert!(right.is_ok() && !meta.in_vlan());
                prop_assert!(!matches!(meta.packet_type, PacketType::Outgoing | PacketType::OtherHost));
                let asked = matches!(frame.ndp, NdpRepr::Solicit { target: V, .. });
                prop_assert!(asked);
                prop_assert!(frame.from != V);
                let NdpRepr::Advert { target, link_layer, flags } = reply.ndp else {
                    return Err(TestCaseError::fail("a question for an answer"));
                };
                prop_assert_eq!((target, link_layer, reply.source), (V, Some(OWN), OWN));
                prop_assert!(flags.overrides && !flags.router);
                let probe = frame.from.is_unspecified();
                prop_assert_eq!(flags.solicited, !probe);
                prop_assert_eq!(reply.to, if probe { ALL_NODES } else { frame.from });
                prop_assert!(probe || (!reply.destination.is_group() && reply.destination != MacAddr::ZERO));
                prop_assert!(!probe || right == Ok(Right::Fresh));
            }
            Verdict::Reply(NeighborFrame::Arp(reply)) => prop_assert!(false, "{}", reply),
            Verdict::Conflict(Conflict { address, claimant, probe }) => {
                prop_assert_eq!(address, IpAddr::from(V));
                prop_assert!(!probe || right == Ok(Right::Held));
                prop_assert!(claimant != OWN && claimant != OWN_SECOND_LINK && !claimant.is_group());
                prop_assert!(claimant != PEER || right == Ok(Right::Held));
            }
            Verdict::Drop(reason) => prop_assert!(!reason.name().is_empty()),
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..160), meta in any_meta(),
        right in prop::sample::select(RIGHTS.to_vec())
    ) {
        let verdict = respond(Protocol::Ndp, &bytes, meta, nic(), &owning(V, right));
        prop_assert!(!verdict.name().is_empty());
    }
}
