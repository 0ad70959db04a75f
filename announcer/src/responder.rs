// SPDX-License-Identifier: Apache-2.0
//! The answer to one frame: a reply, a named reason for silence, or a conflict. Pure; the driver sends, counts and logs.
//!
//! Checks are ordered by cost: what the kernel tells, then the frame itself, then who may answer.

use std::net::{IpAddr, Ipv4Addr};

use gateherald_wire::{ArpFrame, ArpRepr, FrameError, MacAddr, Operation, PacketMeta, PacketType};

/// What may be answered on the interface that received the frame, at the instant of the call.
pub trait Ownership {
    /// Whether this node may answer for the address here and now.
    fn may_answer(&self, address: IpAddr) -> Result<(), Refusal>;

    /// Whether the address is one of this node's links: its frames come back over a second link on the same network.
    fn is_own_mac(&self, mac: MacAddr) -> bool;
}

/// Why this node may not answer for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It is no address that this node knows: most of what a network asks for.
    NotOurs,
    /// It is no longer to be announced by this node.
    NotDesired,
    /// It is announced, but not on this interface.
    OtherInterface,
    /// Another node has the claim, or none.
    NotOwner,
    /// This node's session is past its deadline.
    NotFresh,
    /// The interface is down.
    LinkDown,
}

impl Refusal {
    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotOurs => "not-ours",
            Self::NotDesired => "not-desired",
            Self::OtherInterface => "other-interface",
            Self::NotOwner => "not-owner",
            Self::NotFresh => "not-fresh",
            Self::LinkDown => "link-down",
        }
    }
}

/// Why a frame is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// This node sent it.
    OwnFrame,
    /// It was sent to another host.
    OtherHost,
    /// It belongs to a VLAN, which is another network than the interface's own.
    Vlan,
    /// It is no ARP packet for IPv4 over Ethernet.
    Malformed(FrameError),
    /// It is neither a request nor a reply.
    OtherOperation(u16),
    /// Its sender's hardware address is a group or zero: no host to answer to.
    BadSender,
    /// It is a reply, and none of a conflict.
    NotARequest,
    /// The address asked for is not to be answered.
    Refused(Refusal),
}

impl DropReason {
    /// The stable name: the metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Self::OwnFrame => "own-frame",
            Self::OtherHost => "other-host",
            Self::Vlan => "vlan",
            Self::Malformed(_) => "malformed",
            Self::OtherOperation(_) => "other-operation",
            Self::BadSender => "bad-sender",
            Self::NotARequest => "not-a-request",
            Self::Refused(refusal) => refusal.name(),
        }
    }
}

/// What is to be done about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send this; the address answered for is its SPA.
    Reply(ArpFrame),
    /// Nothing.
    Drop(DropReason),
    /// Another host uses an address that this node may answer for: no reply.
    Conflict {
        /// The address.
        address: Ipv4Addr,
        /// Who says to have it.
        claimant: MacAddr,
    },
}

impl Verdict {
    /// The stable name: `reply`, `conflict`, or why the frame was dropped.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Reply(_) => "reply",
            Self::Drop(reason) => reason.name(),
            Self::Conflict { .. } => "conflict",
        }
    }
}

/// Judges one frame that an interface with the address `mac` received.
pub fn respond(bytes: &[u8], meta: PacketMeta, mac: MacAddr, ownership: &impl Ownership) -> Verdict {
    match judge(bytes, meta, mac, ownership) {
        Ok(verdict) => verdict,
        Err(reason) => Verdict::Drop(reason),
    }
}

fn judge(
    bytes: &[u8],
    meta: PacketMeta,
    mac: MacAddr,
    ownership: &impl Ownership,
) -> Result<Verdict, DropReason> {
    addressed_to_us(meta)?;
    let frame = ArpFrame::parse(bytes).map_err(DropReason::Malformed)?;
    let arp = &frame.arp;
    if let Operation::Other(operation) = arp.operation {
        return Err(DropReason::OtherOperation(operation));
    }
    if frame.destination != mac && !frame.destination.is_group() {
        return Err(DropReason::OtherHost);
    }
    if arp.sha.is_group() || arp.sha == MacAddr::ZERO {
        return Err(DropReason::BadSender);
    }
    if ownership.is_own_mac(arp.sha) || ownership.is_own_mac(frame.source) {
        return Err(DropReason::OwnFrame);
    }
    if let Some(address) = contested(arp, ownership) {
        return Ok(Verdict::Conflict { address, claimant: arp.sha });
    }
    if arp.operation != Operation::Request {
        return Err(DropReason::NotARequest);
    }
    ownership.may_answer(arp.tpa.into()).map_err(DropReason::Refused)?;
    Ok(Verdict::Reply(ArpFrame::reply(arp, mac)))
}

/// What the kernel tells about the frame, before a byte of it is read.
fn addressed_to_us(meta: PacketMeta) -> Result<(), DropReason> {
    match meta.packet_type {
        PacketType::Outgoing => Err(DropReason::OwnFrame),
        PacketType::OtherHost | PacketType::Unknown(_) => Err(DropReason::OtherHost),
        _ if meta.in_vlan() => Err(DropReason::Vlan),
        PacketType::Host | PacketType::Broadcast | PacketType::Multicast => Ok(()),
    }
}

/// The sender's address, if this node may answer for it: a conflict in any packet (RFC 5227 §2.4). While it may
/// not, another host's use of it is as it should be.
fn contested(arp: &ArpRepr, ownership: &impl Ownership) -> Option<Ipv4Addr> {
    ownership.may_answer(arp.spa.into()).is_ok().then_some(arp.spa)
}

#[cfg(test)]
mod tests;
