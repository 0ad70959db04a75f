// SPDX-License-Identifier: Apache-2.0
//! Addresses that are never announced, whatever a policy says: they belong to somebody or mean something else.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;

use crate::interfaces::{IPVS_LINK, Link};

/// Why an address is not a virtual address; the reason is always `NotAVirtualAddress`, this is the detail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotVirtual {
    /// It is in the status of this Node.
    NodeAddress(String),
    /// It is configured on this link of the node.
    OnLink(String),
    /// It is a default gateway of the node.
    DefaultGateway,
    /// It is the first address of a link's subnet: the network itself, in IPv6 the subnet-router anycast address.
    Network(IpNet),
    /// It is the broadcast address of a link's subnet, or 255.255.255.255.
    Broadcast,
    /// It is a multicast address.
    Multicast,
    /// It is a loopback address.
    Loopback,
    /// It is `::` or in 0.0.0.0/8.
    Unspecified,
    /// It is an IPv4 address in IPv6 form.
    Ipv4Mapped,
}

impl fmt::Display for NotVirtual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeAddress(node) => write!(f, "an address of node {node}"),
            Self::OnLink(link) => write!(f, "configured on link {link}"),
            Self::DefaultGateway => f.write_str("a default gateway"),
            Self::Network(net) => write!(f, "the network address of {net}"),
            Self::Broadcast => f.write_str("a broadcast address"),
            Self::Multicast => f.write_str("a multicast address"),
            Self::Loopback => f.write_str("a loopback address"),
            Self::Unspecified => f.write_str("an unspecified address"),
            Self::Ipv4Mapped => f.write_str("an IPv4-mapped address"),
        }
    }
}

/// The addresses that this node must not announce.
#[derive(Clone, Debug, Default)]
pub struct Taken<'a> {
    nodes: BTreeMap<IpAddr, &'a str>,
    links: BTreeMap<IpAddr, &'a str>,
    gateways: BTreeSet<IpAddr>,
    networks: BTreeMap<IpAddr, IpNet>,
    broadcasts: BTreeSet<IpAddr>,
}

impl<'a> Taken<'a> {
    /// Collects them from all Nodes' addresses and this node's links.
    pub fn new(nodes: impl IntoIterator<Item = (&'a str, IpAddr)>, links: &'a [Link]) -> Self {
        let links = || links.iter().filter(|link| link.name != IPVS_LINK);
        let subnets = || links().flat_map(|link| &link.addresses).filter(|net| has_network_address(net));
        let routes = links().flat_map(|link| &link.default_routes);
        Self {
            nodes: least(nodes.into_iter().map(|(node, address)| (address, node))),
            links: least(
                links().flat_map(|link| link.addresses.iter().map(|net| (net.addr(), link.name.as_str()))),
            ),
            gateways: routes.filter_map(|route| route.gateway).collect(),
            networks: least(subnets().map(|net| (net.network(), net.trunc()))),
            broadcasts: subnets().filter(|net| net.addr().is_ipv4()).map(IpNet::broadcast).collect(),
        }
    }

    /// Whether the address may be virtual.
    pub fn check(&self, address: IpAddr) -> Result<(), NotVirtual> {
        by_form(address)?;
        if let Some(node) = self.nodes.get(&address) {
            return Err(NotVirtual::NodeAddress((*node).to_owned()));
        }
        if let Some(link) = self.links.get(&address) {
            return Err(NotVirtual::OnLink((*link).to_owned()));
        }
        if self.gateways.contains(&address) {
            return Err(NotVirtual::DefaultGateway);
        }
        if let Some(net) = self.networks.get(&address) {
            return Err(NotVirtual::Network(*net));
        }
        if self.broadcasts.contains(&address) { Err(NotVirtual::Broadcast) } else { Ok(()) }
    }
}

/// One value per key, whatever the order they came in.
fn least<V: Ord>(entries: impl Iterator<Item = (IpAddr, V)>) -> BTreeMap<IpAddr, V> {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_unstable_by(|a, b| b.cmp(a));
    entries.into_iter().collect()
}

/// What the address itself tells, without knowing any node.
fn by_form(address: IpAddr) -> Result<(), NotVirtual> {
    match address {
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Err(NotVirtual::Unspecified),
        IpAddr::V4(Ipv4Addr::BROADCAST) => Err(NotVirtual::Broadcast),
        IpAddr::V6(v6) if v6.is_unspecified() => Err(NotVirtual::Unspecified),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Err(NotVirtual::Ipv4Mapped),
        address if address.is_loopback() => Err(NotVirtual::Loopback),
        address if address.is_multicast() => Err(NotVirtual::Multicast),
        _ => Ok(()),
    }
}

/// Point-to-point and host prefixes have neither network nor broadcast address (RFC 3021, RFC 6164).
fn has_network_address(net: &IpNet) -> bool {
    net.max_prefix_len() - net.prefix_len() >= 2
}

#[cfg(test)]
mod tests;
