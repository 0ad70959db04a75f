// SPDX-License-Identifier: Apache-2.0
use super::*;
use proptest::prelude::*;

const ORDINARY: u32 = 0;
const BROADCAST: u32 = 1;

struct Packet {
    kind: u32,
    tag: u32,
    spa: u32,
    tpa: u32,
}

/// What the kernel's interpreter does with the few operations that are used; panics on a jump out of the program.
fn run(program: &[Insn], packet: &Packet) -> u32 {
    let (mut at, mut acc) = (0, 0);
    loop {
        let i = program[at];
        at += 1;
        let branch = |holds: bool| usize::from(if holds { i.jt } else { i.jf });
        match i.code {
            op::LOAD_WORD => {
                acc = match i.k {
                    field::SPA => packet.spa,
                    field::TPA => packet.tpa,
                    field::PACKET_TYPE => packet.kind,
                    field::VLAN_TAG => packet.tag,
                    other => panic!("loads offset {other}"),
                }
            }
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

fn passes(program: &[Insn], spa: u32, tpa: u32) -> bool {
    run(program, &Packet { kind: BROADCAST, tag: 0, spa, tpa }) != 0
}

fn set(addresses: &[&str]) -> BTreeSet<Ipv4Addr> {
    addresses.iter().map(|a| a.parse().unwrap()).collect()
}

#[test]
fn consecutive_addresses_are_one_range() {
    let (ranges, exact) = fold(&set(&["192.168.99.129", "192.168.99.128", "192.168.99.130", "10.0.0.1"]), 2);
    assert!(exact);
    assert_eq!(ranges, [(0x0a00_0001, 0x0a00_0001), (0xc0a8_6380, 0xc0a8_6382)]);
}

#[test]
fn the_closest_ranges_are_merged_first() {
    let (ranges, exact) = fold(&set(&["10.0.0.1", "10.0.0.3", "10.0.9.1", "10.0.9.9"]), 2);
    assert!(!exact);
    assert_eq!(ranges, [(0x0a00_0001, 0x0a00_0003), (0x0a00_0901, 0x0a00_0909)]);
}

#[test]
fn without_addresses_nothing_passes() {
    assert_eq!(program(&[]), [ret(0)]);
}

#[test]
fn tagged_outgoing_and_foreign_frames_never_pass() {
    let program = program(&[(5, 5)]);
    let packet = |kind, tag| Packet { kind, tag, spa: 0, tpa: 5 };
    assert_ne!(run(&program, &packet(ORDINARY, 0)), 0);
    assert_ne!(run(&program, &packet(ORDINARY, 0xe000)), 0, "a priority tag is no VLAN");
    assert_eq!(run(&program, &packet(ORDINARY, 0xe001)), 0);
    assert_eq!(run(&program, &packet(PACKET_OTHERHOST, 0)), 0);
    assert_eq!(run(&program, &packet(PACKET_OUTGOING, 0)), 0);
}

#[test]
fn the_longest_program_is_one_the_kernel_takes() {
    let addresses: BTreeSet<Ipv4Addr> = (0..2_000u32).map(|i| Ipv4Addr::from(i * 3)).collect();
    let (ranges, exact) = fold(&addresses, MAX_RANGES);
    assert!(!exact);
    assert_eq!(ranges.len(), MAX_RANGES);
    assert!(program(&ranges).len() <= 4_096);
}

proptest! {
    #[test]
    fn exactly_the_addresses_pass_while_they_fit(
        addresses in prop::collection::btree_set(0u32..600, 0..120),
        probes in prop::collection::vec(0u32..700, 40),
    ) {
        let wanted: BTreeSet<Ipv4Addr> = addresses.iter().copied().map(Ipv4Addr::from).collect();
        let (ranges, exact) = fold(&wanted, MAX_RANGES);
        prop_assert!(exact);
        let program = program(&ranges);
        for probe in probes {
            prop_assert_eq!(passes(&program, 10_000, probe), addresses.contains(&probe), "target {}", probe);
            prop_assert_eq!(passes(&program, probe, 10_000), addresses.contains(&probe), "sender {}", probe);
        }
    }

    #[test]
    fn a_cover_lets_every_address_through(
        addresses in prop::collection::btree_set(any::<u32>(), 1..200),
        limit in 1usize..20,
    ) {
        let wanted: BTreeSet<Ipv4Addr> = addresses.iter().copied().map(Ipv4Addr::from).collect();
        let (ranges, _) = fold(&wanted, limit);
        prop_assert!(ranges.len() <= limit);
        let program = program(&ranges);
        for address in addresses {
            prop_assert!(passes(&program, 1, address));
        }
    }
}
