// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;

use super::*;

const CLIENT: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xc]);
const NODE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const CLIENT_IP: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 20);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 130);

/// A request as captured: client asks for the VIP.
#[rustfmt::skip]
const REQUEST: [u8; 42] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff,  0x02, 0x00, 0x00, 0x00, 0x00, 0x0c,  0x08, 0x06,
    0x00, 0x01,  0x08, 0x00,  0x06, 0x04,  0x00, 0x01,
    0x02, 0x00, 0x00, 0x00, 0x00, 0x0c,  192, 168, 99, 20,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00,  192, 168, 99, 130,
];

fn request() -> ArpRepr {
    ArpRepr { operation: Operation::Request, sha: CLIENT, spa: CLIENT_IP, tha: MacAddr::ZERO, tpa: VIP }
}

fn emitted(frame: &ArpFrame) -> [u8; ArpFrame::LEN] {
    let mut bytes = [0xa5; ArpFrame::LEN];
    frame.emit(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_captured_request_is_read_and_written_byte_for_byte() {
    let frame = ArpFrame::parse(&REQUEST).unwrap();
    assert_eq!(frame, ArpFrame { destination: MacAddr::BROADCAST, source: CLIENT, arp: request() });
    assert_eq!(frame, ArpFrame::request(CLIENT, CLIENT_IP, VIP));
    assert_eq!(emitted(&frame), REQUEST);
    assert_eq!(frame.to_bytes(), REQUEST);
}

#[test]
fn a_reply_swaps_the_roles() {
    let reply = ArpFrame::reply(&request(), NODE);
    assert_eq!((reply.destination, reply.source), (CLIENT, NODE));
    let ArpRepr { operation, sha, spa, tha, tpa } = reply.arp;
    assert_eq!((operation, sha, spa), (Operation::Reply, NODE, VIP));
    assert_eq!((tha, tpa), (CLIENT, CLIENT_IP));
}

#[test]
fn both_announcements_name_the_address_twice_and_go_to_everybody() {
    let request = ArpFrame::gratuitous_request(NODE, VIP);
    let reply = ArpFrame::gratuitous_reply(NODE, VIP);
    for (frame, operation, tha) in
        [(request, Operation::Request, MacAddr::ZERO), (reply, Operation::Reply, NODE)]
    {
        assert_eq!((frame.destination, frame.source), (MacAddr::BROADCAST, NODE));
        assert_eq!(frame.arp, ArpRepr { operation, sha: NODE, spa: VIP, tha, tpa: VIP });
    }
}

#[test]
fn a_probe_has_no_sender_address() {
    let probe = ArpFrame::probe(NODE, VIP).arp;
    assert_eq!((probe.operation, probe.spa, probe.tpa), (Operation::Request, Ipv4Addr::UNSPECIFIED, VIP));
    assert_eq!((probe.sha, probe.tha), (NODE, MacAddr::ZERO));
}

#[test]
fn frames_are_displayed_on_one_line() {
    let other = ArpRepr { operation: Operation::Other(8), ..request() };
    for (frame, line) in [
        (
            ArpFrame::request(CLIENT, CLIENT_IP, VIP),
            "02:00:00:00:00:0c > ff:ff:ff:ff:ff:ff, ARP, Request who-has 192.168.99.130 tell 192.168.99.20 (02:00:00:00:00:0c)",
        ),
        (
            ArpFrame::reply(&request(), NODE),
            "02:00:00:00:00:01 > 02:00:00:00:00:0c, ARP, Reply 192.168.99.130 is-at 02:00:00:00:00:01 to 192.168.99.20 (02:00:00:00:00:0c)",
        ),
        (
            ArpFrame::gratuitous_request(NODE, VIP),
            "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ARP, Announcement 192.168.99.130 is-at 02:00:00:00:00:01",
        ),
        (
            ArpFrame::probe(NODE, VIP),
            "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ARP, Probe 192.168.99.130 tell 02:00:00:00:00:01",
        ),
        (
            ArpFrame { destination: NODE, source: CLIENT, arp: other },
            "02:00:00:00:00:0c > 02:00:00:00:00:01, ARP, operation 8 from 192.168.99.20 (02:00:00:00:00:0c) to 192.168.99.130 (00:00:00:00:00:00)",
        ),
    ] {
        assert_eq!(frame.to_string(), line);
    }
}

#[test]
fn each_malformed_field_is_named() {
    let spoiled = |offset: usize, value: u8| {
        let mut bytes = REQUEST;
        bytes[offset] = value;
        ArpFrame::parse(&bytes).unwrap_err()
    };
    assert_eq!(spoiled(13, 0), FrameError::EtherType(EtherType::IPV4));
    assert_eq!(spoiled(15, 6), ArpError::HardwareType(6).into());
    assert_eq!(spoiled(14, 1), ArpError::HardwareType(0x0101).into());
    assert_eq!(spoiled(17, 6), ArpError::ProtocolType(EtherType::ARP).into());
    assert_eq!(spoiled(18, 8), ArpError::HardwareLength(8).into());
    assert_eq!(spoiled(19, 16), ArpError::ProtocolLength(16).into());
}

#[test]
fn every_shorter_frame_is_truncated_and_every_longer_one_is_padded() {
    for len in 0..REQUEST.len() {
        let expected = match len {
            0..14 => FrameError::Header(Truncated { have: len, need: 14 }),
            _ => ArpError::Truncated(Truncated { have: len - 14, need: 28 }).into(),
        };
        assert_eq!(ArpFrame::parse(&REQUEST[..len]), Err(expected));
    }
    for len in [42, 60, 1500] {
        let mut bytes = vec![0xa5; len];
        bytes[..42].copy_from_slice(&REQUEST);
        assert_eq!(ArpFrame::parse(&bytes).unwrap().arp, request());
    }
}

#[test]
fn a_buffer_that_is_too_small_is_not_touched() {
    for len in 0..ArpFrame::LEN {
        let mut bytes = vec![0xa5; len];
        let error = ArpFrame::probe(NODE, VIP).emit(&mut bytes).unwrap_err();
        assert_eq!(error, Truncated { have: len, need: ArpFrame::LEN });
        assert!(bytes.iter().all(|&byte| byte == 0xa5));
    }
}

fn any_frame() -> impl Strategy<Value = ArpFrame> {
    let macs = any::<[[u8; 6]; 4]>();
    (macs, any::<u16>(), any::<[u32; 2]>()).prop_map(
        |([destination, source, sha, tha], operation, [spa, tpa])| ArpFrame {
            destination: MacAddr(destination),
            source: MacAddr(source),
            arp: ArpRepr {
                operation: operation.into(),
                sha: MacAddr(sha),
                spa: spa.into(),
                tha: MacAddr(tha),
                tpa: tpa.into(),
            },
        },
    )
}

/// Bytes that get past the first checks more often than chance would let them.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let spoiled = (any_frame(), any::<prop::sample::Index>(), any::<u8>(), 0..64_usize).prop_map(
        |(frame, index, value, tail)| {
            let mut bytes = frame.to_bytes().to_vec();
            bytes.resize(tail.max(1), 0xa5);
            let at = index.index(bytes.len());
            bytes[at] = value;
            bytes
        },
    );
    prop_oneof![prop::collection::vec(any::<u8>(), 0..1600), spoiled]
}

proptest! {
    #[test]
    fn what_is_emitted_is_parsed_again(frame in any_frame()) {
        prop_assert_eq!(ArpFrame::parse(&emitted(&frame)), Ok(frame));
        prop_assert_eq!(frame.to_bytes(), emitted(&frame));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in any_bytes()) {
        match ArpFrame::parse(&bytes) {
            Ok(frame) => {
                prop_assert!(!frame.to_string().contains('\n'));
                prop_assert_eq!(&emitted(&frame)[..], &bytes[..ArpFrame::LEN]);
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
        if let Ok(packet) = ArpPacket::new_checked(&bytes) {
            prop_assert!(packet.to_string().starts_with("ARP, "));
        }
    }
}
