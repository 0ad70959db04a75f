// SPDX-License-Identifier: Apache-2.0
use super::*;

#[test]
fn only_a_tag_with_a_vlan_number_puts_a_frame_in_a_vlan() {
    for (vlan_tci, expected) in
        [(None, false), (Some(0), false), (Some(0xe000), false), (Some(1), true), (Some(0x2005), true)]
    {
        assert_eq!(PacketMeta { vlan_tci, ..PacketMeta::default() }.in_vlan(), expected, "{vlan_tci:?}");
    }
}

#[test]
fn packet_types_are_numbered_as_in_if_packet_h() {
    use PacketType::{Broadcast, Host, Multicast, OtherHost, Outgoing, Unknown};
    let expected = [Host, Broadcast, Multicast, OtherHost, Outgoing, Unknown(5)];
    assert_eq!([0, 1, 2, 3, 4, 5].map(PacketType::from), expected);
}
