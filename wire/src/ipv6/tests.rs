// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;

use super::*;

const SOURCE: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xc);

fn repr() -> Ipv6Repr {
    Ipv6Repr { source: SOURCE, destination: ALL_NODES, next_header: ICMPV6, hop_limit: 255, payload_len: 3 }
}

fn emitted(repr: &Ipv6Repr, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xa5; Ipv6Repr::LEN];
    repr.emit(&mut bytes).unwrap();
    bytes.extend(payload);
    bytes
}

#[test]
fn a_header_is_read_and_written_byte_for_byte() {
    #[rustfmt::skip]
    let expected = [
        0x60, 0, 0, 0,  0, 3,  58,  255,
        0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0c,
        0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01,
        1, 2, 3,
    ];
    assert_eq!(emitted(&repr(), &[1, 2, 3]), expected);
    let packet = Ipv6Packet::new_checked(&expected[..]).unwrap();
    assert_eq!(Ipv6Repr::parse(&packet), repr());
    assert_eq!(packet.payload(), [1, 2, 3]);
    assert_eq!(repr().to_string(), "IPv6, fe80::c > ff02::1, next header 58, hop limit 255, 3 bytes");
}

#[test]
fn traffic_class_and_flow_label_do_not_matter() {
    let mut bytes = emitted(&repr(), &[1, 2, 3]);
    bytes[0] |= 0x0f;
    bytes[1..4].fill(0xff);
    assert_eq!(Ipv6Repr::parse(&Ipv6Packet::new_checked(&bytes[..]).unwrap()), repr());
}

#[test]
fn what_is_cut_or_of_another_version_is_named() {
    let bytes = emitted(&repr(), &[1, 2, 3]);
    for have in 0..bytes.len() {
        let expected = match have {
            0..40 => Ipv6Error::Header(Truncated { have, need: 40 }),
            _ => Ipv6Error::Payload(Truncated { have: have - 40, need: 3 }),
        };
        assert_eq!(Ipv6Packet::new_checked(&bytes[..have]).unwrap_err(), expected);
    }
    let mut other = bytes;
    other[0] = 0x45;
    assert_eq!(Ipv6Packet::new_checked(&other[..]).unwrap_err(), Ipv6Error::Version(4));
}

#[test]
fn padding_is_no_payload() {
    let mut bytes = emitted(&repr(), &[1, 2, 3]);
    bytes.extend([0xa5; 20]);
    assert_eq!(Ipv6Packet::new_checked(&bytes[..]).unwrap().payload(), [1, 2, 3]);
}

#[test]
fn a_buffer_that_is_too_small_is_not_touched() {
    for have in 0..Ipv6Repr::LEN {
        let mut bytes = vec![0xa5; have];
        assert_eq!(repr().emit(&mut bytes), Err(Truncated { have, need: 40 }));
        assert!(bytes.iter().all(|&byte| byte == 0xa5));
    }
}

#[test]
fn groups_keep_the_last_bits() {
    let address: Ipv6Addr = "2001:db8::1:800:200e:8c6c".parse().unwrap();
    // The example of RFC 4291 §2.7.1.
    assert_eq!(solicited_node(address), "ff02::1:ff0e:8c6c".parse::<Ipv6Addr>().unwrap());
    assert_eq!(ethernet_group(solicited_node(address)), MacAddr([0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c]));
    assert_eq!(ethernet_group(ALL_NODES), MacAddr([0x33, 0x33, 0, 0, 0, 1]));
    let other = "fd00::99:200e:8c6c".parse().unwrap();
    assert_eq!(solicited_node(other), solicited_node(address), "the last 24 bits are all that counts");
}

#[test]
fn the_checksum_of_a_known_message_is_right() {
    // An echo request, fe80::c to ff02::1.
    let message = [128, 0, 0, 0, 0x12, 0x34, 0, 1];
    let by_hand = {
        // fe80 + 000c + ff02 + 0001 + length 8 + 58 + 8000 + 1234 + 0001, folded and inverted.
        let sum: u32 = 0xfe80 + 0xc + 0xff02 + 1 + 8 + 58 + 0x8000 + 0x1234 + 1;
        let folded = (sum & 0xffff) + (sum >> 16);
        !u16::try_from(folded).unwrap()
    };
    assert_eq!(icmpv6_checksum(SOURCE, ALL_NODES, &message), by_hand);
    let mut whole = message;
    whole[2..4].copy_from_slice(&by_hand.to_be_bytes());
    assert_eq!(icmpv6_checksum(SOURCE, ALL_NODES, &whole), 0);
}

proptest! {
    #[test]
    fn what_is_emitted_is_parsed_again(
        addresses: [u128; 2], next_header: u8, hop_limit: u8,
        payload in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let [source, destination] = addresses.map(Ipv6Addr::from);
        let payload_len = u16::try_from(payload.len()).unwrap();
        let repr = Ipv6Repr { source, destination, next_header, hop_limit, payload_len };
        let bytes = emitted(&repr, &payload);
        let packet = Ipv6Packet::new_checked(&bytes[..]).unwrap();
        prop_assert_eq!(Ipv6Repr::parse(&packet), repr);
        prop_assert_eq!(packet.payload(), payload);
        prop_assert!(!repr.to_string().contains('\n'));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(packet) = Ipv6Packet::new_checked(&bytes[..]) {
            prop_assert_eq!(packet.payload().len(), packet.payload_len());
        }
    }

    #[test]
    fn a_message_with_its_checksum_sums_up_to_nothing(
        addresses: [u128; 2], message in prop::collection::vec(any::<u8>(), 4..200)
    ) {
        let [source, destination] = addresses.map(Ipv6Addr::from);
        let mut message = message;
        message[2..4].fill(0);
        let checksum = icmpv6_checksum(source, destination, &message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        prop_assert_eq!(icmpv6_checksum(source, destination, &message), 0);
    }
}
