// SPDX-License-Identifier: Apache-2.0
use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::NdpRepr;

const NODE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 130);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 20);
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0x99, 0, 0, 0, 0x130);
const LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

#[test]
fn a_frame_speaks_for_the_address_that_it_puts_into_caches() {
    for (frame, speaks_for) in [
        (ArpFrame::request(NODE, OTHER, VIP).into(), Some(OTHER.into())),
        (ArpFrame::gratuitous_reply(NODE, VIP).into(), Some(VIP.into())),
        (ArpFrame::gratuitous_request(NODE, VIP).into(), Some(VIP.into())),
        (NeighborFrame::probe(NODE, VIP.into()), None),
        (NdpFrame::solicit(NODE, LOCAL, VIP6).into(), Some(LOCAL.into())),
        (NdpFrame::unsolicited(NODE, LOCAL, VIP6).into(), Some(VIP6.into())),
        (NeighborFrame::probe(NODE, VIP6.into()), None),
    ] {
        assert_eq!(frame.speaks_for(), speaks_for, "{frame}");
    }
}

#[test]
fn exactly_the_frames_bytes_are_handed_back() {
    let frames: [NeighborFrame; 3] = [
        ArpFrame::gratuitous_reply(NODE, VIP).into(),
        NdpFrame::unsolicited(NODE, LOCAL, VIP6).into(),
        NdpFrame::probe(NODE, VIP6).into(),
    ];
    for (frame, length) in frames.into_iter().zip([42, 86, 78]) {
        let mut buffer = [0xa5; NeighborFrame::MAX_LEN];
        let bytes = frame.emit(&mut buffer).unwrap();
        assert_eq!((bytes.len(), frame.wire_len()), (length, length));
        match frame {
            NeighborFrame::Arp(arp) => assert_eq!(ArpFrame::parse(bytes), Ok(arp)),
            NeighborFrame::Ndp(ndp) => assert_eq!(NdpFrame::parse(bytes), Ok(ndp)),
        }
        assert!(buffer[length..].iter().all(|&byte| byte == 0xa5), "{frame}");
    }
}

#[test]
fn a_probe_of_each_family_names_the_address_only_as_its_target() {
    let NeighborFrame::Ndp(probe) = NeighborFrame::probe(NODE, VIP6.into()) else { panic!("not NDP") };
    assert_eq!(probe.ndp, NdpRepr::Solicit { target: VIP6, link_layer: None });
    let NeighborFrame::Arp(probe) = NeighborFrame::probe(NODE, VIP.into()) else { panic!("not ARP") };
    assert_eq!((probe.arp.spa, probe.arp.tpa), (Ipv4Addr::UNSPECIFIED, VIP));
}
