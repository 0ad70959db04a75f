// SPDX-License-Identifier: Apache-2.0
//! The responder: whatever comes in, only an owned address is ever spoken for, and only to who asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gateherald_announcer::responder::{
    Conflict, Nic, Ownership, Protocol, Refusal, Right, Sender, Verdict, respond,
};
use gateherald_wire::{ArpFrame, MacAddr, NdpFrame, NdpRepr, NeighborFrame, Operation, PacketMeta};

const V4: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 130);
const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0x99, 0, 0, 0xab, 0xcdef);
const LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const RIGHTS: [Result<Right, Refusal>; 8] = [
    Ok(Right::Fresh),
    Ok(Right::Held),
    Err(Refusal::NotOwner),
    Err(Refusal::NotFresh),
    Err(Refusal::LinkDown),
    Err(Refusal::Probing),
    Err(Refusal::Suspended),
    Err(Refusal::Silenced),
];

/// A node with one address of each family.
struct Node(Result<Right, Refusal>);

impl Ownership for Node {
    fn may_answer(&self, address: IpAddr) -> Result<Right, Refusal> {
        if address == V4 || address == V6 { self.0 } else { Err(Refusal::NotOurs) }
    }

    fn sender(&self, mac: MacAddr) -> Sender {
        match mac {
            OWN => Sender::Own,
            PEER => Sender::Peer,
            _ => Sender::Stranger,
        }
    }
}

/// Three bytes about the circumstances, the rest is the frame.
pub fn answer(bytes: &[u8]) {
    let Some((&[right, kind, tag], frame)) = bytes.split_first_chunk() else { return };
    let right = RIGHTS[usize::from(right) % RIGHTS.len()];
    let vlan_tci = (tag & 1 == 1).then_some(u16::from(tag) << 8 | u16::from(tag >> 1));
    let meta = PacketMeta { packet_type: (kind % 6).into(), vlan_tci };
    let nic = Nic { mac: OWN, link_local: (tag & 2 == 0).then_some(LOCAL) };
    for protocol in [Protocol::Arp, Protocol::Ndp] {
        match respond(protocol, frame, meta, nic, &Node(right)) {
            Verdict::Reply(reply) => {
                assert!(right.is_ok() && !meta.in_vlan());
                check(frame, reply, right);
            }
            Verdict::Conflict(Conflict { address, claimant, probe }) => {
                assert!(address == V4 || address == V6);
                assert!(claimant != OWN && !claimant.is_group());
                assert!(!probe || right == Ok(Right::Held));
                assert!(claimant != PEER || right == Ok(Right::Held));
            }
            Verdict::Drop(reason) => assert!(!reason.name().is_empty()),
        }
    }
}

fn check(frame: &[u8], reply: NeighborFrame, right: Result<Right, Refusal>) {
    let (asked, spoken_for) = (NeighborFrame::MAX_LEN >= reply.wire_len(), reply.speaks_for());
    assert!(
        asked
            && spoken_for == Some(if matches!(reply, NeighborFrame::Arp(_)) { V4.into() } else { V6.into() })
    );
    match reply {
        NeighborFrame::Arp(reply) => {
            let Ok(request) = ArpFrame::parse(frame) else { panic!("{reply} to nothing") };
            assert_eq!((request.arp.operation, request.arp.tpa), (Operation::Request, V4));
            assert!(request.arp.spa != V4);
            assert!(right == Ok(Right::Fresh) || !request.arp.spa.is_unspecified());
            assert_eq!((reply.source, reply.arp.sha, reply.destination), (OWN, OWN, request.arp.sha));
            assert!(!reply.destination.is_group());
        }
        NeighborFrame::Ndp(reply) => {
            let Ok(request) = NdpFrame::parse(frame) else { panic!("{reply} to nothing") };
            assert!(matches!(request.ndp, NdpRepr::Solicit { target: V6, .. }) && request.from != V6);
            assert_eq!((reply.source, reply.ndp.link_layer()), (OWN, Some(OWN)));
            let probe = request.from.is_unspecified();
            assert!(right == Ok(Right::Fresh) || !probe);
            assert_eq!(reply.destination.is_group(), probe);
        }
    }
}
