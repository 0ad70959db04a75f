// SPDX-License-Identifier: Apache-2.0
//! With a real kernel: these need root.

use std::time::Duration;

use gateherald_wire::solicited_node;

use super::*;
use crate::io::netns::{inside, ip};

fn group(n: u32) -> Ipv6Addr {
    let [high, low] = [n >> 16, n & 0xffff].map(|part| u16::try_from(part).unwrap());
    solicited_node(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, high, low))
}

fn groups(range: std::ops::Range<u32>) -> BTreeSet<Ipv6Addr> {
    range.map(group).collect()
}

/// The groups of `ens18` that were joined by sockets, as the kernel lists them.
fn members() -> BTreeSet<Ipv6Addr> {
    let table = std::fs::read_to_string("/proc/thread-self/net/igmp6").unwrap();
    let of_link = table.lines().filter(|line| line.contains(" ens18 "));
    let groups =
        of_link.filter_map(|line| u128::from_str_radix(line.split_ascii_whitespace().nth(2)?, 16).ok());
    let link_local = solicited_node(Ipv6Addr::UNSPECIFIED).segments()[..6].to_vec();
    groups.map(Ipv6Addr::from).filter(|group| group.segments()[..6] == link_local[..]).collect()
}

fn link() -> u32 {
    ip("link add ens18 type veth peer name other");
    // Without an address of its own there is no group but those joined here.
    ip("link set ens18 addrgenmode none");
    ip("link set ens18 up");
    nix::net::if_::if_nametoindex("ens18").unwrap()
}

#[test]
fn n21_groups_are_joined_once_and_left_when_the_last_address_goes() {
    inside(|| async {
        let mut member = Groups::new(link());
        assert!(members().is_empty());
        member.follow(&groups(0..3)).unwrap();
        assert_eq!(members(), groups(0..3));
        member.follow(&groups(2..4)).unwrap();
        assert_eq!(members(), groups(2..4));
        member.follow(&BTreeSet::new()).unwrap();
        assert!(members().is_empty());
        assert!(member.sockets.is_empty());
    });
}

#[test]
fn more_groups_than_one_socket_takes_are_spread_over_sockets() {
    inside(|| async {
        let mut member = Groups::new(link());
        let many = 6_000;
        member.follow(&groups(0..many)).unwrap();
        assert_eq!(members().len(), many as usize);
        assert!(member.sockets.len() > 1, "{} sockets", member.sockets.len());
        let before = member.sockets.len();
        // What was left makes room for others.
        member.follow(&groups(100..many + 100)).unwrap();
        assert_eq!(members(), groups(100..many + 100));
        assert_eq!(member.sockets.len(), before);
        drop(member);
        // With the last copy of each socket: a process that another test is just starting has one until it is another program.
        let gone = async {
            while !members().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.expect("memberships end with the sockets");
    });
}

#[test]
fn a_group_that_cannot_be_joined_is_tried_again_and_does_not_keep_others_from_being_joined() {
    inside(|| async {
        let index = link();
        let mut member = Groups::new(index);
        let no_group = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
        let mut wanted = groups(0..2);
        wanted.insert(no_group);
        assert!(member.follow(&wanted).is_err());
        assert_eq!(members(), groups(0..2));
        let mut nowhere = Groups::new(index + 1000);
        assert!(nowhere.follow(&groups(0..1)).is_err());
        assert!(nowhere.joined.is_empty());
    });
}
