// SPDX-License-Identifier: Apache-2.0
//! The classic BPF program that keeps ARP for other hosts from waking the process.
//!
//! Addresses are folded into ranges first, so a pool of consecutive addresses costs one comparison, exactly. Only
//! when more ranges remain than a program can hold are the closest ones merged; then the filter also lets through
//! addresses in between, which the responder drops.

use std::{collections::BTreeSet, net::Ipv4Addr};

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

/// Most ranges in one program: 12 instructions each and a prologue stay below the kernel's limit of 4,096.
pub const MAX_RANGES: usize = 320;

/// An inclusive range of addresses.
pub type Range = (u32, u32);

/// Operation codes of `linux/bpf_common.h`, joined as they are used here.
mod op {
    pub(super) const LOAD_WORD: u16 = 0x20;
    pub(super) const AND: u16 = 0x54;
    pub(super) const JUMP: u16 = 0x05;
    pub(super) const JUMP_EQUAL: u16 = 0x15;
    pub(super) const JUMP_GREATER: u16 = 0x25;
    pub(super) const JUMP_AT_LEAST: u16 = 0x35;
    pub(super) const RETURN: u16 = 0x06;
}

/// Where the program looks. Frame offsets count from the Ethernet header: 14 bytes, then RFC 826's packet.
mod field {
    pub(super) const SPA: u32 = 14 + 14;
    pub(super) const TPA: u32 = 14 + 24;
    /// `SKF_AD_OFF + SKF_AD_PKTTYPE`: the packet's type rather than its bytes.
    pub(super) const PACKET_TYPE: u32 = 0xffff_f000 + 4;
    /// `SKF_AD_OFF + SKF_AD_VLAN_TAG`: the kernel strips the tag from the bytes; zero without one.
    pub(super) const VLAN_TAG: u32 = 0xffff_f000 + 44;
}

const PACKET_OTHERHOST: u32 = 3;
const PACKET_OUTGOING: u32 = 4;
/// The low 12 bits of a tag name the VLAN.
const VLAN_ID: u32 = 0x0fff;
const WHOLE_FRAME: u32 = 0xffff;

/// Folds addresses into at most `limit` ranges; true when they still hold exactly these addresses.
pub fn fold(addresses: &BTreeSet<Ipv4Addr>, limit: usize) -> (Vec<Range>, bool) {
    let mut ranges: Vec<Range> = Vec::new();
    for address in addresses.iter().copied().map(u32::from) {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(address) => *last = address,
            _ => ranges.push((address, address)),
        }
    }
    let exact = ranges.len() <= limit.max(1);
    (if exact { ranges } else { merge_closest(ranges, limit.max(1)) }, exact)
}

/// The program that passes untagged ARP of others whose target or sender address lies in `ranges` (sorted, disjoint).
///
/// The sender counts because that is how another host that uses the address is noticed (RFC 5227).
pub fn program(ranges: &[Range]) -> Vec<Insn> {
    let mut out = Vec::new();
    if ranges.is_empty() {
        out.push(ret(0));
        return out;
    }
    out.push(insn(op::LOAD_WORD, 0, 0, field::PACKET_TYPE));
    out.push(insn(op::JUMP_EQUAL, 1, 0, PACKET_OTHERHOST));
    out.push(insn(op::JUMP_EQUAL, 0, 1, PACKET_OUTGOING));
    out.push(ret(0));
    // A tag with VLAN 0 only carries a priority: the frame is of the interface's own network.
    out.push(insn(op::LOAD_WORD, 0, 0, field::VLAN_TAG));
    out.push(insn(op::AND, 0, 0, VLAN_ID));
    out.push(insn(op::JUMP_EQUAL, 1, 0, 0));
    out.push(ret(0));
    let mut misses = Vec::new();
    out.push(insn(op::LOAD_WORD, 0, 0, field::TPA));
    search(&mut out, ranges, &mut misses);
    let next = out.len();
    for at in misses.drain(..) {
        out[at] = jump(next - at - 1);
    }
    out.push(insn(op::LOAD_WORD, 0, 0, field::SPA));
    search(&mut out, ranges, &mut misses);
    for at in misses {
        out[at] = ret(0);
    }
    out
}

/// Binary search over the ranges; the places to go on from when none matches are left in `misses`.
fn search(out: &mut Vec<Insn>, ranges: &[Range], misses: &mut Vec<usize>) {
    if let [(first, last)] = ranges {
        out.push(insn(op::JUMP_AT_LEAST, 0, 2, *first));
        out.push(insn(op::JUMP_GREATER, 1, 0, *last));
        out.push(ret(WHOLE_FRAME));
        misses.push(out.len());
        out.push(ret(0));
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

fn merge_closest(ranges: Vec<Range>, limit: usize) -> Vec<Range> {
    let mut gaps: Vec<(u32, usize)> =
        ranges.windows(2).enumerate().map(|(i, pair)| (pair[1].0 - pair[0].1, i)).collect();
    gaps.sort_unstable();
    let closed: BTreeSet<usize> = gaps.iter().take(ranges.len() - limit).map(|(_, i)| *i).collect();
    let mut merged: Vec<Range> = Vec::with_capacity(limit);
    for (i, range) in ranges.into_iter().enumerate() {
        match merged.last_mut() {
            Some((_, last)) if i > 0 && closed.contains(&(i - 1)) => *last = range.1,
            _ => merged.push(range),
        }
    }
    merged
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
