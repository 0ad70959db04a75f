// SPDX-License-Identifier: Apache-2.0
//! ARP for IPv4 over Ethernet: RFC 826, and the probes and announcements of RFC 5227.

use std::{fmt, net::Ipv4Addr};

use thiserror::Error;

use crate::{
    ethernet::{EtherType, EthernetFrame, EthernetRepr, MacAddr, Truncated, octets},
    frame::FrameError,
};

mod field {
    use std::ops::Range;

    pub(super) const HTYPE: Range<usize> = 0..2;
    pub(super) const PTYPE: Range<usize> = 2..4;
    pub(super) const HLEN: usize = 4;
    pub(super) const PLEN: usize = 5;
    pub(super) const OPER: Range<usize> = 6..8;
    pub(super) const SHA: Range<usize> = 8..14;
    pub(super) const SPA: Range<usize> = 14..18;
    pub(super) const THA: Range<usize> = 18..24;
    pub(super) const TPA: Range<usize> = 24..28;
    pub(super) const END: usize = 28;
}

/// Hardware type 1: Ethernet.
const ETHERNET: u16 = 1;
/// Length of an Ethernet address in bytes.
const MAC_LEN: u8 = 6;
/// Length of an IPv4 address in bytes.
const IPV4_LEN: u8 = 4;

/// Why bytes are no ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ArpError {
    /// They end too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// Another kind of hardware.
    #[error("hardware type {0}")]
    HardwareType(u16),
    /// Another protocol than IPv4.
    #[error("protocol type {0}")]
    ProtocolType(EtherType),
    /// Hardware addresses that are not six bytes long.
    #[error("hardware address length {0}")]
    HardwareLength(u8),
    /// Protocol addresses that are not four bytes long.
    #[error("protocol address length {0}")]
    ProtocolLength(u8),
}

/// A view of an ARP packet.
#[derive(Clone, Copy, Debug)]
pub struct ArpPacket<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> ArpPacket<T> {
    /// Imposes the packet on bytes that hold one; whatever follows it is padding.
    pub fn new_checked(buffer: T) -> Result<Self, ArpError> {
        let packet = Self::new_sized(buffer)?;
        match packet.fixed() {
            (ETHERNET, EtherType::IPV4, MAC_LEN, IPV4_LEN) => Ok(packet),
            (htype, ..) if htype != ETHERNET => Err(ArpError::HardwareType(htype)),
            (_, ptype, ..) if ptype != EtherType::IPV4 => Err(ArpError::ProtocolType(ptype)),
            (_, _, hlen, _) if hlen != MAC_LEN => Err(ArpError::HardwareLength(hlen)),
            (.., plen) => Err(ArpError::ProtocolLength(plen)),
        }
    }

    /// Imposes the packet on bytes that are long enough, to be filled.
    fn new_sized(buffer: T) -> Result<Self, Truncated> {
        let have = buffer.as_ref().len();
        if have < field::END { Err(Truncated { have, need: field::END }) } else { Ok(Self { buffer }) }
    }

    /// What is done: request, reply or something else.
    pub fn operation(&self) -> Operation {
        u16::from_be_bytes(self.get(field::OPER)).into()
    }

    /// Sender hardware address.
    pub fn sha(&self) -> MacAddr {
        MacAddr(self.get(field::SHA))
    }

    /// Sender protocol address.
    pub fn spa(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.get::<4>(field::SPA))
    }

    /// Target hardware address.
    pub fn tha(&self) -> MacAddr {
        MacAddr(self.get(field::THA))
    }

    /// Target protocol address.
    pub fn tpa(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.get::<4>(field::TPA))
    }

    /// What must always be the same.
    fn fixed(&self) -> (u16, EtherType, u8, u8) {
        let bytes = self.buffer.as_ref();
        let ptype = EtherType(u16::from_be_bytes(self.get(field::PTYPE)));
        (u16::from_be_bytes(self.get(field::HTYPE)), ptype, bytes[field::HLEN], bytes[field::PLEN])
    }

    fn get<const N: usize>(&self, range: std::ops::Range<usize>) -> [u8; N] {
        octets(&self.buffer.as_ref()[range])
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> ArpPacket<T> {
    fn set(&mut self, range: std::ops::Range<usize>, octets: &[u8]) {
        self.buffer.as_mut()[range].copy_from_slice(octets);
    }
}

impl<T: AsRef<[u8]>> fmt::Display for ArpPacket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ArpRepr::parse(self).fmt(f)
    }
}

/// The operation of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// 1: who has the target address?
    Request,
    /// 2: the sender has its address.
    Reply,
    /// Reverse ARP, inverse ARP and everything else.
    Other(u16),
}

impl From<u16> for Operation {
    fn from(raw: u16) -> Self {
        match raw {
            1 => Self::Request,
            2 => Self::Reply,
            other => Self::Other(other),
        }
    }
}

impl From<Operation> for u16 {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Request => 1,
            Operation::Reply => 2,
            Operation::Other(other) => other,
        }
    }
}

/// The meaning of an ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpRepr {
    /// What is done.
    pub operation: Operation,
    /// Sender hardware address.
    pub sha: MacAddr,
    /// Sender protocol address.
    pub spa: Ipv4Addr,
    /// Target hardware address.
    pub tha: MacAddr,
    /// Target protocol address.
    pub tpa: Ipv4Addr,
}

impl ArpRepr {
    /// The packet's length in bytes.
    pub const LEN: usize = field::END;

    /// Reads a packet.
    pub fn parse<T: AsRef<[u8]>>(packet: &ArpPacket<T>) -> Self {
        Self {
            operation: packet.operation(),
            sha: packet.sha(),
            spa: packet.spa(),
            tha: packet.tha(),
            tpa: packet.tpa(),
        }
    }

    /// Writes the packet, every byte of it, at the start of a buffer.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<(), Truncated> {
        let mut packet = ArpPacket::new_sized(buffer)?;
        packet.set(field::HTYPE, &ETHERNET.to_be_bytes());
        packet.set(field::PTYPE, &EtherType::IPV4.0.to_be_bytes());
        packet.set(field::HLEN..field::PLEN + 1, &[MAC_LEN, IPV4_LEN]);
        packet.set(field::OPER, &u16::from(self.operation).to_be_bytes());
        packet.set(field::SHA, &self.sha.0);
        packet.set(field::SPA, &self.spa.octets());
        packet.set(field::THA, &self.tha.0);
        packet.set(field::TPA, &self.tpa.octets());
        Ok(())
    }
}

impl fmt::Display for ArpRepr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, sha, spa, tha, tpa } = self;
        match operation {
            Operation::Request if spa == tpa => write!(f, "ARP, Announcement {spa} is-at {sha}"),
            Operation::Request if spa.is_unspecified() => write!(f, "ARP, Probe {tpa} tell {sha}"),
            Operation::Request => write!(f, "ARP, Request who-has {tpa} tell {spa} ({sha})"),
            Operation::Reply => write!(f, "ARP, Reply {spa} is-at {sha} to {tpa} ({tha})"),
            Operation::Other(number) => {
                write!(f, "ARP, operation {number} from {spa} ({sha}) to {tpa} ({tha})")
            }
        }
    }
}

/// An ARP packet with its Ethernet addresses: what goes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpFrame {
    /// Ethernet destination.
    pub destination: MacAddr,
    /// Ethernet source.
    pub source: MacAddr,
    /// The packet.
    pub arp: ArpRepr,
}

impl ArpFrame {
    /// The frame's length in bytes, without the padding that a driver may add.
    pub const LEN: usize = EthernetRepr::LEN + ArpRepr::LEN;

    /// Who has `tpa`? Asked by a host that has `spa`.
    pub fn request(mac: MacAddr, spa: Ipv4Addr, tpa: Ipv4Addr) -> Self {
        let arp = ArpRepr { operation: Operation::Request, sha: mac, spa, tha: MacAddr::ZERO, tpa };
        Self { destination: MacAddr::BROADCAST, source: mac, arp }
    }

    /// Does anybody have the address? The sender address is zero, so that no cache is changed (RFC 5227 §1.1).
    pub fn probe(mac: MacAddr, address: Ipv4Addr) -> Self {
        Self::request(mac, Ipv4Addr::UNSPECIFIED, address)
    }

    /// The announcement in its request form (RFC 5227 §2.3), which every receiver understands.
    pub fn gratuitous_request(mac: MacAddr, address: Ipv4Addr) -> Self {
        Self::request(mac, address, address)
    }

    /// The announcement in its reply form. Linux takes a reply for gratuitous only if THA = SHA.
    pub fn gratuitous_reply(mac: MacAddr, address: Ipv4Addr) -> Self {
        let arp = ArpRepr { operation: Operation::Reply, sha: mac, spa: address, tha: mac, tpa: address };
        Self { destination: MacAddr::BROADCAST, source: mac, arp }
    }

    /// The answer to a request: `mac` has what was asked for. It goes to the SHA, as Linux sends it.
    pub fn reply(request: &ArpRepr, mac: MacAddr) -> Self {
        let arp = ArpRepr {
            operation: Operation::Reply,
            sha: mac,
            spa: request.tpa,
            tha: request.sha,
            tpa: request.spa,
        };
        Self { destination: request.sha, source: mac, arp }
    }

    /// Reads a frame; padding and junk behind the packet are ignored.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        let frame = EthernetFrame::new_checked(bytes)?;
        if frame.ethertype() != EtherType::ARP {
            return Err(FrameError::EtherType(frame.ethertype()));
        }
        let arp = ArpRepr::parse(&ArpPacket::new_checked(frame.payload())?);
        Ok(Self { destination: frame.destination(), source: frame.source(), arp })
    }

    /// Writes the frame, every byte of it, at the start of a buffer.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<(), Truncated> {
        let have = buffer.len();
        if have < Self::LEN {
            return Err(Truncated { have, need: Self::LEN });
        }
        let mut frame = EthernetFrame::new_checked(buffer)?;
        let (destination, source, ethertype) = (self.destination, self.source, EtherType::ARP);
        EthernetRepr { destination, source, ethertype }.emit(&mut frame);
        self.arp.emit(frame.payload_mut())
    }

    /// The frame's bytes.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let written = self.emit(&mut bytes);
        debug_assert_eq!(written, Ok(()), "the buffer has the frame's length");
        bytes
    }
}

impl fmt::Display for ArpFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}, {}", self.source, self.destination, self.arp)
    }
}

#[cfg(test)]
mod tests;
