// SPDX-License-Identifier: Apache-2.0
//! Ethernet II headers.

use std::{fmt, str::FromStr};

use thiserror::Error;

mod field {
    use std::ops::Range;

    pub(super) const DESTINATION: Range<usize> = 0..6;
    pub(super) const SOURCE: Range<usize> = 6..12;
    pub(super) const ETHERTYPE: Range<usize> = 12..14;
    pub(super) const PAYLOAD: usize = 14;
}

/// A 48-bit Ethernet address. Displayed as `02:00:00:00:00:01`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Everybody.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// Nobody: the target of a request.
    pub const ZERO: Self = Self([0; 6]);

    /// A group, broadcast included: no host's own address.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl From<[u8; 6]> for MacAddr {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, octet) in self.0.iter().enumerate() {
            write!(f, "{}{octet:02x}", if i == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// The text is not six hexadecimal octets joined by colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an Ethernet address")]
pub struct BadMacAddr;

impl FromStr for MacAddr {
    type Err = BadMacAddr;

    fn from_str(text: &str) -> Result<Self, BadMacAddr> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(BadMacAddr)?;
            let digits = part.bytes().all(|byte| byte.is_ascii_hexdigit());
            *octet = u8::from_str_radix(part, 16).ok().filter(|_| digits).ok_or(BadMacAddr)?;
        }
        if parts.next().is_none() { Ok(Self(octets)) } else { Err(BadMacAddr) }
    }
}

/// The protocol of a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4, as a protocol that ARP resolves.
    pub const IPV4: Self = Self(0x0800);
    /// ARP.
    pub const ARP: Self = Self(0x0806);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04x}", self.0)
    }
}

/// The bytes end inside a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("truncated: {have} of {need} bytes")]
pub struct Truncated {
    /// How many bytes there are.
    pub have: usize,
    /// How many the header has.
    pub need: usize,
}

/// A view of an Ethernet frame.
#[derive(Clone, Copy, Debug)]
pub struct EthernetFrame<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> EthernetFrame<T> {
    /// Imposes the header on bytes that are long enough to hold one.
    pub fn new_checked(buffer: T) -> Result<Self, Truncated> {
        let have = buffer.as_ref().len();
        if have < field::PAYLOAD {
            return Err(Truncated { have, need: field::PAYLOAD });
        }
        Ok(Self { buffer })
    }

    /// To whom.
    pub fn destination(&self) -> MacAddr {
        MacAddr(octets(&self.buffer.as_ref()[field::DESTINATION]))
    }

    /// From whom.
    pub fn source(&self) -> MacAddr {
        MacAddr(octets(&self.buffer.as_ref()[field::SOURCE]))
    }

    /// The payload's protocol.
    pub fn ethertype(&self) -> EtherType {
        EtherType(u16::from_be_bytes(octets(&self.buffer.as_ref()[field::ETHERTYPE])))
    }
}

impl<'a> EthernetFrame<&'a [u8]> {
    /// Everything after the header, padding included.
    pub fn payload(&self) -> &'a [u8] {
        &self.buffer[field::PAYLOAD..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> EthernetFrame<T> {
    /// Everything after the header.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[field::PAYLOAD..]
    }
}

/// The meaning of an Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthernetRepr {
    /// To whom.
    pub destination: MacAddr,
    /// From whom.
    pub source: MacAddr,
    /// The payload's protocol.
    pub ethertype: EtherType,
}

impl EthernetRepr {
    /// The header's length in bytes.
    pub const LEN: usize = field::PAYLOAD;

    /// Reads a header.
    pub fn parse<T: AsRef<[u8]>>(frame: &EthernetFrame<T>) -> Self {
        Self { destination: frame.destination(), source: frame.source(), ethertype: frame.ethertype() }
    }

    /// Writes the header; every byte of it is set, the payload is not touched.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, frame: &mut EthernetFrame<T>) {
        let bytes = frame.buffer.as_mut();
        bytes[field::DESTINATION].copy_from_slice(&self.destination.0);
        bytes[field::SOURCE].copy_from_slice(&self.source.0);
        bytes[field::ETHERTYPE].copy_from_slice(&self.ethertype.0.to_be_bytes());
    }
}

impl fmt::Display for EthernetRepr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}, ethertype {}", self.source, self.destination, self.ethertype)
    }
}

/// Copies a field of known length out of a checked buffer.
pub(crate) fn octets<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut octets = [0; N];
    octets.copy_from_slice(bytes);
    octets
}

#[cfg(test)]
mod tests;
