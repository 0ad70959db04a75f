// SPDX-License-Identifier: Apache-2.0
use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(index: u32, name: &str, addresses: &[&str]) -> Link {
    Link {
        index,
        name: name.into(),
        mac: Some([2, 0, 0, 0, 0, 1]),
        up: true,
        addresses: addresses.iter().map(|text| net(text)).collect(),
        ..Link::default()
    }
}

fn route(gateway: &str, metric: u32) -> DefaultRoute {
    DefaultRoute { family: ip(gateway).into(), gateway: Some(ip(gateway)), metric }
}

/// A node with a LAN, a second LAN with the default route, and what a cluster puts beside them.
fn node() -> Vec<Link> {
    let lo = Link { loopback: true, mac: Some([0; 6]), ..link(1, "lo", &["127.0.0.1/8", "10.9.0.0/16"]) };
    let second = Link {
        default_routes: vec![route("10.0.0.1", 100), route("fe80::1", 1024)],
        ..link(3, "eth1", &["10.0.0.11/24"])
    };
    let member = Link { master: Some(9), ..link(4, "eth2", &["172.16.0.2/24"]) };
    let tunnel = Link { noarp: true, ..link(5, "tap0", &[]) };
    let wireguard = Link { mac: None, kind: Some("wireguard".into()), ..link(6, "wg0", &["10.8.0.1/24"]) };
    let pod = Link { kind: Some("veth".into()), ..link(7, "veth0x", &[]) };
    let ipvs = Link { kind: Some("dummy".into()), noarp: true, ..link(8, IPVS_LINK, &["192.168.7.7/32"]) };
    let docker = Link { kind: Some("bridge".into()), ..link(10, "docker0", &["172.17.0.1/16"]) };
    let bond = Link { kind: Some("bond".into()), ..link(9, "bond0", &["172.16.0.1/24"]) };
    let lan = link(2, "ens18", &["192.168.99.11/24", "fd00:99::11/64"]);
    vec![lo, lan, second, member, tunnel, wireguard, pod, ipvs, bond, docker]
}

fn rule(patterns: &[&str]) -> InterfaceRule {
    let patterns: Vec<_> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    InterfaceRule::compile(&patterns).unwrap()
}

fn chosen(patterns: &[&str], links: &[Link], address: &str) -> Vec<String> {
    let found = rule(patterns).candidates(links).for_address(ip(address));
    found.map(|links| links.into_iter().map(|link| link.name.clone()).collect()).unwrap_or_default()
}

fn rejected(patterns: &[&str], links: &[Link], address: &str) -> String {
    rule(patterns).candidates(links).for_address(ip(address)).unwrap_err().to_string()
}

#[test]
fn without_patterns_the_links_with_the_subnet_are_taken_else_the_default_route_s() {
    for (address, expected) in [
        ("192.168.99.130", "ens18"),
        ("fd00:99::130", "ens18"),
        ("10.0.0.130", "eth1"),
        ("172.16.0.130", "bond0"),
        ("203.0.113.1", "eth1"),
        ("2001:db8::1", "eth1"),
        // Neither the loopback's prefix nor kube-proxy's copy of the address is a subnet.
        ("10.9.0.1", "eth1"),
        ("192.168.7.7", "eth1"),
    ] {
        assert_eq!(chosen(&[], &node(), address), [expected], "{address}");
    }
}

#[test]
fn an_address_whose_subnet_is_behind_a_tunnel_is_not_announced_elsewhere() {
    for (address, reason) in [("10.8.0.130", "wg0: NotEthernet"), ("172.17.0.130", "docker0: Name")] {
        let text = rejected(&[], &node(), address);
        assert!(text.contains(reason), "{text}");
    }
}

#[test]
fn the_default_route_with_the_lowest_metric_of_the_family_counts() {
    let mut links = vec![link(1, "a", &[]), link(2, "b", &[]), link(3, "c", &[])];
    assert!(rejected(&[], &links, "203.0.113.1").contains("a: NoSubnet, b: NoSubnet, c: NoSubnet"));
    links[0].default_routes = vec![route("10.0.0.1", 200), route("fe80::1", 1)];
    links[1].default_routes = vec![route("10.1.0.1", 100)];
    links[2].default_routes = vec![route("10.2.0.1", 100)];
    assert_eq!(chosen(&[], &links, "203.0.113.1"), ["b", "c"]);
    assert_eq!(chosen(&[], &links, "2001:db8::1"), ["a"]);
}

#[test]
fn patterns_are_joined_by_or_and_match_anywhere() {
    let links = [link(1, "eth0", &[]), link(2, "xeth0y", &[]), link(3, "eth1", &[]), link(4, "ens18", &[])];
    assert_eq!(chosen(&["eth0"], &links, "192.0.2.1"), ["eth0", "xeth0y"]);
    assert_eq!(chosen(&["^eth[0-9]+$"], &links, "192.0.2.1"), ["eth0", "eth1"]);
    assert_eq!(chosen(&["^eth1", "ens"], &links, "192.0.2.1"), ["eth1", "ens18"]);
    assert_eq!(
        rejected(&["^bond0$"], &links, "192.0.2.1"),
        "ens18: NotMatched, eth0: NotMatched, eth1: NotMatched, xeth0y: NotMatched"
    );
}

#[test]
fn a_whole_name_overrides_the_kind_but_never_loopback_enslaved_or_noarp() {
    let links = node();
    assert!(chosen(&["eth0"], &links, "192.0.2.1").is_empty(), "part of veth0x");
    assert_eq!(chosen(&["^veth0x$"], &links, "192.0.2.1"), ["veth0x"]);
    assert_eq!(chosen(&["veth..|docker0"], &links, "192.0.2.1"), ["veth0x", "docker0"]);
    for (pattern, reason) in [
        ("^lo$", "lo: Loopback"),
        ("^eth2$", "eth2: Enslaved"),
        ("^tap0$", "tap0: NoArp"),
        ("^wg0$", "wg0: NotEthernet"),
        ("eth0", "veth0x: Kind veth"),
        ("docker", "docker0: Name"),
    ] {
        let text = rejected(&[pattern], &links, "192.0.2.1");
        assert!(text.contains(reason), "{pattern}: {text}");
    }
}

#[test]
fn every_denied_kind_and_name_is_denied() {
    for kind in DENIED_KINDS {
        let links = [Link { kind: Some(kind.into()), ..link(1, "x0", &["192.0.2.2/24"]) }];
        assert_eq!(rejected(&[], &links, "192.0.2.1"), format!("x0: Kind {kind}"));
    }
    for name in ["docker0", "cni0", "cilium_host", "lxc1234", "cali1234"] {
        let links = [link(1, name, &["192.0.2.2/24"])];
        assert_eq!(rejected(&[], &links, "192.0.2.1"), format!("{name}: Name"));
    }
    for kind in ["bond", "bridge", "vlan", "macvlan", "team"] {
        let links = [Link { kind: Some(kind.into()), ..link(1, "x0", &["192.0.2.2/24"]) }];
        assert_eq!(chosen(&[], &links, "192.0.2.1"), ["x0"]);
    }
}

#[test]
fn a_selected_link_that_is_down_is_told_from_none_selected() {
    let mut links = vec![Link { up: false, ..link(1, "a0", &[]) }, link(2, "a1", &[])];
    let rule = rule(&["a."]);
    assert_eq!(rule.candidates(&links).for_address(ip("192.0.2.1")).unwrap(), [&links[1]]);
    links[1].up = false;
    let candidates = rule.candidates(&links);
    let error = candidates.for_address(ip("192.0.2.1")).unwrap_err();
    assert!(matches!(error, NoLink::AllDown(_)) && error.to_string() == "a0: Down, a1: Down");
    assert!(!candidates.any_up());
}

#[test]
fn a_bad_pattern_is_named() {
    for bad in ["(", "a{2", "[z-a]", r"\", "(?x)a # b", r"(a)\1"] {
        let Err(error) = InterfaceRule::compile(&["ok".into(), bad.into()]) else {
            assert_eq!(bad, "a{2", "only this one is a literal to some");
            continue;
        };
        assert_eq!(error.pattern, bad);
    }
    let huge = format!("(?:{}){{1000}}", "[a-z0-9]{100}");
    assert!(InterfaceRule::compile(&[huge]).is_err(), "a pattern must not cost more than a bound");
}
