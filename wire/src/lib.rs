// SPDX-License-Identifier: Apache-2.0
//! Frames of the neighbour protocols, as two types each: a checked view over bytes in, a `Repr` out.
//!
//! A view (`ArpPacket<&[u8]>`) is made by `new_checked`, which names what is wrong with the bytes; afterwards no
//! accessor can fail. A `Repr` holds the meaning, and is parsed from a view or emitted into a buffer.

mod arp;
mod ethernet;
mod meta;

pub use arp::{ArpError, ArpFrame, ArpPacket, ArpRepr, FrameError, Operation};
pub use ethernet::{BadMacAddr, EtherType, EthernetFrame, EthernetRepr, MacAddr, Truncated};
pub use meta::{PacketMeta, PacketType};
