// SPDX-License-Identifier: Apache-2.0
//! IPv6 headers (RFC 8200), the group addresses of neighbour discovery, and the checksum of what they carry.

use std::{fmt, net::Ipv6Addr};

use thiserror::Error;

use crate::ethernet::{MacAddr, Truncated, octets};

mod field {
    use std::ops::Range;

    /// Version, traffic class, flow label.
    pub(super) const FLOW: Range<usize> = 0..4;
    pub(super) const LENGTH: Range<usize> = 4..6;
    pub(super) const NEXT_HEADER: usize = 6;
    pub(super) const HOP_LIMIT: usize = 7;
    pub(super) const SOURCE: Range<usize> = 8..24;
    pub(super) const DESTINATION: Range<usize> = 24..40;
    pub(super) const END: usize = 40;
}

/// Every node of the link (RFC 4291 §2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Next header 58: ICMPv6.
pub const ICMPV6: u8 = 58;

/// The group that a host with this address listens to for solicitations (RFC 4291 §2.7.1): it keeps the address's
/// last 24 bits, so different addresses can share it.
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

/// The Ethernet group that carries an IPv6 group (RFC 2464 §7).
pub fn ethernet_group(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// Why bytes are no IPv6 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Ipv6Error {
    /// They end inside the header.
    #[error("header {0}")]
    Header(Truncated),
    /// Another version of the protocol.
    #[error("version {0}")]
    Version(u8),
    /// They end before the payload does.
    #[error("payload {0}")]
    Payload(Truncated),
}

/// A view of an IPv6 packet.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Ipv6Packet<T> {
    /// Imposes the packet on bytes that hold all of it; whatever follows it is padding.
    pub fn new_checked(buffer: T) -> Result<Self, Ipv6Error> {
        let packet = Self::new_sized(buffer).map_err(Ipv6Error::Header)?;
        let version = packet.buffer.as_ref()[field::FLOW.start] >> 4;
        if version != 6 {
            return Err(Ipv6Error::Version(version));
        }
        let (have, need) = (packet.buffer.as_ref().len() - field::END, packet.payload_len());
        if have < need { Err(Ipv6Error::Payload(Truncated { have, need })) } else { Ok(packet) }
    }

    /// Imposes the header on bytes that are long enough for one, to be filled.
    fn new_sized(buffer: T) -> Result<Self, Truncated> {
        let have = buffer.as_ref().len();
        if have < field::END { Err(Truncated { have, need: field::END }) } else { Ok(Self { buffer }) }
    }

    /// The length of what follows the header, in bytes.
    pub fn payload_len(&self) -> usize {
        usize::from(u16::from_be_bytes(octets(&self.buffer.as_ref()[field::LENGTH])))
    }

    /// What follows the header.
    pub fn next_header(&self) -> u8 {
        self.buffer.as_ref()[field::NEXT_HEADER]
    }

    /// How many routers it may still pass.
    pub fn hop_limit(&self) -> u8 {
        self.buffer.as_ref()[field::HOP_LIMIT]
    }

    /// From whom.
    pub fn source(&self) -> Ipv6Addr {
        Ipv6Addr::from(octets::<16>(&self.buffer.as_ref()[field::SOURCE]))
    }

    /// To whom.
    pub fn destination(&self) -> Ipv6Addr {
        Ipv6Addr::from(octets::<16>(&self.buffer.as_ref()[field::DESTINATION]))
    }
}

impl<'a> Ipv6Packet<&'a [u8]> {
    /// What the header announces, without padding.
    pub fn payload(&self) -> &'a [u8] {
        &self.buffer[field::END..field::END + self.payload_len()]
    }
}

/// The meaning of an IPv6 header. Traffic class and flow label are not looked at, and sent as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Repr {
    /// From whom.
    pub source: Ipv6Addr,
    /// To whom.
    pub destination: Ipv6Addr,
    /// What follows the header.
    pub next_header: u8,
    /// How many routers it may still pass.
    pub hop_limit: u8,
    /// The length of what follows, in bytes.
    pub payload_len: u16,
}

impl Ipv6Repr {
    /// The header's length in bytes.
    pub const LEN: usize = field::END;

    /// Reads a header.
    pub fn parse<T: AsRef<[u8]>>(packet: &Ipv6Packet<T>) -> Self {
        Self {
            source: packet.source(),
            destination: packet.destination(),
            next_header: packet.next_header(),
            hop_limit: packet.hop_limit(),
            payload_len: u16::from_be_bytes(octets(&packet.buffer.as_ref()[field::LENGTH])),
        }
    }

    /// Writes the header, every byte of it, at the start of a buffer.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<(), Truncated> {
        let packet = Ipv6Packet::new_sized(buffer)?;
        let bytes = packet.buffer;
        bytes[field::FLOW].copy_from_slice(&[6 << 4, 0, 0, 0]);
        bytes[field::LENGTH].copy_from_slice(&self.payload_len.to_be_bytes());
        bytes[field::NEXT_HEADER] = self.next_header;
        bytes[field::HOP_LIMIT] = self.hop_limit;
        bytes[field::SOURCE].copy_from_slice(&self.source.octets());
        bytes[field::DESTINATION].copy_from_slice(&self.destination.octets());
        Ok(())
    }
}

impl fmt::Display for Ipv6Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, next_header, hop_limit, payload_len } = self;
        write!(
            f,
            "IPv6, {source} > {destination}, next header {next_header}, hop limit {hop_limit}, {payload_len} bytes"
        )
    }
}

/// The Internet checksum of an ICMPv6 message under its pseudo-header (RFC 4443 §2.3, RFC 8200 §8.1): 0 over a message
/// whose checksum field is right, and over one whose field is zero what belongs into it.
pub(crate) fn icmpv6_checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    // A message is at most 65,535 bytes long, so neither its length nor this sum overflows 32 bits.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let sum = sum(&source.octets())
        + sum(&destination.octets())
        + sum(&length.to_be_bytes())
        + u32::from(ICMPV6)
        + sum(message);
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

/// The sum of the 16-bit words, the last one filled up with zero.
fn sum(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| {
        let low = pair.get(1).copied().unwrap_or_default();
        u32::from(u16::from_be_bytes([pair[0], low]))
    };
    bytes.chunks(2).map(word).sum()
}

#[cfg(test)]
mod tests;
