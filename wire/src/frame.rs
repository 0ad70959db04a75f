// SPDX-License-Identifier: Apache-2.0
//! A frame of either neighbour protocol.

use std::{fmt, net::IpAddr};

use thiserror::Error;

use crate::{
    arp::{ArpError, ArpFrame},
    ethernet::{EtherType, MacAddr, Truncated},
    ipv6::Ipv6Error,
    ndp::{NdpError, NdpFrame},
};

/// Why bytes are no frame of the neighbour protocol that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// They end inside the Ethernet header.
    #[error("Ethernet header {0}")]
    Header(#[from] Truncated),
    /// The payload is something else.
    #[error("ethertype {0}")]
    EtherType(EtherType),
    /// The payload says it is ARP and cannot be read.
    #[error("ARP {0}")]
    Arp(#[from] ArpError),
    /// The payload says it is IPv6 and cannot be read.
    #[error("IPv6 {0}")]
    Ipv6(#[from] Ipv6Error),
    /// The packet is no neighbour solicitation or advertisement that may be acted on.
    #[error("NDP {0}")]
    Ndp(#[from] NdpError),
}

/// What this side sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighborFrame {
    /// For IPv4.
    Arp(ArpFrame),
    /// For IPv6.
    Ndp(NdpFrame),
}

impl NeighborFrame {
    /// Most bytes that a frame takes.
    pub const MAX_LEN: usize = NdpFrame::MAX_LEN;

    /// Does anybody have the address? No cache is changed by the question.
    pub fn probe(mac: MacAddr, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Arp(ArpFrame::probe(mac, address)),
            IpAddr::V6(address) => Self::Ndp(NdpFrame::probe(mac, address)),
        }
    }

    /// The address that the frame speaks for: SPA, or the target of an advertisement. None: it only asks.
    pub fn speaks_for(&self) -> Option<IpAddr> {
        match self {
            Self::Arp(frame) if frame.arp.spa.is_unspecified() => None,
            Self::Arp(frame) => Some(frame.arp.spa.into()),
            Self::Ndp(NdpFrame { ndp: crate::NdpRepr::Solicit { .. }, from, .. }) => {
                (!from.is_unspecified()).then(|| (*from).into())
            }
            Self::Ndp(NdpFrame { ndp: crate::NdpRepr::Advert { target, .. }, .. }) => Some((*target).into()),
        }
    }

    /// The frame's length in bytes.
    pub fn wire_len(&self) -> usize {
        match self {
            Self::Arp(_) => ArpFrame::LEN,
            Self::Ndp(frame) => frame.wire_len(),
        }
    }

    /// Writes the frame, every byte of it, at the start of a buffer, and hands those bytes back.
    pub fn emit<'a>(&self, buffer: &'a mut [u8]) -> Result<&'a [u8], Truncated> {
        match self {
            Self::Arp(frame) => frame.emit(buffer)?,
            Self::Ndp(frame) => frame.emit(buffer)?,
        }
        let (have, need) = (buffer.len(), self.wire_len());
        buffer.get(..need).ok_or(Truncated { have, need })
    }
}

impl From<ArpFrame> for NeighborFrame {
    fn from(frame: ArpFrame) -> Self {
        Self::Arp(frame)
    }
}

impl From<NdpFrame> for NeighborFrame {
    fn from(frame: NdpFrame) -> Self {
        Self::Ndp(frame)
    }
}

impl fmt::Display for NeighborFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arp(frame) => frame.fmt(f),
            Self::Ndp(frame) => frame.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
