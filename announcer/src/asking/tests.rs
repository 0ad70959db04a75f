// SPDX-License-Identifier: Apache-2.0
use super::*;

const US: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const THEM: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const OTHERS: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 128);
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0x99, 0, 0, 0, 0x128);
const LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

fn link() -> Link {
    Link {
        index: 2,
        name: "ens18".to_owned(),
        mac: Some(US.0),
        up: true,
        link_local: Some(LOCAL),
        addresses: vec!["10.0.0.5/24".parse().unwrap(), "192.168.99.10/24".parse().unwrap()],
        ..Link::default()
    }
}

fn bytes(frame: impl Into<NeighborFrame>) -> Vec<u8> {
    let mut buffer = [0xa5; NeighborFrame::MAX_LEN];
    frame.into().emit(&mut buffer).unwrap().to_vec()
}

#[test]
fn a_question_comes_from_an_address_of_the_link_and_claims_nothing() {
    let NeighborFrame::Arp(frame) = question(&link(), VIP.into()).unwrap() else { panic!("ARP") };
    assert_eq!((frame.arp.spa, frame.arp.tpa, frame.source), (Ipv4Addr::new(192, 168, 99, 10), VIP, US));
    assert_eq!(NeighborFrame::from(frame).speaks_for(), Some(IpAddr::V4(frame.arp.spa)));
    let NeighborFrame::Ndp(frame) = question(&link(), VIP6.into()).unwrap() else { panic!("NDP") };
    assert_eq!((frame.from, frame.ndp.target(), frame.ndp.link_layer()), (LOCAL, VIP6, Some(US)));
    // Out of every subnet, any address of the link will do.
    let NeighborFrame::Arp(frame) = question(&link(), Ipv4Addr::new(172, 16, 0, 1).into()).unwrap() else {
        panic!("ARP")
    };
    assert_eq!(frame.arp.spa, Ipv4Addr::new(10, 0, 0, 5));
}

#[test]
fn a_link_that_cannot_ask_says_why() {
    let cases = [
        (Link { up: false, ..link() }, VIP.into(), Unasked::LinkDown),
        (Link { mac: None, ..link() }, VIP.into(), Unasked::NotEthernet),
        (Link { addresses: Vec::new(), ..link() }, VIP.into(), Unasked::NoSourceAddress),
        (Link { link_local: None, ..link() }, IpAddr::from(VIP6), Unasked::NoSourceAddress),
    ];
    for (link, address, why) in cases {
        assert_eq!(question(&link, address).unwrap_err(), why, "{}", why.name());
    }
}

#[test]
fn an_address_is_asked_for_where_its_subnet_is_and_else_where_the_default_route_goes() {
    let route = |metric| gateherald_model::interfaces::DefaultRoute {
        family: gateherald_model::interfaces::Family::V4,
        gateway: None,
        metric,
    };
    let other = Link {
        index: 3,
        name: "ens19".to_owned(),
        addresses: vec!["10.1.0.5/24".parse().unwrap()],
        default_routes: vec![route(100)],
        ..link()
    };
    let worse = Link { index: 4, default_routes: vec![route(200)], addresses: Vec::new(), ..link() };
    let member = Link { index: 5, master: Some(9), ..link() };
    let links = [link(), other, worse, member];
    let found = |address: &str| -> Vec<u32> {
        nearest(&links, address.parse().unwrap()).iter().map(|link| link.index).collect()
    };
    assert_eq!(found("192.168.99.128"), [2]);
    assert_eq!(found("203.0.113.1"), [3], "the best default route");
    assert!(found("fd00::1").is_empty());
}

#[test]
fn only_an_answer_to_the_asking_link_is_one() {
    let meta = PacketMeta::default();
    let Ok(NeighborFrame::Arp(asked)) = question(&link(), VIP.into()) else { panic!("ARP") };
    let reply = ArpFrame::reply(&asked.arp, THEM);
    let told = |frame: &[u8]| answer(frame, meta, US, VIP.into());
    assert_eq!(told(&bytes(reply)), Some(THEM));
    assert_eq!(told(&bytes(ArpFrame { destination: OTHERS, ..reply })), None);
    assert_eq!(told(&bytes(ArpFrame::gratuitous_reply(THEM, VIP))), None, "an announcement");
    assert_eq!(told(&bytes(ArpFrame::request(THEM, VIP, VIP))), None);
    let mut zero = reply;
    zero.arp.sha = MacAddr::ZERO;
    assert_eq!(told(&bytes(zero)), None);
    assert_eq!(answer(&bytes(reply), meta, US, Ipv4Addr::new(192, 168, 99, 129).into()), None);
    let tagged = PacketMeta { vlan_tci: Some(7), ..meta };
    assert_eq!(answer(&bytes(reply), tagged, US, VIP.into()), None);
    let Ok(NeighborFrame::Ndp(asked)) = question(&link(), VIP6.into()) else { panic!("NDP") };
    let advert = NdpFrame::answer(&asked, THEM, VIP6);
    assert_eq!(answer(&bytes(advert), meta, US, VIP6.into()), Some(THEM));
    assert_eq!(answer(&bytes(NdpFrame::unsolicited(THEM, VIP6, VIP6)), meta, US, VIP6.into()), None);
    for junk in [&[][..], &[0xa5; 60]] {
        assert_eq!(answer(junk, meta, US, VIP.into()), None);
    }
}

fn heard(answers: &[(MacAddr, u8)]) -> Heard {
    let answers = answers
        .iter()
        .map(|(mac, round)| Answer { mac: *mac, round: *round, after: Duration::ZERO })
        .collect();
    Heard { asked: ROUNDS, answers }
}

/// US and THEM are announcers, one of them with OTHERS as a second link in the last argument.
fn verdict(answers: &[&[(MacAddr, u8)]], owns: bool, nodes: &[(MacAddr, &str)]) -> &'static str {
    let heard: Vec<Heard> = answers.iter().map(|answers| heard(answers)).collect();
    let host = |mac: MacAddr| {
        let node = nodes.iter().find(|(known, _)| *known == mac);
        node.map_or(Host::Stranger(mac), |(_, node)| Host::Node((*node).to_owned()))
    };
    judge(&heard, owns, host).name()
}

#[test]
fn two_hosts_that_answer_one_question_are_a_conflict() {
    let nodes = [(THEM, "n2"), (OTHERS, "n3")];
    for (answers, owns, nodes, expected) in [
        (&[&[][..]][..], false, &nodes[..], "nobody"),
        (&[&[]], true, &nodes, "this-node"),
        (&[&[(THEM, 0), (THEM, 1)]], false, &nodes, "answered"),
        (&[&[(THEM, 0), (OTHERS, 0)]], false, &[], "conflict"),
        (&[&[(THEM, 0), (OTHERS, 0)]], false, &nodes, "conflict"),
        // It moved meanwhile.
        (&[&[(THEM, 0), (OTHERS, 1), (OTHERS, 2)]], false, &nodes, "answered"),
        // One node with two links on the network, or one on each of two networks.
        (&[&[(THEM, 0), (OTHERS, 0)]], false, &[(THEM, "n2"), (OTHERS, "n2")], "answered"),
        (&[&[(THEM, 0)], &[(OTHERS, 0)]], false, &[(THEM, "n2"), (OTHERS, "n2")], "answered"),
        // Nobody may answer for what this node owns.
        (&[&[(OTHERS, 2)]], true, &[], "conflict"),
    ] {
        assert_eq!(verdict(answers, owns, nodes), expected, "{answers:?} {owns} {nodes:?}");
    }
}
