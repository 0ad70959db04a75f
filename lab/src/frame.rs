// SPDX-License-Identifier: Apache-2.0
//! Frames as seen on a LAN.
//!
//! The few fields are read and written here and not by the `wire` crate on purpose: the lab judges what the announcer
//! sends, and a mistake shared by both sides would go unseen.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

mod ndp;

pub use ndp::{Membership, Ndp, memberships, solicited_node};

const ARP: u16 = 0x0806;
const ETHERNET_HEADER: usize = 14;
const ARP_LENGTH: usize = 28;

/// A 48-bit Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Everybody.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// The unset address.
    pub const ZERO: Self = Self([0; 6]);
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.0.map(|byte| format!("{byte:02x}"));
        f.write_str(&parts.join(":"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When the kernel saw it (`CLOCK_REALTIME`, since 1970).
    pub at: Duration,
    /// The LAN's port that it came in by: a node's name, `client`; empty when the capture is not on a LAN.
    pub port: String,
    /// Whether it was sent by the capturing host itself.
    pub outgoing: bool,
    /// The frame from its destination address on.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// The Ethernet source address.
    pub fn source(&self) -> Mac {
        mac(&self.bytes, 6).unwrap_or(Mac::ZERO)
    }

    /// The Ethernet destination address.
    pub fn destination(&self) -> Mac {
        mac(&self.bytes, 0).unwrap_or(Mac::ZERO)
    }

    /// What it says, if it is an ARP frame for IPv4 over Ethernet.
    pub fn arp(&self) -> Option<Arp> {
        Arp::parse(&self.bytes)
    }

    /// What it says, if it is a neighbour solicitation or advertisement.
    pub fn ndp(&self) -> Option<Ndp> {
        Ndp::parse(&self.bytes)
    }

    /// The changes of membership that it reports, if it is a multicast listener report.
    pub fn memberships(&self) -> Vec<Membership> {
        memberships(&self.bytes)
    }
}

/// The fields of an ARP frame. `Default` is the all-zero frame; tests fill in what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// 1 request, 2 reply.
    pub operation: u16,
    /// The Ethernet source address.
    pub source: Mac,
    /// The Ethernet destination address.
    pub destination: Mac,
    /// SHA
    pub sender_mac: Mac,
    /// SPA
    pub sender_ip: Ipv4Addr,
    /// THA
    pub target_mac: Mac,
    /// TPA
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// A broadcast request "who has `target`".
    pub fn request(sender_mac: Mac, sender_ip: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self {
            operation: 1,
            source: sender_mac,
            destination: Mac::BROADCAST,
            sender_mac,
            sender_ip,
            target_mac: Mac::ZERO,
            target_ip: target,
        }
    }

    /// Reads a frame; `None` when it is anything else.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let ip = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?));
        if number(12)? != ARP || number(14)? != 1 || number(16)? != 0x0800 || number(18)? != 0x0604 {
            return None;
        }
        Some(Self {
            destination: mac(bytes, 0)?,
            source: mac(bytes, 6)?,
            operation: number(20)?,
            sender_mac: mac(bytes, 22)?,
            sender_ip: ip(28)?,
            target_mac: mac(bytes, 32)?,
            target_ip: ip(38)?,
        })
    }

    /// The frame, 42 bytes without padding.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ETHERNET_HEADER + ARP_LENGTH);
        bytes.extend(self.destination.0);
        bytes.extend(self.source.0);
        bytes.extend(ARP.to_be_bytes());
        bytes.extend([0, 1, 8, 0, 6, 4]);
        bytes.extend(self.operation.to_be_bytes());
        bytes.extend(self.sender_mac.0);
        bytes.extend(self.sender_ip.octets());
        bytes.extend(self.target_mac.0);
        bytes.extend(self.target_ip.octets());
        bytes
    }

    /// Whether it is a reply that says who has `address`.
    pub fn answers(&self, address: Ipv4Addr) -> bool {
        self.operation == 2 && self.sender_ip == address
    }

    /// Whether it announces `address` unasked: sender and target are the address.
    pub fn announces(&self, address: Ipv4Addr) -> bool {
        self.sender_ip == address && self.target_ip == address
    }
}

impl fmt::Display for Arp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.operation {
            1 => write!(
                f,
                "{} > {}: who-has {} tell {}",
                self.source, self.destination, self.target_ip, self.sender_ip
            ),
            2 => write!(
                f,
                "{} > {}: {} is-at {}",
                self.source, self.destination, self.sender_ip, self.sender_mac
            ),
            other => write!(f, "{} > {}: ARP operation {other}", self.source, self.destination),
        }
    }
}

/// A span of time in which one host answered for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// Who answered.
    pub mac: Mac,
    /// The first answer.
    pub first: Duration,
    /// The last answer.
    pub last: Duration,
    /// How many.
    pub answers: usize,
}

/// Who answered for `address`, in the order of the first answers. Two tenures of one host with another's between them
/// count as two.
pub fn tenures(frames: &[Frame], address: Ipv4Addr) -> Vec<Tenure> {
    let mut tenures: Vec<Tenure> = Vec::new();
    for frame in frames {
        let Some(arp) = frame.arp().filter(|arp| arp.answers(address) && !arp.announces(address)) else {
            continue;
        };
        match tenures.last_mut() {
            Some(tenure) if tenure.mac == arp.source => {
                tenure.last = frame.at;
                tenure.answers += 1;
            }
            _ => tenures.push(Tenure { mac: arp.source, first: frame.at, last: frame.at, answers: 1 }),
        }
    }
    tenures
}

fn mac(bytes: &[u8], at: usize) -> Option<Mac> {
    Some(Mac(bytes.get(at..at + 6)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;
