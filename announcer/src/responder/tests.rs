// SPDX-License-Identifier: Apache-2.0
//! What the cases of both protocols share: a node, and who is on its network.

use std::{cell::RefCell, collections::BTreeMap};

use super::*;

pub(super) const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
pub(super) const OWN_SECOND_LINK: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
pub(super) const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
pub(super) const CLIENT: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xc]);
pub(super) const STRANGER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xe]);

/// Every way in which an address can be answered for, or not.
pub(super) const RIGHTS: [Result<Right, Refusal>; 11] = [
    Ok(Right::Fresh),
    Ok(Right::Held),
    Err(Refusal::NotOurs),
    Err(Refusal::NotDesired),
    Err(Refusal::OtherInterface),
    Err(Refusal::NotOwner),
    Err(Refusal::NotFresh),
    Err(Refusal::LinkDown),
    Err(Refusal::Probing),
    Err(Refusal::Suspended),
    Err(Refusal::Silenced),
];

/// A node with some addresses; remembers which it was asked about.
#[derive(Default)]
pub(super) struct Node {
    pub(super) addresses: BTreeMap<IpAddr, Result<Right, Refusal>>,
    pub(super) asked: RefCell<Vec<IpAddr>>,
}

impl Ownership for Node {
    fn may_answer(&self, address: IpAddr) -> Result<Right, Refusal> {
        self.asked.borrow_mut().push(address);
        self.addresses.get(&address).copied().unwrap_or(Err(Refusal::NotOurs))
    }

    fn sender(&self, mac: MacAddr) -> Sender {
        match mac {
            OWN | OWN_SECOND_LINK => Sender::Own,
            PEER => Sender::Peer,
            _ => Sender::Stranger,
        }
    }
}

pub(super) fn owning(address: impl Into<IpAddr>, right: Result<Right, Refusal>) -> Node {
    Node { addresses: BTreeMap::from([(address.into(), right)]), ..Node::default() }
}

pub(super) fn meta(packet_type: PacketType) -> PacketMeta {
    PacketMeta { packet_type, vlan_tci: None }
}

pub(super) fn tagged(tci: u16) -> PacketMeta {
    PacketMeta { packet_type: PacketType::Broadcast, vlan_tci: Some(tci) }
}

pub(super) fn dropped(reason: DropReason) -> Verdict {
    Verdict::Drop(reason)
}

pub(super) fn refused(refusal: Refusal) -> Verdict {
    dropped(DropReason::Refused(refusal))
}

pub(super) fn conflict(address: impl Into<IpAddr>, claimant: MacAddr, probe: bool) -> Verdict {
    Verdict::Conflict(Conflict { address: address.into(), claimant, probe })
}

#[test]
fn a_right_or_its_lack_has_one_name_and_no_other_has_it() {
    let names: std::collections::BTreeSet<_> =
        RIGHTS.iter().filter_map(|right| right.err()).map(Refusal::name).collect();
    assert_eq!(names.len(), RIGHTS.len() - 2);
}

#[test]
fn every_reason_is_listed_once_and_nothing_else() {
    let protocol = [
        NdpError::NextHeader(0),
        NdpError::Truncated(gateherald_wire::Truncated { have: 0, need: 24 }),
        NdpError::HopLimit(254),
        NdpError::Code(1),
        NdpError::Checksum,
        NdpError::GroupTarget(Ipv6Addr::UNSPECIFIED),
        NdpError::OptionLength,
        NdpError::UnspecifiedWithLinkLayer,
        NdpError::SolicitedToGroup(Ipv6Addr::UNSPECIFIED),
    ];
    let frame = |error| DropReason::Malformed(FrameError::Ndp(error)).name();
    let plain = [
        DropReason::OwnFrame,
        DropReason::OtherHost,
        DropReason::Vlan,
        DropReason::Malformed(FrameError::EtherType(gateherald_wire::EtherType::IPV6)),
        DropReason::OtherOperation(0),
        DropReason::BadSender,
        DropReason::Peer,
        DropReason::NotARequest,
    ];
    let refusals =
        RIGHTS.iter().filter_map(|right| right.err()).chain([Refusal::Resuming]).map(Refusal::name);
    let found: std::collections::BTreeSet<_> = protocol
        .into_iter()
        .map(frame)
        .chain(plain.iter().map(|reason| reason.name()))
        .chain(refusals)
        .collect();
    let listed: std::collections::BTreeSet<_> = DropReason::NAMES.into_iter().collect();
    assert_eq!(listed.len(), DropReason::NAMES.len());
    assert_eq!(found, listed);
}

#[test]
fn frames_speak_from_the_link_local_address_and_n24_without_one_from_the_address_itself() {
    let vip: Ipv6Addr = "fd00::80".parse().unwrap();
    let local: Ipv6Addr = "fe80::1".parse().unwrap();
    assert_eq!(Nic { mac: OWN, link_local: Some(local) }.source(vip), local);
    assert_eq!(Nic { mac: OWN, link_local: None }.source(vip), vip);
}
