// SPDX-License-Identifier: Apache-2.0
//! Frames of the neighbour protocols, as two types each: a checked view over bytes in, a `Repr` out.
//!
//! A view (`ArpPacket<&[u8]>`, `NdpPacket<&[u8]>`) is made by `new_checked`, which names what is wrong with the bytes; afterwards no
//! accessor can fail. A `Repr` holds the meaning, and is parsed from a view or emitted into a buffer.

mod arp;
mod ethernet;
mod frame;
mod ipv6;
mod meta;
mod ndp;

pub use arp::{ArpError, ArpFrame, ArpPacket, ArpRepr, Operation};
pub use ethernet::{BadMacAddr, EtherType, EthernetFrame, EthernetRepr, MacAddr, Truncated};
pub use frame::{FrameError, NeighborFrame};
pub use ipv6::{ALL_NODES, ICMPV6, Ipv6Error, Ipv6Packet, Ipv6Repr, ethernet_group, solicited_node};
pub use meta::{PacketMeta, PacketType};
pub use ndp::{AdvertFlags, NdpError, NdpFrame, NdpPacket, NdpRepr};
