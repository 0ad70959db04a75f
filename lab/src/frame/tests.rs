// SPDX-License-Identifier: Apache-2.0
use super::*;

const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
const B: Mac = Mac([2, 0, 0, 0, 0, 2]);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 200);
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);

fn answer(from: Mac, milliseconds: u64) -> Frame {
    let arp = Arp {
        operation: 2,
        source: from,
        destination: A,
        sender_mac: from,
        sender_ip: VIP,
        target_mac: A,
        target_ip: CLIENT,
    };
    let at = Duration::from_millis(milliseconds);
    Frame { at, port: String::new(), outgoing: false, bytes: arp.bytes() }
}

#[test]
fn a_request_is_the_frame_of_rfc_826() {
    let bytes = Arp::request(A, CLIENT, VIP).bytes();
    let expected = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1,
        192, 168, 1, 10, 0, 0, 0, 0, 0, 0, 192, 168, 1, 200,
    ];
    assert_eq!(bytes, expected);
    assert_eq!(Arp::parse(&bytes), Some(Arp::request(A, CLIENT, VIP)));
}

#[test]
fn other_frames_are_not_arp() {
    let good = Arp::request(A, CLIENT, VIP).bytes();
    assert_eq!(Arp::parse(&good[..41]), None);
    for (at, byte) in [(12, 0x86), (14, 1), (16, 0x86), (18, 8), (19, 16)] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert_eq!(Arp::parse(&bad), None, "byte {at}");
    }
}

#[test]
fn tenures_tell_who_answered_and_when() {
    let frames = [answer(A, 0), answer(A, 5), answer(B, 40), answer(A, 45)];
    let tenures = tenures(&frames, VIP);
    let seen: Vec<_> =
        tenures.iter().map(|tenure| (tenure.mac, tenure.first.as_millis(), tenure.answers)).collect();
    assert_eq!(seen, [(A, 0, 2), (B, 40, 1), (A, 45, 1)]);
}
