// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::interfaces::{DefaultRoute, Family};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(name: &str, addresses: &[&str]) -> Link {
    let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
    Link { name: name.into(), addresses, ..Link::default() }
}

fn links() -> Vec<Link> {
    let mut lan = link("ens18", &["192.168.99.11/24", "fd00:99::11/64", "10.1.0.2/31", "10.1.1.2/30"]);
    let route = |family, gateway: &str, metric| DefaultRoute { family, gateway: Some(ip(gateway)), metric };
    lan.default_routes = vec![route(Family::V4, "192.168.99.1", 0), route(Family::V6, "fe80::1", 0)];
    lan.default_routes.push(DefaultRoute { family: Family::V4, gateway: None, metric: 5 });
    vec![link("lo", &["127.0.0.1/8", "10.7.7.7/32"]), lan, link(IPVS_LINK, &["192.168.99.130/32"])]
}

#[test]
fn addresses_that_belong_to_somebody_or_mean_something_else() {
    use NotVirtual::{
        Broadcast, DefaultGateway, Ipv4Mapped, Loopback, Multicast, Network, NodeAddress, OnLink, Unspecified,
    };
    let links = links();
    let taken = Taken::new([("n1", ip("192.168.99.11")), ("n2", ip("192.168.99.12"))], &links);
    let network = |text: &str| Network(text.parse().unwrap());
    for (address, why) in [
        ("192.168.99.12", NodeAddress("n2".into())),
        ("192.168.99.11", NodeAddress("n1".into())),
        ("fd00:99::11", OnLink("ens18".into())),
        ("10.7.7.7", OnLink("lo".into())),
        ("192.168.99.1", DefaultGateway),
        ("fe80::1", DefaultGateway),
        ("192.168.99.0", network("192.168.99.0/24")),
        ("fd00:99::", network("fd00:99::/64")),
        ("10.1.1.0", network("10.1.1.0/30")),
        ("192.168.99.255", Broadcast),
        ("10.1.1.3", Broadcast),
        ("255.255.255.255", Broadcast),
        ("224.0.0.1", Multicast),
        ("239.255.255.250", Multicast),
        ("ff02::1", Multicast),
        ("127.0.0.1", Loopback),
        ("127.9.9.9", Loopback),
        ("::1", Loopback),
        ("0.0.0.0", Unspecified),
        ("0.1.2.3", Unspecified),
        ("::", Unspecified),
        ("::ffff:192.168.99.140", Ipv4Mapped),
    ] {
        assert_eq!(taken.check(ip(address)), Err(why), "{address}");
    }
}

#[test]
fn everything_else_may_be_virtual() {
    let links = links();
    let taken = Taken::new([("n1", ip("192.168.99.11"))], &links);
    for address in [
        "192.168.99.130", // only on kube-ipvs0
        "192.168.99.254",
        "fd00:99::ffff:ffff:ffff:ffff", // IPv6 has no broadcast
        "10.1.0.3",                     // a /31 has neither network nor broadcast (RFC 3021)
        "203.0.113.7",
        "2001:db8::7",
    ] {
        assert_eq!(taken.check(ip(address)), Ok(()), "{address}");
    }
}

#[test]
fn the_same_detail_is_named_whatever_the_order() {
    let mut links = vec![link("b", &["10.0.0.1/16"]), link("a", &["10.0.0.1/24"])];
    let mut nodes = [("n2", ip("10.0.0.9")), ("n1", ip("10.0.0.9"))];
    let check = |links: &[Link], nodes: [(&'static str, IpAddr); 2]| {
        ["10.0.0.1", "10.0.0.0", "10.0.0.9"].map(|address| Taken::new(nodes, links).check(ip(address)))
    };
    let forth = check(&links, nodes);
    links.reverse();
    nodes.reverse();
    assert_eq!(check(&links, nodes), forth);
    assert_eq!(forth[0], Err(NotVirtual::OnLink("a".into())));
}
