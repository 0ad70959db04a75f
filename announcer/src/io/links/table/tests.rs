// SPDX-License-Identifier: Apache-2.0
use rtnetlink::packet_route::{address::AddressHeader, link::LinkHeader, route::RouteHeader};

use super::*;

const UP: LinkFlags = LinkFlags::Up.union(LinkFlags::Running).union(LinkFlags::LowerUp);

fn link(index: u32, flags: LinkFlags, more: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header =
        LinkHeader { index, flags, link_layer_type: LinkLayerType::Ether, ..LinkHeader::default() };
    message.attributes =
        vec![LinkAttribute::IfName("ens18".to_owned()), LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1])];
    message.attributes.extend(more);
    message
}

fn address(index: u32, attributes: Vec<AddressAttribute>) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header = AddressHeader { index, prefix_len: 24, ..AddressHeader::default() };
    message.attributes = attributes;
    message
}

fn route(attributes: Vec<RouteAttribute>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: AddressFamily::Inet,
        kind: RouteType::Unicast,
        table: 254,
        ..RouteHeader::default()
    };
    message.attributes = attributes;
    message
}

fn with_link(flags: LinkFlags) -> Table {
    let mut table = Table::default();
    table.apply(&RouteNetlinkMessage::NewLink(link(2, flags, vec![])));
    table
}

#[test]
fn a_link_is_up_only_with_carrier() {
    for (flags, up) in [
        (UP, true),
        (LinkFlags::Up, false),
        (LinkFlags::Up | LinkFlags::Running, false),
        (LinkFlags::LowerUp | LinkFlags::Running, false),
    ] {
        assert_eq!(with_link(flags).links()[0].up, up, "{flags}");
    }
}

#[test]
fn a_link_that_goes_down_takes_its_routes_with_it() {
    let mut table = with_link(UP);
    let down = RouteNetlinkMessage::NewLink(link(2, LinkFlags::Up, vec![]));
    assert_eq!(table.apply(&down), Effect::ReadRoutes);
    assert_eq!(table.apply(&down), Effect::None, "nothing new");
    assert_eq!(table.apply(&RouteNetlinkMessage::NewLink(link(2, UP, vec![]))), Effect::Changed);
    assert_eq!(table.apply(&RouteNetlinkMessage::DelLink(link(2, UP, vec![]))), Effect::ReadRoutes);
    assert!(table.links().is_empty());
}

#[test]
fn a_port_that_leaves_its_bridge_is_still_there() {
    let mut table = with_link(UP);
    let mut left = link(2, UP, vec![]);
    left.header.interface_family = AddressFamily::Bridge;
    assert_eq!(table.apply(&RouteNetlinkMessage::DelLink(left.clone())), Effect::None);
    assert_eq!(table.apply(&RouteNetlinkMessage::NewLink(left)), Effect::None);
    assert_eq!(table.links().len(), 1);
}

#[test]
fn master_kind_and_address_are_read() {
    let mut table = Table::default();
    let more = vec![
        LinkAttribute::Controller(7),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(rtnetlink::packet_route::link::InfoKind::Veth)]),
    ];
    table.apply(&RouteNetlinkMessage::NewLink(link(2, UP, more)));
    let read = &table.links()[0];
    assert_eq!(
        (read.master, read.kind.as_deref(), read.mac),
        (Some(7), Some("veth"), Some([2, 0, 0, 0, 0, 1]))
    );
}

#[test]
fn the_own_end_of_a_point_to_point_address_counts() {
    let mut table = with_link(UP);
    let (own, peer) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    let message = address(2, vec![AddressAttribute::Address(peer), AddressAttribute::Local(own)]);
    assert_eq!(table.apply(&RouteNetlinkMessage::NewAddress(message.clone())), Effect::Changed);
    assert_eq!(table.links()[0].addresses, ["10.0.0.1/24".parse().unwrap()]);
    assert_eq!(table.apply(&RouteNetlinkMessage::DelAddress(message)), Effect::Changed);
    assert!(table.links()[0].addresses.is_empty());
}

#[test]
fn default_routes_of_the_main_table_are_kept_by_next_hop() {
    let gateway = RouteAttribute::Gateway(RouteAddress::Inet("192.168.99.1".parse().unwrap()));
    let mut table = with_link(UP);
    let default = route(vec![gateway.clone(), RouteAttribute::Oif(2), RouteAttribute::Priority(100)]);
    assert_eq!(table.apply(&RouteNetlinkMessage::NewRoute(default.clone())), Effect::Changed);
    let expected =
        DefaultRoute { family: Family::V4, gateway: Some("192.168.99.1".parse().unwrap()), metric: 100 };
    assert_eq!(table.links()[0].default_routes, [expected]);
    for other in [route(vec![gateway.clone(), RouteAttribute::Oif(2), RouteAttribute::Table(1000)]), {
        let mut net = route(vec![gateway, RouteAttribute::Oif(2)]);
        net.header.destination_prefix_length = 24;
        net
    }] {
        assert_eq!(table.apply(&RouteNetlinkMessage::NewRoute(other)), Effect::None);
    }
    assert_eq!(table.apply(&RouteNetlinkMessage::DelRoute(default)), Effect::Changed);
    assert!(table.links()[0].default_routes.is_empty());
}
