// SPDX-License-Identifier: Apache-2.0
//! The answer to one frame: a reply, a named reason for silence, or a conflict. Pure; the driver sends, counts and logs.
//!
//! Checks are ordered by cost: what the kernel tells, then the frame itself, then who may answer.

use std::net::{IpAddr, Ipv6Addr};

use gateherald_wire::{FrameError, MacAddr, NdpError, NeighborFrame, PacketMeta, PacketType};

mod arp;
mod ndp;

/// What may be answered on the interface that received the frame, at the instant of the call.
pub trait Ownership {
    /// Whether this node may answer for the address here and now, and by which right.
    fn may_answer(&self, address: IpAddr) -> Result<Right, Refusal>;

    /// Whose Ethernet address it is.
    fn sender(&self, mac: MacAddr) -> Sender;
}

/// By which right an address is answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Right {
    /// Title under a fresh session: no other announcer can answer.
    Fresh,
    /// What is left of title while the API server is away: it ends as soon as anybody else speaks up.
    Held,
}

/// Who sent a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// One of this node's links: a frame can come back over a second link on the same network.
    Own,
    /// A link of another announcer.
    Peer,
    /// Any other host.
    Stranger,
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
    /// It is not known yet whether somebody uses the address.
    Probing,
    /// The same, before it is answered for again without a session.
    Resuming,
    /// Another host uses the address, and the title has not been confirmed since.
    Suspended,
    /// Another host goes on using the address.
    Silenced,
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
            Self::Probing => "probing",
            Self::Resuming => "resuming",
            Self::Suspended => "suspended",
            Self::Silenced => "silenced",
        }
    }

    /// The address would be answered for if nobody else used it: so that it is used must go on being noticed.
    fn watches_others(self) -> bool {
        matches!(self, Self::Probing | Self::Suspended | Self::Silenced)
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
    /// It cannot be read, or breaks a rule of its protocol.
    Malformed(FrameError),
    /// It is neither a request nor a reply.
    OtherOperation(u16),
    /// Its sender's hardware address is a group or zero: no host to answer to.
    BadSender,
    /// Another announcer spoke for an address that this node has now: a frame that was on its way.
    Peer,
    /// It tells instead of asking, and is none of a conflict.
    NotARequest,
    /// The address asked for is not to be answered.
    Refused(Refusal),
}

impl DropReason {
    /// Every name.
    pub const NAMES: [&'static str; 27] = [
        "own-frame",
        "other-host",
        "vlan",
        "malformed",
        "other-message",
        "too-short",
        "hop-limit",
        "bad-checksum",
        "bad-code",
        "group-target",
        "bad-option",
        "bad-probe",
        "bad-advertisement",
        "other-operation",
        "bad-sender",
        "peer",
        "not-a-request",
        "not-ours",
        "not-desired",
        "other-interface",
        "link-down",
        "not-owner",
        "not-fresh",
        "resuming",
        "probing",
        "suspended",
        "silenced",
    ];

    /// The stable name: the metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Self::OwnFrame => "own-frame",
            Self::OtherHost => "other-host",
            Self::Vlan => "vlan",
            Self::Malformed(FrameError::Ndp(error)) => rule(error),
            Self::Malformed(_) => "malformed",
            Self::OtherOperation(_) => "other-operation",
            Self::BadSender => "bad-sender",
            Self::Peer => "peer",
            Self::NotARequest => "not-a-request",
            Self::Refused(refusal) => refusal.name(),
        }
    }
}

/// The rule of RFC 4861 §7.1 that a message breaks.
fn rule(error: NdpError) -> &'static str {
    match error {
        NdpError::NextHeader(_) | NdpError::Type(_) => "other-message",
        NdpError::Truncated(_) => "too-short",
        NdpError::HopLimit(_) => "hop-limit",
        NdpError::Code(_) => "bad-code",
        NdpError::Checksum => "bad-checksum",
        NdpError::GroupTarget(_) => "group-target",
        NdpError::GroupSource(_) => "bad-sender",
        NdpError::OptionLength | NdpError::OptionOverrun(_) | NdpError::LinkLayerLength(_) => "bad-option",
        NdpError::UnspecifiedWithLinkLayer | NdpError::UnspecifiedSource(_) => "bad-probe",
        NdpError::SolicitedToGroup(_) => "bad-advertisement",
    }
}

/// What is to be done about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send this.
    Reply(NeighborFrame),
    /// Nothing.
    Drop(DropReason),
    /// Another host uses, or under [`Right::Held`] asks for, an address that this node would answer for: no reply.
    Conflict(Conflict),
}

/// Another host's word for an address of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The address.
    pub address: IpAddr,
    /// Who says to have it.
    pub claimant: MacAddr,
    /// It only asks whether anybody has it.
    pub probe: bool,
}

impl Verdict {
    /// The stable name: `reply`, `conflict`, or why the frame was dropped.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Reply(_) => "reply",
            Self::Drop(reason) => reason.name(),
            Self::Conflict(_) => "conflict",
        }
    }
}

/// A neighbour protocol: a packet socket hears one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// For IPv4.
    Arp,
    /// For IPv6.
    Ndp,
}

impl Protocol {
    /// The name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arp => "ARP",
            Self::Ndp => "NDP",
        }
    }
}

impl From<IpAddr> for Protocol {
    fn from(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Arp } else { Self::Ndp }
    }
}

/// An interface as its network sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nic {
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// Its link-local address, once nobody else was found to use it.
    pub link_local: Option<Ipv6Addr>,
}

impl Nic {
    /// What a frame about `address` says it comes from: the link-local address, or where there is none the address.
    pub fn source(self, address: Ipv6Addr) -> Ipv6Addr {
        self.link_local.unwrap_or(address)
    }
}

/// Judges one frame that an interface received.
pub fn respond(
    protocol: Protocol,
    bytes: &[u8],
    meta: PacketMeta,
    nic: Nic,
    ownership: &impl Ownership,
) -> Verdict {
    let judged = addressed_to_us(meta).and_then(|()| match protocol {
        Protocol::Arp => arp::judge(bytes, nic, ownership),
        Protocol::Ndp => ndp::judge(bytes, nic, ownership),
    });
    judged.unwrap_or_else(Verdict::Drop)
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

/// Who sent it, by the frame's source and by the address that it puts into caches; never one of this node's own links.
fn sender(
    frame: (MacAddr, MacAddr),
    told: MacAddr,
    nic: Nic,
    ownership: &impl Ownership,
) -> Result<Sender, DropReason> {
    let (destination, source) = frame;
    if destination != nic.mac && !destination.is_group() {
        return Err(DropReason::OtherHost);
    }
    if told.is_group() || told == MacAddr::ZERO {
        return Err(DropReason::BadSender);
    }
    match (ownership.sender(told), ownership.sender(source)) {
        (Sender::Own, _) | (_, Sender::Own) => Err(DropReason::OwnFrame),
        (sender, _) => Ok(sender),
    }
}

/// What it means that another host says it has this address: RFC 5227 §2.4, RFC 4862 §5.4.4. While this node would not
/// answer for it, another host's use of it is as it should be.
fn spoken_for(
    address: IpAddr,
    (sender, claimant): (Sender, MacAddr),
    ownership: &impl Ownership,
) -> Result<Option<Verdict>, DropReason> {
    let conflict = Ok(Some(Verdict::Conflict(Conflict { address, claimant, probe: false })));
    match ownership.may_answer(address) {
        // A held right, or one about to begin again, ends by anybody's word, another announcer's first of all.
        Ok(Right::Held) | Err(Refusal::Resuming) => conflict,
        Err(refusal) if !refusal.watches_others() => Ok(None),
        Err(_) | Ok(Right::Fresh) if sender == Sender::Peer => Err(DropReason::Peer),
        Err(_) | Ok(Right::Fresh) => conflict,
    }
}

/// Whether a host that asks for `address` is to be answered; `probe`: it asks because it wants the address itself.
fn asked_for(
    address: IpAddr,
    claimant: MacAddr,
    probe: bool,
    ownership: &impl Ownership,
) -> Result<Option<Verdict>, DropReason> {
    match ownership.may_answer(address) {
        Ok(Right::Held) | Err(Refusal::Resuming) if probe => {
            Ok(Some(Verdict::Conflict(Conflict { address, claimant, probe })))
        }
        Ok(Right::Held | Right::Fresh) => Ok(None),
        Err(refusal) => Err(DropReason::Refused(refusal)),
    }
}

#[cfg(test)]
mod tests;
