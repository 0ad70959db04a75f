// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;

use super::*;
use crate::ipv6::Ipv6Error;

const CLIENT: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xc]);
const NODE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const CLIENT_IP: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0x99, 0, 0, 0, 0x20);
const LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const VIP: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0x99, 0, 0, 0xab, 0xcdef);

/// Client asks for the VIP, by RFC 4861 §4.3. The checksum was computed elsewhere.
#[rustfmt::skip]
const SOLICITATION: [u8; 86] = [
    0x33, 0x33, 0xff, 0xab, 0xcd, 0xef,  0x02, 0x00, 0x00, 0x00, 0x00, 0x0c,  0x86, 0xdd,
    0x60, 0x00, 0x00, 0x00,  0x00, 0x20,  58, 255,
    0xfd, 0, 0, 0, 0, 0, 0, 0x99, 0, 0, 0, 0, 0, 0, 0, 0x20,
    0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xab, 0xcd, 0xef,
    135, 0, 0xdf, 0x09,  0, 0, 0, 0,
    0xfd, 0, 0, 0, 0, 0, 0, 0x99, 0, 0, 0, 0, 0, 0xab, 0xcd, 0xef,
    1, 1,  0x02, 0x00, 0x00, 0x00, 0x00, 0x0c,
];
/// Where the ICMPv6 message begins.
const MESSAGE: usize = 54;

fn solicit() -> NdpFrame {
    NdpFrame::solicit(CLIENT, CLIENT_IP, VIP)
}

fn advert(flags: AdvertFlags) -> NdpFrame {
    NdpFrame {
        destination: NODE,
        source: CLIENT,
        from: VIP,
        to: LOCAL,
        ndp: NdpRepr::Advert { target: VIP, link_layer: Some(CLIENT), flags },
    }
}

fn emitted(frame: &NdpFrame) -> Vec<u8> {
    let mut bytes = vec![0xa5; frame.wire_len()];
    frame.emit(&mut bytes).unwrap();
    bytes
}

/// Sets the message's checksum and its length as they belong to what the frame has become.
fn mended(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(bytes.len() - MESSAGE).unwrap();
    bytes[18..20].copy_from_slice(&length.to_be_bytes());
    if bytes.len() >= MESSAGE + 4 {
        bytes[MESSAGE + 2..MESSAGE + 4].fill(0);
        let address = |at: usize| Ipv6Addr::from(octets::<16>(&bytes[at..at + 16]));
        let checksum = icmpv6_checksum(address(22), address(38), &bytes[MESSAGE..]);
        bytes[MESSAGE + 2..MESSAGE + 4].copy_from_slice(&checksum.to_be_bytes());
    }
    bytes
}

fn spoiled(frame: &NdpFrame, offset: usize, value: &[u8]) -> FrameError {
    let mut bytes = emitted(frame);
    bytes[offset..offset + value.len()].copy_from_slice(value);
    NdpFrame::parse(&mended(bytes)).unwrap_err()
}

fn with_options(frame: &NdpFrame, options: &[u8]) -> Result<NdpFrame, FrameError> {
    let mut bytes = emitted(frame);
    bytes.truncate(MESSAGE + 24);
    bytes.extend(options);
    NdpFrame::parse(&mended(bytes))
}

#[test]
fn a_known_solicitation_is_read_and_written_byte_for_byte() {
    let frame = NdpFrame::parse(&SOLICITATION).unwrap();
    assert_eq!(frame, solicit());
    assert_eq!(emitted(&frame), SOLICITATION);
}

#[test]
fn n1_an_answer_goes_to_the_asking_host_with_solicited_and_override_and_never_router() {
    let answer = NdpFrame::answer(&solicit(), NODE, LOCAL);
    assert_eq!((answer.destination, answer.source), (CLIENT, NODE));
    assert_eq!((answer.from, answer.to), (LOCAL, CLIENT_IP));
    let flags = AdvertFlags { router: false, solicited: true, overrides: true };
    assert_eq!(answer.ndp, NdpRepr::Advert { target: VIP, link_layer: Some(NODE), flags });
    assert_eq!(emitted(&answer)[MESSAGE + 4], 0x60);
    assert_eq!(emitted(&answer)[21], 255, "hop limit");
}

#[test]
fn n2_without_a_link_layer_address_the_frames_source_is_answered() {
    let request = NdpFrame { ndp: NdpRepr::Solicit { target: VIP, link_layer: None }, ..solicit() };
    assert_eq!(NdpFrame::answer(&request, NODE, LOCAL).destination, CLIENT);
}

#[test]
fn n4_a_probe_is_answered_to_everybody_as_unsolicited() {
    let answer = NdpFrame::answer(&NdpFrame::probe(CLIENT, VIP), NODE, LOCAL);
    assert_eq!(answer, NdpFrame::unsolicited(NODE, LOCAL, VIP));
    assert_eq!((answer.destination, answer.to), (MacAddr([0x33, 0x33, 0, 0, 0, 1]), ALL_NODES));
    let flags = AdvertFlags { router: false, solicited: false, overrides: true };
    assert_eq!(answer.ndp, NdpRepr::Advert { target: VIP, link_layer: Some(NODE), flags });
}

#[test]
fn a_probe_has_neither_source_nor_link_layer_address() {
    let probe = NdpFrame::probe(NODE, VIP);
    assert_eq!((probe.from, probe.to), (Ipv6Addr::UNSPECIFIED, solicited_node(VIP)));
    assert_eq!(probe.ndp, NdpRepr::Solicit { target: VIP, link_layer: None });
    assert_eq!(NdpFrame::parse(&emitted(&probe)), Ok(probe));
}

#[test]
fn frames_are_displayed_on_one_line() {
    for (frame, line) in [
        (
            solicit(),
            "02:00:00:00:00:0c > 33:33:ff:ab:cd:ef, fd00:0:0:99::20 > ff02::1:ffab:cdef, NDP, Solicit who-has fd00::99:0:0:ab:cdef (02:00:00:00:00:0c)",
        ),
        (
            NdpFrame::probe(NODE, VIP),
            "02:00:00:00:00:01 > 33:33:ff:ab:cd:ef, :: > ff02::1:ffab:cdef, NDP, Solicit who-has fd00::99:0:0:ab:cdef",
        ),
        (
            NdpFrame::answer(&solicit(), NODE, LOCAL),
            "02:00:00:00:00:01 > 02:00:00:00:00:0c, fe80::1 > fd00:0:0:99::20, NDP, Advert fd00::99:0:0:ab:cdef is-there -SO (02:00:00:00:00:01)",
        ),
    ] {
        assert_eq!(frame.to_string(), line);
    }
}

#[test]
fn n7_to_n12_and_each_other_malformed_field_is_named() {
    let to = solicited_node(VIP);
    let group: Ipv6Addr = "ff02::1".parse().unwrap();
    for (case, error, expected) in [
        ("ethertype", spoiled(&solicit(), 12, &[8, 6]), FrameError::EtherType(EtherType::ARP)),
        ("version", spoiled(&solicit(), 14, &[0x40]), Ipv6Error::Version(4).into()),
        ("hop-by-hop first", spoiled(&solicit(), 20, &[0]), NdpError::NextHeader(0).into()),
        ("a fragment", spoiled(&solicit(), 20, &[44]), NdpError::NextHeader(44).into()),
        ("N7", spoiled(&solicit(), 21, &[254]), NdpError::HopLimit(254).into()),
        ("N9", spoiled(&solicit(), MESSAGE + 1, &[1]), NdpError::Code(1).into()),
        ("N20 router solicitation", spoiled(&solicit(), MESSAGE, &[133]), NdpError::Type(133).into()),
        ("N20 router advertisement", spoiled(&solicit(), MESSAGE, &[134]), NdpError::Type(134).into()),
        ("N20 redirect", spoiled(&solicit(), MESSAGE, &[137]), NdpError::Type(137).into()),
        ("N20 echo", spoiled(&solicit(), MESSAGE, &[128]), NdpError::Type(128).into()),
        ("N11", spoiled(&solicit(), MESSAGE + 8, &group.octets()), NdpError::GroupTarget(group).into()),
        ("from a group", spoiled(&solicit(), 22, &group.octets()), NdpError::GroupSource(group).into()),
        ("N5", spoiled(&solicit(), 22, &[0; 16]), NdpError::UnspecifiedWithLinkLayer.into()),
        (
            "probe to a host",
            spoiled(&NdpFrame::probe(CLIENT, VIP), 38, &LOCAL.octets()),
            NdpError::UnspecifiedSource(LOCAL).into(),
        ),
        (
            "advertisement from nobody",
            spoiled(&advert(AdvertFlags::default()), 22, &[0; 16]),
            NdpError::UnspecifiedSource(LOCAL).into(),
        ),
        (
            "solicited by a group",
            spoiled(&advert(AdvertFlags { solicited: true, ..AdvertFlags::default() }), 38, &to.octets()),
            NdpError::SolicitedToGroup(to).into(),
        ),
    ] {
        assert_eq!(error, expected, "{case}");
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn n8_a_wrong_checksum_is_named_and_so_is_every_flipped_bit_of_message_and_addresses() {
    for at in (22..54).chain(MESSAGE + 2..SOLICITATION.len()) {
        let mut bytes = SOLICITATION;
        bytes[at] ^= 0x10;
        assert_eq!(NdpFrame::parse(&bytes), Err(NdpError::Checksum.into()), "byte {at}");
    }
}

#[test]
fn n12_options_without_length_or_end_are_named_and_end_the_reading() {
    let have = |have, need| NdpError::OptionOverrun(Truncated { have, need });
    for (case, options, error) in [
        ("no length", vec![1, 0, 2, 0, 0, 0, 0, 12], NdpError::OptionLength),
        ("unknown without length", vec![77, 0, 0, 0, 0, 0, 0, 0], NdpError::OptionLength),
        (
            "a second one without length",
            [&[14, 1, 0, 0, 0, 0, 0, 0][..], &[1, 0]].concat(),
            NdpError::OptionLength,
        ),
        ("overrun", vec![1, 2, 2, 0, 0, 0, 0, 12], have(8, 16)),
        ("overrun by far", vec![14, 255, 2, 0, 0, 0, 0, 12], have(8, 2040)),
        ("only a type", vec![1], have(1, 8)),
        ("cut", vec![1, 1, 2, 0], have(4, 8)),
        ("two units of link-layer address", [&[1, 2][..], &[0; 14]].concat(), NdpError::LinkLayerLength(2)),
    ] {
        assert_eq!(with_options(&solicit(), &options), Err(error.into()), "{case}");
    }
}

#[test]
fn options_that_nobody_reads_are_passed_over_and_the_first_address_counts() {
    let nonce = [14, 1, 9, 9, 9, 9, 9, 9];
    let long = [&[200, 3][..], &[0xa5; 22]].concat();
    let (first, second) = ([1, 1, 2, 0, 0, 0, 0, 0xc], [1, 1, 2, 0, 0, 0, 0, 0xd]);
    let target = [2, 1, 2, 0, 0, 0, 0, 0xe];
    for options in [
        first.to_vec(),
        [&nonce[..], &first].concat(),
        [&long[..], &target, &first, &second, &nonce].concat(),
    ] {
        assert_eq!(with_options(&solicit(), &options), Ok(solicit()));
    }
    let probe = NdpFrame::probe(CLIENT, VIP);
    assert_eq!(
        with_options(&probe, &nonce),
        Ok(probe),
        "enhanced duplicate detection (RFC 7527) adds a nonce"
    );
}

#[test]
fn every_shorter_frame_is_truncated_and_every_longer_one_is_padded() {
    for have in 0..SOLICITATION.len() {
        let expected = match have {
            0..14 => FrameError::Header(Truncated { have, need: 14 }),
            14..54 => Ipv6Error::Header(Truncated { have: have - 14, need: 40 }).into(),
            _ => Ipv6Error::Payload(Truncated { have: have - 54, need: 32 }).into(),
        };
        assert_eq!(NdpFrame::parse(&SOLICITATION[..have]), Err(expected));
    }
    for have in 0..24 {
        let error = NdpFrame::parse(&mended(SOLICITATION[..MESSAGE + have].to_vec())).unwrap_err();
        assert_eq!(error, NdpError::Truncated(Truncated { have, need: 24 }).into(), "N10");
    }
    for len in [86, 90, 1514] {
        let mut bytes = vec![0xa5; len];
        bytes[..86].copy_from_slice(&SOLICITATION);
        assert_eq!(NdpFrame::parse(&bytes), Ok(solicit()));
    }
}

#[test]
fn a_buffer_that_is_too_small_is_not_touched() {
    for frame in [solicit(), NdpFrame::probe(NODE, VIP)] {
        for have in 0..frame.wire_len() {
            let mut bytes = vec![0xa5; have];
            let need = frame.wire_len();
            assert_eq!(frame.emit(&mut bytes), Err(Truncated { have, need }));
            assert!(bytes.iter().all(|&byte| byte == 0xa5));
        }
    }
}

fn any_address() -> impl Strategy<Value = Ipv6Addr> {
    let known = vec![VIP, LOCAL, CLIENT_IP, ALL_NODES, solicited_node(VIP), Ipv6Addr::UNSPECIFIED];
    prop_oneof![2 => prop::sample::select(known), 1 => any::<u128>().prop_map(Ipv6Addr::from)]
}

fn any_frame() -> impl Strategy<Value = NdpFrame> {
    let macs = (any::<[[u8; 6]; 2]>(), any::<Option<[u8; 6]>>());
    let flags = any::<[bool; 3]>().prop_map(|[router, solicited, overrides]| AdvertFlags {
        router,
        solicited,
        overrides,
    });
    let addresses = (any_address(), any_address(), any_address());
    (macs, addresses, prop::option::of(flags)).prop_map(
        |(([destination, source], link_layer), (from, to, target), flags)| {
            let link_layer = link_layer.map(MacAddr);
            let ndp = match flags {
                None => NdpRepr::Solicit { target, link_layer },
                Some(flags) => NdpRepr::Advert { target, link_layer, flags },
            };
            NdpFrame { destination: MacAddr(destination), source: MacAddr(source), from, to, ndp }
        },
    )
}

/// Bytes that get past the first checks more often than chance would let them.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let options = prop::collection::vec(any::<u8>(), 0..40);
    let spoiled = (any_frame(), any::<prop::sample::Index>(), any::<Option<u8>>(), options).prop_map(
        |(frame, index, value, options)| {
            let mut bytes = emitted(&frame);
            bytes.extend(options);
            let at = index.index(bytes.len());
            bytes[at] = value.unwrap_or(bytes[at]);
            mended(bytes)
        },
    );
    prop_oneof![prop::collection::vec(any::<u8>(), 0..1600), spoiled]
}

proptest! {
    #[test]
    fn what_is_emitted_is_parsed_again_or_broke_a_rule(frame in any_frame()) {
        match NdpFrame::parse(&emitted(&frame)) {
            Ok(parsed) => prop_assert_eq!(parsed, frame),
            Err(error) => {
                let FrameError::Ndp(rule) = error else { return Err(TestCaseError::fail(error.to_string())) };
                let advert = matches!(frame.ndp, NdpRepr::Advert { .. });
                prop_assert!(match rule {
                    NdpError::GroupTarget(target) => target.is_multicast() && target == frame.ndp.target(),
                    NdpError::GroupSource(source) => source.is_multicast() && source == frame.from,
                    NdpError::UnspecifiedWithLinkLayer => frame.from.is_unspecified() && !advert,
                    NdpError::UnspecifiedSource(_) => frame.from.is_unspecified(),
                    NdpError::SolicitedToGroup(to) => advert && to.is_multicast(),
                    _ => false,
                }, "{}", rule);
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic_and_what_is_read_is_written_alike(bytes in any_bytes()) {
        match NdpFrame::parse(&bytes) {
            Ok(frame) => {
                prop_assert!(!frame.to_string().contains('\n'));
                prop_assert_eq!(NdpFrame::parse(&emitted(&frame)), Ok(frame));
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
