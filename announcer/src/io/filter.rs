// SPDX-License-Identifier: Apache-2.0
//! The classic BPF program that keeps frames about other hosts' addresses from waking the process.
//!
//! Addresses are folded into ranges first, so a pool of consecutive addresses costs one comparison, exactly. IPv6
//! addresses are compared by their first 96 bits and then by ranges of the last 32. Only when more remains than a program
//! can hold are the closest ranges merged, and then the first 96 bits left out; such a filter also lets through addresses
//! in between, which the responder drops.

use std::{collections::BTreeSet, net::IpAddr};

use crate::responder::Protocol;

/// One instruction, as `struct sock_filter` of `linux/filter.h` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insn {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it doesn't.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Most weight of one program: at 12 instructions for a range, and a prologue, it stays below the kernel's limit of 4,096.
pub const MAX_WEIGHT: usize = 320;
/// What the comparison of the first 96 bits costs, in ranges.
const PREFIX_WEIGHT: usize = 2;

/// An inclusive range of the last 32 bits.
type Range = (u32, u32);

/// Addresses that have their first 96 bits in common, or whose first bits are not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    prefix: Option<[u32; 3]>,
    ranges: Vec<Range>,
}

/// Operation codes of `linux/bpf_common.h`, joined as they are used here.
mod op {
    pub(super) const LOAD_WORD: u16 = 0x20;
    pub(super) const LOAD_BYTE: u16 = 0x30;
    pub(super) const AND: u16 = 0x54;
    pub(super) const JUMP: u16 = 0x05;
    pub(super) const JUMP_EQUAL: u16 = 0x15;
    pub(super) const JUMP_GREATER: u16 = 0x25;
    pub(super) const JUMP_AT_LEAST: u16 = 0x35;
    pub(super) const RETURN: u16 = 0x06;
}

/// Where the program looks. Frame offsets count from the Ethernet header: 14 bytes, then RFC 826's packet, or 40 bytes of
/// IPv6 and RFC 4861's message.
mod field {
    pub(super) const SPA: u32 = 14 + 14;
    pub(super) const TPA: u32 = 14 + 24;
    pub(super) const NEXT_HEADER: u32 = 14 + 6;
    pub(super) const IPV6_SOURCE: u32 = 14 + 8;
    pub(super) const ICMP_TYPE: u32 = 14 + 40;
    pub(super) const TARGET: u32 = 14 + 40 + 8;
    /// `SKF_AD_OFF + SKF_AD_PKTTYPE`: the packet's type rather than its bytes.
    pub(super) const PACKET_TYPE: u32 = 0xffff_f000 + 4;
    /// `SKF_AD_OFF + SKF_AD_VLAN_TAG`: the kernel strips the tag from the bytes; zero without one.
    pub(super) const VLAN_TAG: u32 = 0xffff_f000 + 44;
}

const PACKET_OTHERHOST: u32 = 3;
const PACKET_OUTGOING: u32 = 4;
/// The low 12 bits of a tag name the VLAN.
const VLAN_ID: u32 = 0x0fff;
const ICMPV6: u32 = gateherald_wire::ICMPV6 as u32;
const SOLICIT: u32 = 135;
const ADVERT: u32 = 136;
const WHOLE_FRAME: u32 = 0xffff;

/// Folds addresses of one family into groups of at most `limit` weight; true when they still hold exactly these addresses.
pub fn fold(addresses: &BTreeSet<IpAddr>, limit: usize) -> (Vec<Group>, bool) {
    let mut groups: Vec<Group> = Vec::new();
    for (prefix, last) in addresses.iter().map(|address| split(*address)) {
        match groups.last_mut().filter(|group| group.prefix == prefix) {
            Some(group) => push(&mut group.ranges, last),
            None => groups.push(Group { prefix, ranges: vec![(last, last)] }),
        }
    }
    if weight(&groups) <= limit {
        return (groups, true);
    }
    if groups.len() * (PREFIX_WEIGHT + 1) > limit {
        groups = vec![without_prefix(&groups)];
    }
    merge_closest(&mut groups, limit.max(1));
    (groups, false)
}

/// The program that passes untagged frames of others whose target or sender address is in `groups`.
///
/// The sender counts because that is how another host that uses the address is noticed (RFC 5227, RFC 4862).
pub fn program(protocol: Protocol, groups: &[Group]) -> Vec<Insn> {
    let mut out = Vec::new();
    if groups.is_empty() {
        out.push(ret(0));
        return out;
    }
    of_this_network(&mut out);
    let (fields, last_word) = match protocol {
        Protocol::Arp => ([field::TPA, field::SPA], 0),
        Protocol::Ndp => {
            is_neighbour_message(&mut out);
            ([field::TARGET, field::IPV6_SOURCE], 12)
        }
    };
    for field in fields {
        for group in groups {
            is_in(&mut out, field, field + last_word, group);
        }
    }
    out.push(ret(0));
    out
}

fn of_this_network(out: &mut Vec<Insn>) {
    out.push(insn(op::LOAD_WORD, 0, 0, field::PACKET_TYPE));
    out.push(insn(op::JUMP_EQUAL, 1, 0, PACKET_OTHERHOST));
    out.push(insn(op::JUMP_EQUAL, 0, 1, PACKET_OUTGOING));
    out.push(ret(0));
    // A tag with VLAN 0 only carries a priority: the frame is of the interface's own network.
    out.push(insn(op::LOAD_WORD, 0, 0, field::VLAN_TAG));
    out.push(insn(op::AND, 0, 0, VLAN_ID));
    out.push(insn(op::JUMP_EQUAL, 1, 0, 0));
    out.push(ret(0));
}

fn is_neighbour_message(out: &mut Vec<Insn>) {
    out.push(insn(op::LOAD_BYTE, 0, 0, field::NEXT_HEADER));
    out.push(insn(op::JUMP_EQUAL, 1, 0, ICMPV6));
    out.push(ret(0));
    out.push(insn(op::LOAD_BYTE, 0, 0, field::ICMP_TYPE));
    out.push(insn(op::JUMP_EQUAL, 2, 0, SOLICIT));
    out.push(insn(op::JUMP_EQUAL, 1, 0, ADVERT));
    out.push(ret(0));
}

/// Passes the frame if the address from `first_word` to `last_word` is in the group; else the program goes on behind it.
fn is_in(out: &mut Vec<Insn>, first_word: u32, last_word: u32, group: &Group) {
    let mut misses = Vec::new();
    for (at, word) in (first_word..).step_by(4).zip(group.prefix.into_iter().flatten()) {
        out.push(insn(op::LOAD_WORD, 0, 0, at));
        out.push(insn(op::JUMP_EQUAL, 1, 0, word));
        misses.push(out.len());
        out.push(jump(0));
    }
    out.push(insn(op::LOAD_WORD, 0, 0, last_word));
    search(out, &group.ranges, &mut misses);
    let next = out.len();
    for at in misses {
        out[at] = jump(next - at - 1);
    }
}

/// Binary search over the ranges; the places to go on from when none matches are left in `misses`.
fn search(out: &mut Vec<Insn>, ranges: &[Range], misses: &mut Vec<usize>) {
    if let [(first, last)] = ranges {
        out.push(insn(op::JUMP_AT_LEAST, 0, 2, *first));
        out.push(insn(op::JUMP_GREATER, 1, 0, *last));
        out.push(ret(WHOLE_FRAME));
        misses.push(out.len());
        out.push(jump(0));
        return;
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let Some((split, _)) = high.first() else { return };
    out.push(insn(op::JUMP_AT_LEAST, 0, 1, *split));
    // Conditional jumps reach 255 instructions, this one any distance.
    let far = out.len();
    out.push(jump(0));
    search(out, low, misses);
    out[far] = jump(out.len() - far - 1);
    search(out, high, misses);
}

/// The first 96 bits, where there are that many, and the last 32.
fn split(address: IpAddr) -> (Option<[u32; 3]>, u32) {
    match address {
        IpAddr::V4(v4) => (None, v4.into()),
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            // Each shift leaves 32 bits to keep.
            let [first, second, third, last] = [96, 64, 32, 0].map(|low| (bits >> low & 0xffff_ffff) as u32);
            (Some([first, second, third]), last)
        }
    }
}

fn weight(groups: &[Group]) -> usize {
    groups.iter().map(|group| group.ranges.len() + group.prefix.map_or(0, |_| PREFIX_WEIGHT)).sum()
}

/// Adds an address that is not below the last range.
fn push(ranges: &mut Vec<Range>, address: u32) {
    match ranges.last_mut() {
        Some((_, last)) if last.saturating_add(1) >= address => *last = address.max(*last),
        _ => ranges.push((address, address)),
    }
}

fn without_prefix(groups: &[Group]) -> Group {
    let mut sorted: Vec<Range> = groups.iter().flat_map(|group| group.ranges.iter().copied()).collect();
    sorted.sort_unstable();
    let mut ranges: Vec<Range> = Vec::new();
    for (first, last) in sorted {
        push(&mut ranges, first);
        if let Some(range) = ranges.last_mut() {
            range.1 = range.1.max(last);
        }
    }
    Group { prefix: None, ranges }
}

/// Merges neighbouring ranges, the closest first, until the groups weigh no more than `limit` or no two are left to merge.
fn merge_closest(groups: &mut [Group], limit: usize) {
    let surplus = weight(groups).saturating_sub(limit);
    let mut gaps: Vec<(u32, usize, usize)> = Vec::new();
    for (which, group) in groups.iter().enumerate() {
        let pairs = group.ranges.windows(2).enumerate();
        gaps.extend(pairs.map(|(i, pair)| (pair[1].0 - pair[0].1, which, i)));
    }
    gaps.sort_unstable();
    let closed: BTreeSet<(usize, usize)> =
        gaps.into_iter().take(surplus).map(|(_, which, i)| (which, i)).collect();
    for (which, group) in groups.iter_mut().enumerate() {
        let mut merged: Vec<Range> = Vec::new();
        for (i, range) in group.ranges.iter().enumerate() {
            match merged.last_mut() {
                Some((_, last)) if i > 0 && closed.contains(&(which, i - 1)) => *last = range.1,
                _ => merged.push(*range),
            }
        }
        group.ranges = merged;
    }
}

fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
    Insn { code, jt, jf, k }
}

fn jump(distance: usize) -> Insn {
    // A program has at most 4,096 instructions.
    insn(op::JUMP, 0, 0, u32::try_from(distance).unwrap_or(u32::MAX))
}

fn ret(k: u32) -> Insn {
    insn(op::RETURN, 0, 0, k)
}

#[cfg(test)]
mod tests;
