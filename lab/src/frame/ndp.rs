// SPDX-License-Identifier: Apache-2.0
//! Neighbour discovery and multicast listener reports, as seen on a LAN.

use std::fmt;
use std::net::Ipv6Addr;

use super::{ETHERNET_HEADER, Mac, mac};

const IPV6: u16 = 0x86dd;
const IPV6_HEADER: usize = 40;
/// Where the ICMPv6 message of a neighbour frame begins.
const MESSAGE: usize = ETHERNET_HEADER + IPV6_HEADER;
const HOP_BY_HOP: u8 = 0;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const MLDV2_REPORT: u8 = 143;

/// The fields of a neighbour solicitation or advertisement. Tests change what they mean to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ndp {
    /// The Ethernet source address.
    pub source: Mac,
    /// The Ethernet destination address.
    pub destination: Mac,
    /// The IPv6 source address.
    pub from: Ipv6Addr,
    /// The IPv6 destination address.
    pub to: Ipv6Addr,
    /// 255 in a right one.
    pub hop_limit: u8,
    /// 135 solicitation, 136 advertisement.
    pub kind: u8,
    /// 0 in a right one.
    pub code: u8,
    /// R 0x80, S 0x40, O 0x20 of an advertisement.
    pub flags: u8,
    /// The address asked for or told about.
    pub target: Ipv6Addr,
    /// The first link-layer address option: of the source, or of the target.
    pub link_layer: Option<Mac>,
    /// What is wrong with the checksum: 0 in a right one.
    pub checksum_error: u16,
}

/// A change of membership that a host reports (version 2 of MLD, RFC 3810).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It listens to the group.
    Joined(Ipv6Addr),
    /// It does not any more.
    Left(Ipv6Addr),
}

impl Ndp {
    /// A solicitation to the target's group.
    pub fn solicit(mac: Mac, from: Ipv6Addr, target: Ipv6Addr) -> Self {
        let to = solicited_node(target);
        Self {
            source: mac,
            destination: group_mac(to),
            from,
            to,
            hop_limit: 255,
            kind: SOLICITATION,
            code: 0,
            flags: 0,
            target,
            link_layer: Some(mac),
            checksum_error: 0,
        }
    }

    /// An advertisement to everybody, unasked, that replaces what caches hold.
    pub fn advertise(mac: Mac, from: Ipv6Addr, target: Ipv6Addr) -> Self {
        let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let solicit = Self::solicit(mac, from, target);
        Self { destination: group_mac(to), to, kind: ADVERTISEMENT, flags: 0x20, ..solicit }
    }

    /// Reads a frame; `None` when it is anything else.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let payload = payload(bytes)?;
        if bytes.get(ETHERNET_HEADER + 6) != Some(&ICMPV6) || payload.len() < 24 {
            return None;
        }
        let kind = payload[0];
        if kind != SOLICITATION && kind != ADVERTISEMENT {
            return None;
        }
        let (from, to) = (ip(bytes, 22)?, ip(bytes, 38)?);
        Some(Self {
            destination: mac(bytes, 0)?,
            source: mac(bytes, 6)?,
            from,
            to,
            hop_limit: bytes[ETHERNET_HEADER + 7],
            kind,
            code: payload[1],
            flags: payload[4],
            target: ip(payload, 8)?,
            link_layer: link_layer(payload.get(24..)?, kind),
            checksum_error: checksum(from, to, payload),
        })
    }

    /// The frame, with a link-layer address option if there is one.
    pub fn bytes(&self) -> Vec<u8> {
        let mut message = vec![self.kind, self.code, 0, 0, self.flags, 0, 0, 0];
        message.extend(self.target.octets());
        if let Some(mac) = self.link_layer {
            message.extend([link_layer_option(self.kind), 1]);
            message.extend(mac.0);
        }
        let sum = checksum(self.from, self.to, &message).wrapping_add(self.checksum_error);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut bytes = Vec::with_capacity(MESSAGE + message.len());
        bytes.extend(self.destination.0);
        bytes.extend(self.source.0);
        bytes.extend(IPV6.to_be_bytes());
        bytes.extend([0x60, 0, 0, 0]);
        bytes.extend(u16::try_from(message.len()).unwrap_or_default().to_be_bytes());
        bytes.extend([ICMPV6, self.hop_limit]);
        bytes.extend(self.from.octets());
        bytes.extend(self.to.octets());
        bytes.extend(message);
        bytes
    }

    /// Whether it asks who has `address`.
    pub fn asks(&self, address: Ipv6Addr) -> bool {
        self.kind == SOLICITATION && self.target == address
    }

    /// Whether it answers somebody who asked for `address`.
    pub fn answers(&self, address: Ipv6Addr) -> bool {
        self.kind == ADVERTISEMENT && self.target == address && self.flags & 0x40 != 0
    }

    /// Whether it says unasked who has `address`.
    pub fn announces(&self, address: Ipv6Addr) -> bool {
        self.kind == ADVERTISEMENT && self.target == address && self.flags & 0x40 == 0
    }
}

impl fmt::Display for Ndp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.kind == SOLICITATION { "who-has" } else { "advertises" };
        let Self { source, destination, from, to, target, flags, .. } = self;
        write!(f, "{source} > {destination}: {from} > {to} {what} {target} flags {flags:#04x}")
    }
}

/// The group that hosts with this address listen to.
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let octets = address.octets();
    let mut group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0];
    group[13..].copy_from_slice(&octets[13..]);
    group.into()
}

/// The memberships that a frame reports; empty when it is anything else.
pub fn memberships(bytes: &[u8]) -> Vec<Membership> {
    read_memberships(bytes).unwrap_or_default()
}

fn read_memberships(bytes: &[u8]) -> Option<Vec<Membership>> {
    let payload = payload(bytes)?;
    // A report has the option "router alert" in a hop-by-hop header of 8 bytes.
    if *bytes.get(ETHERNET_HEADER + 6)? != HOP_BY_HOP || *payload.first()? != ICMPV6 {
        return None;
    }
    let message = payload.get(8..)?;
    if *message.first()? != MLDV2_REPORT {
        return None;
    }
    let count = u16::from_be_bytes(message.get(6..8)?.try_into().ok()?);
    let mut rest = message.get(8..)?;
    let mut memberships = Vec::new();
    for _ in 0..count {
        let sources = usize::from(u16::from_be_bytes(rest.get(2..4)?.try_into().ok()?));
        let group = ip(rest, 4)?;
        match rest.first()? {
            // Excluding no source is listening to all of them, including none is listening to nobody.
            2 | 4 => memberships.push(Membership::Joined(group)),
            3 if sources == 0 => memberships.push(Membership::Left(group)),
            _ => {}
        }
        rest = rest.get(20 + 16 * sources..)?;
    }
    Some(memberships)
}

fn payload(bytes: &[u8]) -> Option<&[u8]> {
    if u16::from_be_bytes(bytes.get(12..14)?.try_into().ok()?) != IPV6 {
        return None;
    }
    let length = usize::from(u16::from_be_bytes(bytes.get(18..20)?.try_into().ok()?));
    bytes.get(MESSAGE..MESSAGE + length)
}

fn link_layer(options: &[u8], kind: u8) -> Option<Mac> {
    let mut rest = options;
    while let [option, units, ..] = rest {
        if *option == link_layer_option(kind) {
            return mac(rest, 2);
        }
        // An option without a length has no end.
        rest = rest.get(usize::from(*units) * 8..).filter(|_| *units > 0)?;
    }
    None
}

fn link_layer_option(kind: u8) -> u8 {
    if kind == ADVERTISEMENT { 2 } else { 1 }
}

fn group_mac(group: Ipv6Addr) -> Mac {
    let octets = group.octets();
    Mac([0x33, 0x33, octets[12], octets[13], octets[14], octets[15]])
}

fn ip(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    Some(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?.into())
}

/// RFC 1071 over pseudo-header and message: 0 if the message's own checksum is right.
fn checksum(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> u16 {
    let length = u32::try_from(message.len()).unwrap_or_default();
    let mut bytes = Vec::with_capacity(40 + message.len());
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 0, 0, ICMPV6]);
    bytes.extend(message);
    let words =
        bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| low.into()));
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests;
