// SPDX-License-Identifier: Apache-2.0
use proptest::prelude::*;

use super::*;

#[test]
fn a_header_is_read_field_by_field() {
    let bytes = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6, 0xaa, 0xbb];
    let frame = EthernetFrame::new_checked(&bytes[..]).unwrap();
    let repr = EthernetRepr::parse(&frame);
    assert_eq!(repr.destination, MacAddr::BROADCAST);
    assert_eq!(repr.source, MacAddr([2, 0, 0, 0, 0, 1]));
    assert_eq!(repr.ethertype, EtherType::ARP);
    assert_eq!(frame.payload(), [0xaa, 0xbb]);
    assert_eq!(repr.to_string(), "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype 0x0806");
}

#[test]
fn emit_sets_the_header_and_leaves_the_payload() {
    let mut bytes = [0xa5; 16];
    let repr = EthernetRepr {
        destination: MacAddr([1, 2, 3, 4, 5, 6]),
        source: MacAddr([7, 8, 9, 10, 11, 12]),
        ethertype: EtherType(0x0102),
    };
    repr.emit(&mut EthernetFrame::new_checked(&mut bytes[..]).unwrap());
    assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1, 2, 0xa5, 0xa5]);
}

#[test]
fn a_short_frame_tells_its_length() {
    for have in 0..14 {
        let error = EthernetFrame::new_checked(&[0xa5; 14][..have]).unwrap_err();
        assert_eq!(error, Truncated { have, need: 14 });
    }
    assert!(EthernetFrame::new_checked([0xa5; 14]).is_ok());
}

#[test]
fn groups_are_told_from_hosts_by_the_first_bit_sent() {
    assert!(MacAddr::BROADCAST.is_group());
    assert!(MacAddr([0x33, 0x33, 0xff, 0, 0, 1]).is_group());
    assert!(!MacAddr([0x02, 0xff, 0xff, 0xff, 0xff, 0xff]).is_group());
    assert!(!MacAddr::ZERO.is_group());
}

#[test]
fn text_that_is_no_address_is_refused() {
    for text in [
        "",
        "02:00:00:00:00",
        "02:00:00:00:00:01:02",
        "2:0:0:0:0:1",
        "02-00-00-00-00-01",
        "+2:00:00:00:00:01",
    ] {
        assert_eq!(text.parse::<MacAddr>(), Err(BadMacAddr), "{text}");
    }
}

proptest! {
    #[test]
    fn an_address_survives_its_text(octets: [u8; 6]) {
        let mac = MacAddr(octets);
        prop_assert_eq!(mac.to_string().parse::<MacAddr>(), Ok(mac));
    }
}
