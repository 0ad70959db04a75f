// SPDX-License-Identifier: Apache-2.0
use super::*;

const CLIENT: Mac = Mac([0x52, 0x54, 0, 0x0a, 7, 10]);

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// By RFC 4861 §4.3: `fd00:0:0:99::20` asks for `fd00:0:0:99::ab:cdef`. The checksum was computed elsewhere.
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

#[test]
fn a_known_solicitation_is_read_and_written() {
    let ndp = Ndp::parse(&SOLICITATION).unwrap();
    assert_eq!(
        ndp,
        Ndp::solicit(Mac([2, 0, 0, 0, 0, 0xc]), ip("fd00:0:0:99::20"), ip("fd00:0:0:99::ab:cdef"))
    );
    assert_eq!(ndp.bytes(), SOLICITATION);
}

#[test]
fn an_advertisement_is_told_by_its_flags() {
    let vip = ip("fd00::80");
    let advert = Ndp::advertise(CLIENT, ip("fe80::1"), vip);
    assert_eq!(Ndp::parse(&advert.bytes()), Some(advert));
    assert!(advert.announces(vip) && !advert.answers(vip) && !advert.asks(vip));
    let answer = Ndp { flags: 0x60, ..advert };
    assert!(answer.answers(vip) && !answer.announces(vip));
    assert_eq!(advert.destination, Mac([0x33, 0x33, 0, 0, 0, 1]));
}

#[test]
fn a_wrong_checksum_is_seen() {
    let wrong = Ndp { checksum_error: 1, ..Ndp::solicit(CLIENT, ip("fd00::9"), ip("fd00::80")) };
    assert_ne!(Ndp::parse(&wrong.bytes()).unwrap().checksum_error, 0);
}

#[test]
fn memberships_are_read_from_a_report() {
    let group = ip("ff02::1:ffab:cdef");
    let record = |kind: u8| {
        let mut bytes = SOLICITATION[..54].to_vec();
        bytes[20] = 0;
        let mut payload = vec![ICMPV6, 0, 5, 2, 0, 0, 1, 0, MLDV2_REPORT, 0, 0, 0, 0, 0, 0, 1, kind, 0, 0, 0];
        payload.extend(group.octets());
        bytes[18..20].copy_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend(payload);
        memberships(&bytes)
    };
    assert_eq!(record(4), [Membership::Joined(group)]);
    assert_eq!(record(3), [Membership::Left(group)]);
    assert_eq!(memberships(&SOLICITATION), []);
    assert_eq!(memberships(&[]), []);
}
