// SPDX-License-Identifier: Apache-2.0
//! The node's links as the kernel's messages add up to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
};

use gateherald_model::interfaces::{DefaultRoute, Family, Link};
use ipnet::IpNet;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage},
    link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia},
};

/// The kernel's number of the main routing table.
const MAIN_TABLE: u32 = 254;

/// Links, addresses and default routes; fed by a dump and then by events.
#[derive(Debug, Default)]
pub(super) struct Table {
    links: BTreeMap<u32, Link>,
    /// Whether each is in use: IPv6 ones are first asked for.
    addresses: BTreeMap<(u32, IpNet), bool>,
    routes: BTreeSet<Route>,
}

/// A default route of the main table, one next hop of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Route {
    link: u32,
    family: Family,
    metric: u32,
    gateway: Option<IpAddr>,
}

/// What an event asks of the driver beyond what the table has done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing that anybody here looks at.
    None,
    /// The table has changed.
    Changed,
    /// The table has changed, and the routes must be read again: the kernel drops a link's IPv4 routes silently.
    ReadRoutes,
}

impl Table {
    /// Takes in one message of a dump or an event.
    pub(super) fn apply(&mut self, message: &RouteNetlinkMessage) -> Effect {
        match message {
            RouteNetlinkMessage::NewLink(link) => self.new_link(link),
            RouteNetlinkMessage::DelLink(link) => self.del_link(link),
            RouteNetlinkMessage::NewAddress(address) => {
                let in_use = in_use(address);
                let old = interface_address(address).map(|own| self.addresses.insert(own, in_use));
                changed(old.is_some_and(|old| old != Some(in_use)))
            }
            RouteNetlinkMessage::DelAddress(address) => {
                changed(interface_address(address).and_then(|own| self.addresses.remove(&own)).is_some())
            }
            RouteNetlinkMessage::NewRoute(route) => {
                let mut new = false;
                for hop in default_route(route) {
                    new |= self.routes.insert(hop);
                }
                changed(new)
            }
            RouteNetlinkMessage::DelRoute(route) => {
                let mut gone = false;
                for hop in default_route(route) {
                    gone |= self.routes.remove(&hop);
                }
                changed(gone)
            }
            _ => Effect::None,
        }
    }

    /// Forgets the routes, before they are read again.
    pub(super) fn forget_routes(&mut self) {
        self.routes.clear();
    }

    /// The links as they are now, by index.
    pub(super) fn links(&self) -> Vec<Link> {
        self.links
            .values()
            .map(|link| Link {
                link_local: self.link_local_of(link.index),
                addresses: self.addresses_of(link.index),
                default_routes: self.routes_of(link.index),
                ..link.clone()
            })
            .collect()
    }

    fn addresses_of(&self, index: u32) -> Vec<IpNet> {
        self.addresses.keys().filter(|(link, _)| *link == index).map(|(_, net)| *net).collect()
    }

    fn link_local_of(&self, index: u32) -> Option<Ipv6Addr> {
        self.addresses.iter().find_map(|((link, net), in_use)| match net.addr() {
            IpAddr::V6(v6) if *link == index && *in_use && v6.is_unicast_link_local() => Some(v6),
            _ => None,
        })
    }

    fn routes_of(&self, index: u32) -> Vec<DefaultRoute> {
        let through = |route: &&Route| route.link == index;
        let own = |r: &Route| DefaultRoute { family: r.family, gateway: r.gateway, metric: r.metric };
        self.routes.iter().filter(through).map(own).collect()
    }

    fn new_link(&mut self, message: &LinkMessage) -> Effect {
        // Bridges report their ports in messages of family AF_BRIDGE, radios their events without the link's state.
        let partial = message.attributes.iter().any(|a| matches!(a, LinkAttribute::Wireless(_)));
        if message.header.interface_family != AddressFamily::Unspec || partial {
            return Effect::None;
        }
        let link = read_link(message);
        match self.links.insert(link.index, link.clone()) {
            Some(old) if old == link => Effect::None,
            Some(old) if old.up && !link.up => Effect::ReadRoutes,
            _ => Effect::Changed,
        }
    }

    fn del_link(&mut self, message: &LinkMessage) -> Effect {
        if message.header.interface_family != AddressFamily::Unspec {
            return Effect::None;
        }
        let index = message.header.index;
        self.addresses.retain(|(link, _), _| *link != index);
        if self.links.remove(&index).is_some() { Effect::ReadRoutes } else { Effect::None }
    }
}

fn changed(changed: bool) -> Effect {
    if changed { Effect::Changed } else { Effect::None }
}

fn read_link(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        up: flags.contains(LinkFlags::Up | LinkFlags::Running | LinkFlags::LowerUp),
        noarp: flags.contains(LinkFlags::Noarp),
        loopback: flags.contains(LinkFlags::Loopback),
        ..Link::default()
    };
    let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(mac) if ethernet => link.mac = mac.as_slice().try_into().ok(),
            LinkAttribute::Controller(master) => link.master = Some(*master),
            LinkAttribute::LinkInfo(infos) => link.kind = kind(infos),
            _ => {}
        }
    }
    link
}

fn kind(infos: &[LinkInfo]) -> Option<String> {
    infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    })
}

/// The link's own address: `IFA_LOCAL` where there is a peer (`IFA_ADDRESS` is then the peer's).
fn interface_address(message: &AddressMessage) -> Option<(u32, IpNet)> {
    let local = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let any = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    let net = IpNet::new(local.or(any)?, message.header.prefix_len).ok()?;
    Some((message.header.index, net))
}

/// Whether duplicate address detection has let the address be used: neither under way nor failed.
fn in_use(message: &AddressMessage) -> bool {
    let wide = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    let narrow = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    !wide.unwrap_or(narrow).intersects(AddressFlags::Tentative | AddressFlags::Dadfailed)
}

/// The next hops of a unicast default route in the main table; empty for every other route.
fn default_route(message: &RouteMessage) -> Vec<Route> {
    let family = match message.header.address_family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return Vec::new(),
    };
    let header = &message.header;
    if header.destination_prefix_length != 0
        || header.kind != RouteType::Unicast
        || table(message) != MAIN_TABLE
    {
        return Vec::new();
    }
    let metric = message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    let route = |link, gateway| Route { link, family, metric: metric.unwrap_or(0), gateway };
    let mut hops = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(link) => hops.push(route(*link, gateway(&message.attributes))),
            RouteAttribute::MultiPath(next) => {
                hops.extend(next.iter().map(|hop| route(hop.interface_index, gateway(&hop.attributes))));
            }
            _ => {}
        }
    }
    hops
}

fn table(message: &RouteMessage) -> u32 {
    let wide = message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    wide.unwrap_or_else(|| u32::from(message.header.table))
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(v4)) | RouteAttribute::Via(RouteVia::Inet(v4)) => {
            Some(IpAddr::V4(*v4))
        }
        RouteAttribute::Gateway(RouteAddress::Inet6(v6)) | RouteAttribute::Via(RouteVia::Inet6(v6)) => {
            Some(IpAddr::V6(*v6))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests;
