// SPDX-License-Identifier: Apache-2.0
use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use gateherald_wire::{ArpFrame, MacAddr, NdpFrame, NeighborFrame};
use proptest::prelude::*;

const ORDINARY: u32 = 0;
const BROADCAST: u32 = 1;
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const ELSEWHERE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1);

struct Packet {
    kind: u32,
    tag: u32,
    bytes: Vec<u8>,
}

/// What the kernel's interpreter does with the few operations that are used; panics on a jump out of the program.
fn run(program: &[Insn], packet: &Packet) -> u32 {
    let (mut at, mut acc) = (0, 0);
    loop {
        let i = program[at];
        at += 1;
        let branch = |holds: bool| usize::from(if holds { i.jt } else { i.jf });
        match i.code {
            op::LOAD_WORD => match i.k {
                field::PACKET_TYPE => acc = packet.kind,
                field::VLAN_TAG => acc = packet.tag,
                offset => match packet.bytes.get(offset as usize..offset as usize + 4) {
                    Some(bytes) => acc = u32::from_be_bytes(bytes.try_into().unwrap()),
                    // Behind the end of the packet the kernel returns 0.
                    None => return 0,
                },
            },
            op::LOAD_BYTE => match packet.bytes.get(i.k as usize) {
                Some(byte) => acc = u32::from(*byte),
                None => return 0,
            },
            op::AND => acc &= i.k,
            op::JUMP => at += i.k as usize,
            op::JUMP_EQUAL => at += branch(acc == i.k),
            op::JUMP_GREATER => at += branch(acc > i.k),
            op::JUMP_AT_LEAST => at += branch(acc >= i.k),
            op::RETURN => return i.k,
            other => panic!("unknown operation {other:#x}"),
        }
    }
}

fn bytes(frame: impl Into<NeighborFrame>) -> Vec<u8> {
    let mut buffer = [0xa5; NeighborFrame::MAX_LEN];
    frame.into().emit(&mut buffer).unwrap().to_vec()
}

fn passes(program: &[Insn], frame: impl Into<NeighborFrame>) -> bool {
    run(program, &Packet { kind: BROADCAST, tag: 0, bytes: bytes(frame) }) != 0
}

fn asks(from: Ipv4Addr, target: Ipv4Addr) -> ArpFrame {
    ArpFrame::request(MAC, from, target)
}

fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
    addresses.iter().map(|a| a.parse().unwrap()).collect()
}

fn folded(addresses: &[&str], limit: usize) -> (Vec<Range>, bool) {
    let (groups, exact) = fold(&set(addresses), limit);
    (groups.into_iter().flat_map(|group| group.ranges).collect(), exact)
}

#[test]
fn consecutive_addresses_are_one_range() {
    let (ranges, exact) = folded(&["192.168.99.129", "192.168.99.128", "192.168.99.130", "10.0.0.1"], 2);
    assert!(exact);
    assert_eq!(ranges, [(0x0a00_0001, 0x0a00_0001), (0xc0a8_6380, 0xc0a8_6382)]);
    let (ranges, exact) = folded(&["fd00::ffff", "fd00::1:0", "fd00::1:1"], 3);
    assert!(exact);
    assert_eq!(ranges, [(0xffff, 0x1_0001)]);
}

#[test]
fn the_closest_ranges_are_merged_first() {
    let (ranges, exact) = folded(&["10.0.0.1", "10.0.0.3", "10.0.9.1", "10.0.9.9"], 2);
    assert!(!exact);
    assert_eq!(ranges, [(0x0a00_0001, 0x0a00_0003), (0x0a00_0901, 0x0a00_0909)]);
    let (groups, exact) = fold(&set(&["fd00::1", "fd00::9", "fd00:0:0:1::1", "fd00:0:0:1::3"]), 7);
    assert!(!exact);
    let ranges: Vec<_> = groups.iter().map(|group| group.ranges.clone()).collect();
    assert_eq!(ranges, [vec![(1, 1), (9, 9)], vec![(1, 3)]]);
}

#[test]
fn with_too_many_networks_only_the_last_bits_are_compared() {
    let addresses: BTreeSet<IpAddr> =
        (0..100u16).map(|n| Ipv6Addr::new(0xfd00, 0, 0, n, 0, 0, 0, 7 + n % 2).into()).collect();
    let (groups, exact) = fold(&addresses, 120);
    assert!(!exact);
    assert_eq!(groups, [Group { prefix: None, ranges: vec![(7, 8)] }]);
}

#[test]
fn without_addresses_nothing_passes() {
    for protocol in [Protocol::Arp, Protocol::Ndp] {
        assert_eq!(program(protocol, &[]), [ret(0)]);
    }
}

#[test]
fn tagged_outgoing_and_foreign_frames_never_pass() {
    let vip = Ipv4Addr::new(10, 0, 0, 5);
    let vip6: Ipv6Addr = "fd00::5".parse().unwrap();
    for (protocol, address, frame) in [
        (Protocol::Arp, vip.into(), bytes(asks(ELSEWHERE, vip))),
        (Protocol::Ndp, vip6.into(), bytes(NdpFrame::solicit(MAC, ELSEWHERE6, vip6))),
    ] {
        let program = program(protocol, &fold(&BTreeSet::from([address]), MAX_WEIGHT).0);
        let packet = |kind, tag| Packet { kind, tag, bytes: frame.clone() };
        assert_ne!(run(&program, &packet(ORDINARY, 0)), 0);
        assert_ne!(run(&program, &packet(ORDINARY, 0xe000)), 0, "a priority tag is no VLAN");
        assert_eq!(run(&program, &packet(ORDINARY, 0xe001)), 0);
        assert_eq!(run(&program, &packet(PACKET_OTHERHOST, 0)), 0);
        assert_eq!(run(&program, &packet(PACKET_OUTGOING, 0)), 0);
    }
}

#[test]
fn n20_other_messages_never_pass_and_what_is_sent_from_the_address_does() {
    let vip: Ipv6Addr = "fd00::5".parse().unwrap();
    let program = program(Protocol::Ndp, &fold(&BTreeSet::from([vip.into()]), MAX_WEIGHT).0);
    let solicit = bytes(NdpFrame::solicit(MAC, ELSEWHERE6, vip));
    let with = |at: usize, value: u8| {
        let mut bytes = solicit.clone();
        bytes[at] = value;
        run(&program, &Packet { kind: BROADCAST, tag: 0, bytes }) != 0
    };
    assert!(with(54, 135) && with(54, 136));
    for kind in [128, 133, 134, 137, 143] {
        assert!(!with(54, kind), "type {kind}");
    }
    assert!(!with(20, 17), "UDP");
    assert!(passes(&program, NdpFrame::unsolicited(MAC, ELSEWHERE6, vip)));
    assert!(passes(&program, NdpFrame::solicit(MAC, vip, ELSEWHERE6)), "its use by another host");
    assert!(passes(&program, NdpFrame::probe(MAC, vip)));
    assert!(!passes(&program, NdpFrame::unsolicited(MAC, ELSEWHERE6, ELSEWHERE6)));
    for len in 0..78 {
        assert_eq!(run(&program, &Packet { kind: BROADCAST, tag: 0, bytes: solicit[..len].to_vec() }), 0);
    }
}

#[test]
fn the_longest_program_is_one_the_kernel_takes() {
    let v4: BTreeSet<IpAddr> = (0..2_000u32).map(|i| Ipv4Addr::from(i * 3).into()).collect();
    let v6: BTreeSet<IpAddr> = (0..2_000u128).map(|i| Ipv6Addr::from(i * 3).into()).collect();
    // 80 networks with two ranges each: as many prefixes as are compared.
    let networks: BTreeSet<IpAddr> =
        (0..160u16).map(|i| Ipv6Addr::new(0xfd00, 0, 0, i / 2, 0, 0, 0, i * 5).into()).collect();
    for (protocol, addresses, exact) in
        [(Protocol::Arp, v4, false), (Protocol::Ndp, v6, false), (Protocol::Ndp, networks, true)]
    {
        let (groups, is_exact) = fold(&addresses, MAX_WEIGHT);
        assert_eq!((is_exact, weight(&groups)), (exact, MAX_WEIGHT));
        let length = program(protocol, &groups).len();
        assert!(length <= 4_096, "{length}");
    }
}

fn v6(n: u32) -> Ipv6Addr {
    let [network, host] = [n / 100, n % 100].map(|part| u16::try_from(part).unwrap());
    Ipv6Addr::new(0xfd00, 0, 0, network, 0, 0, 0, host)
}

proptest! {
    #[test]
    fn exactly_the_addresses_pass_while_they_fit(
        addresses in prop::collection::btree_set(0u32..600, 0..120),
        probes in prop::collection::vec(0u32..700, 40),
    ) {
        let v4s: BTreeSet<IpAddr> = addresses.iter().map(|n| Ipv4Addr::from(*n).into()).collect();
        let v6s: BTreeSet<IpAddr> = addresses.iter().map(|n| v6(*n).into()).collect();
        let (arp_groups, arp_exact) = fold(&v4s, MAX_WEIGHT);
        let (ndp_groups, ndp_exact) = fold(&v6s, MAX_WEIGHT);
        prop_assert!(arp_exact && ndp_exact);
        let (arp, ndp) = (program(Protocol::Arp, &arp_groups), program(Protocol::Ndp, &ndp_groups));
        for probe in probes {
            let wanted = addresses.contains(&probe);
            let address = Ipv4Addr::from(probe);
            prop_assert_eq!(passes(&arp, asks(ELSEWHERE, address)), wanted, "target {}", address);
            prop_assert_eq!(passes(&arp, asks(address, ELSEWHERE)), wanted, "sender {}", address);
            let address = v6(probe);
            prop_assert_eq!(passes(&ndp, NdpFrame::solicit(MAC, ELSEWHERE6, address)), wanted, "target {}", address);
            prop_assert_eq!(passes(&ndp, NdpFrame::solicit(MAC, address, ELSEWHERE6)), wanted, "sender {}", address);
        }
    }

    #[test]
    fn a_cover_lets_every_address_through(
        addresses in prop::collection::btree_set(any::<u32>(), 1..200),
        networks in 1u32..200,
        limit in 1usize..40,
    ) {
        let v4s: BTreeSet<IpAddr> = addresses.iter().map(|n| Ipv4Addr::from(*n).into()).collect();
        let in_network = |n: u32| {
            let [high, low] = [n >> 16, n & 0xffff].map(|part| u16::try_from(part).unwrap());
            Ipv6Addr::new(0xfd00, 0, 0, u16::try_from(n % networks).unwrap(), 0, 0, high, low)
        };
        let v6s: BTreeSet<IpAddr> = addresses.iter().map(|n| in_network(*n).into()).collect();
        let (arp_groups, _) = fold(&v4s, limit);
        let (ndp_groups, _) = fold(&v6s, limit);
        prop_assert!(weight(&arp_groups) <= limit);
        prop_assert!(weight(&ndp_groups) <= limit.max(PREFIX_WEIGHT + 1));
        let (arp, ndp) = (program(Protocol::Arp, &arp_groups), program(Protocol::Ndp, &ndp_groups));
        for n in addresses {
            prop_assert!(passes(&arp, asks(ELSEWHERE, n.into())));
            prop_assert!(passes(&ndp, NdpFrame::solicit(MAC, ELSEWHERE6, in_network(n))));
        }
    }
}
