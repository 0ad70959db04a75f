// SPDX-License-Identifier: Apache-2.0
//! Which links of a node carry a policy's announcements, and why the others do not.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use ipnet::IpNet;
use regex::{Regex, RegexBuilder};
use serde::Serialize;
use thiserror::Error;

/// Kinds (`IFLA_INFO_KIND`) that lead to pods, tunnels or nowhere, not to the local network.
const DENIED_KINDS: [&str; 6] = ["veth", "tun", "wireguard", "vxlan", "geneve", "dummy"];
/// Names that container runtimes and network plugins give to their links.
const DENIED_PREFIXES: [&str; 6] = ["docker", "cni", "cilium_", "lxc", "cali", "kube-ipvs"];
/// The dummy on which kube-proxy's IPVS mode puts every Service address.
pub const IPVS_LINK: &str = "kube-ipvs0";
/// 1 MiB compiled: hundreds of times what a name pattern needs, and a bound on what one policy may cost.
const PATTERN_SIZE_LIMIT: usize = 1 << 20;

/// A network link of this node, as the kernel tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The kernel's index.
    pub index: u32,
    /// The link's name.
    pub name: String,
    /// The Ethernet address; none if the link is not Ethernet.
    pub mac: Option<[u8; 6]>,
    /// Administratively up, with carrier.
    pub up: bool,
    /// The index of the bond, bridge or VRF it is enslaved to.
    pub master: Option<u32>,
    /// `IFLA_INFO_KIND`; none for a physical device.
    pub kind: Option<String>,
    /// `IFF_NOARP`.
    pub noarp: bool,
    /// `IFF_LOOPBACK`.
    pub loopback: bool,
    /// Its IPv6 link-local address, once duplicate address detection has found it to be the only one.
    pub link_local: Option<Ipv6Addr>,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<IpNet>,
    /// The default routes of the main table that leave through it.
    pub default_routes: Vec<DefaultRoute>,
}

/// The family of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4: ARP.
    V4,
    /// IPv6: NDP.
    V6,
}

impl From<IpAddr> for Family {
    fn from(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// A default route through a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultRoute {
    /// What the route carries.
    pub family: Family,
    /// The router, possibly of the other family (RFC 8950); none on point-to-point links.
    pub gateway: Option<IpAddr>,
    /// The route's metric: the lowest one is in force.
    pub metric: u32,
}

/// A link that was selected and is up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Interface {
    /// The kernel's index.
    pub index: u32,
    /// The link's name.
    pub name: String,
}

impl From<&Link> for Interface {
    fn from(link: &Link) -> Self {
        Self { index: link.index, name: link.name.clone() }
    }
}

/// Why a link does not carry an announcement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rejection {
    /// It is a loopback link.
    Loopback,
    /// It is a member of a bond, bridge or VRF, which speaks for it.
    Enslaved,
    /// It does not speak ARP.
    NoArp,
    /// It has no Ethernet address.
    NotEthernet,
    /// Its kind does not lead to the local network.
    Kind(String),
    /// Its name is one of a container runtime or network plugin.
    Name,
    /// No pattern of the policy matches its name.
    NotMatched,
    /// The policy names no interface, and the link has neither the address's subnet nor the default route.
    NoSubnet,
    /// It was selected, and is down.
    Down,
}

impl Rejection {
    /// The stable name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Loopback => "Loopback",
            Self::Enslaved => "Enslaved",
            Self::NoArp => "NoArp",
            Self::NotEthernet => "NotEthernet",
            Self::Kind(_) => "Kind",
            Self::Name => "Name",
            Self::NotMatched => "NotMatched",
            Self::NoSubnet => "NoSubnet",
            Self::Down => "Down",
        }
    }
}

/// A link that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RejectedLink {
    /// The link's name.
    pub link: String,
    /// Why.
    pub why: Rejection,
}

impl fmt::Display for RejectedLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.link, self.why.name())?;
        if let Rejection::Kind(kind) = &self.why { write!(f, " {kind}") } else { Ok(()) }
    }
}

/// Why no link carries an address; shared between the addresses of one policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoLink {
    /// No link was selected; each of the node's links with its reason.
    NoneMatches(Arc<[RejectedLink]>),
    /// Links were selected, and all of them are down.
    AllDown(Vec<RejectedLink>),
}

impl fmt::Display for NoLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let links: &[RejectedLink] = match self {
            Self::NoneMatches(links) => links,
            Self::AllDown(links) => links,
        };
        for (i, link) in links.iter().enumerate() {
            write!(f, "{}{link}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// A pattern that is no regular expression of the common subset of RE2 and Rust's `regex`.
#[derive(Clone, Debug, Error)]
#[error("interface pattern {pattern:?} is not a regular expression")]
pub struct BadPattern {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    #[source]
    pub source: regex::Error,
}

/// How a policy selects links.
#[derive(Clone, Debug)]
pub struct InterfaceRule {
    /// None: by the address's subnet, else by the default route.
    patterns: Option<Vec<Pattern>>,
}

/// Matches anywhere in a name, and tells whether it spans all of it.
#[derive(Clone, Debug)]
struct Pattern {
    anywhere: Regex,
    whole: Regex,
}

impl InterfaceRule {
    /// Compiles a policy's `interfaces`; an empty list leaves the choice to subnets and routes.
    pub fn compile(patterns: &[String]) -> Result<Self, BadPattern> {
        if patterns.is_empty() {
            return Ok(Self { patterns: None });
        }
        let patterns = patterns.iter().map(|pattern| Pattern::compile(pattern)).collect::<Result<_, _>>()?;
        Ok(Self { patterns: Some(patterns) })
    }

    /// Judges the node's links once, for all addresses.
    pub fn candidates<'a>(&self, links: &'a [Link]) -> Candidates<'a> {
        let by_subnet = self.patterns.is_none();
        let leads_somewhere = |link: &Link| !link.addresses.is_empty() || !link.default_routes.is_empty();
        let judged = links.iter().map(|link| (link, self.judge(link).is_ok()));
        Candidates {
            by_subnet,
            links: judged.filter(|(link, fit)| *fit || (by_subnet && leads_somewhere(link))).collect(),
            none_matches: self.none_matches(links),
        }
    }

    /// Everything about a link that does not depend on the address.
    fn judge(&self, link: &Link) -> Result<(), Rejection> {
        let (matched, named) = match &self.patterns {
            None => (true, false),
            Some(patterns) => (
                patterns.iter().any(|p| p.anywhere.is_match(&link.name)),
                patterns.iter().any(|p| p.whole.is_match(&link.name)),
            ),
        };
        if !matched {
            return Err(Rejection::NotMatched);
        }
        speaks_arp(link)?;
        if named { Ok(()) } else { leads_to_the_network(link) }
    }

    fn none_matches(&self, links: &[Link]) -> Arc<[RejectedLink]> {
        let rejected = |link: &Link| RejectedLink {
            link: link.name.clone(),
            why: self.judge(link).err().unwrap_or(Rejection::NoSubnet),
        };
        let mut links: Vec<_> = links.iter().map(rejected).collect();
        links.sort_unstable();
        links.into()
    }
}

/// A node's links as one policy sees them.
#[derive(Clone, Debug)]
pub struct Candidates<'a> {
    by_subnet: bool,
    /// Those that are fit to carry an announcement, and those that are not but decide where an address belongs.
    links: Vec<(&'a Link, bool)>,
    none_matches: Arc<[RejectedLink]>,
}

impl<'a> Candidates<'a> {
    /// Whether some link could carry an announcement of the policy now.
    pub fn any_up(&self) -> bool {
        self.links.iter().any(|(link, fit)| *fit && link.up)
    }

    /// The links that carry the address: selected, and up; never empty.
    pub fn for_address(&self, address: IpAddr) -> Result<Vec<&'a Link>, NoLink> {
        let mut selected = self.selected(address);
        if selected.is_empty() {
            return Err(NoLink::NoneMatches(Arc::clone(&self.none_matches)));
        }
        if selected.iter().any(|link| link.up) {
            selected.retain(|link| link.up);
            return Ok(selected);
        }
        let mut down: Vec<_> = selected.into_iter().map(down).collect();
        down.sort_unstable();
        Err(NoLink::AllDown(down))
    }

    fn selected(&self, address: IpAddr) -> Vec<&'a Link> {
        let fit = |leads_there: &dyn Fn(&Link) -> bool| {
            let links = self.links.iter().filter(|(link, fit)| *fit && leads_there(link));
            links.map(|(link, _)| *link).collect()
        };
        if !self.by_subnet {
            return fit(&|_| true);
        }
        if self.links.iter().any(|(link, _)| has_subnet(link, address)) {
            return fit(&|link| has_subnet(link, address));
        }
        let family = address.into();
        match self.links.iter().filter_map(|(link, _)| metric(link, family)).min() {
            Some(best) => fit(&|link| metric(link, family) == Some(best)),
            None => Vec::new(),
        }
    }
}

impl Pattern {
    fn compile(pattern: &str) -> Result<Self, BadPattern> {
        let build = |expression: &str| {
            RegexBuilder::new(expression)
                .size_limit(PATTERN_SIZE_LIMIT)
                .build()
                .map_err(|source| BadPattern { pattern: pattern.to_owned(), source })
        };
        Ok(Self { anywhere: build(pattern)?, whole: build(&format!(r"\A(?:{pattern})\z"))? })
    }
}

/// What no pattern can override.
fn speaks_arp(link: &Link) -> Result<(), Rejection> {
    match link {
        link if link.loopback => Err(Rejection::Loopback),
        link if link.master.is_some() => Err(Rejection::Enslaved),
        link if link.noarp => Err(Rejection::NoArp),
        link if link.mac.is_none() => Err(Rejection::NotEthernet),
        _ => Ok(()),
    }
}

/// What a pattern overrides that matches the whole name.
fn leads_to_the_network(link: &Link) -> Result<(), Rejection> {
    if let Some(kind) = link.kind.as_deref().filter(|kind| DENIED_KINDS.contains(kind)) {
        return Err(Rejection::Kind(kind.to_owned()));
    }
    if DENIED_PREFIXES.iter().any(|prefix| link.name.starts_with(prefix)) {
        return Err(Rejection::Name);
    }
    Ok(())
}

/// Loopback prefixes and kube-proxy's copies of Service addresses are not subnets that a neighbour could be in.
fn has_subnet(link: &Link, address: IpAddr) -> bool {
    !link.loopback && link.name != IPVS_LINK && link.addresses.iter().any(|net| net.contains(&address))
}

fn metric(link: &Link, family: Family) -> Option<u32> {
    link.default_routes.iter().filter(|route| route.family == family).map(|route| route.metric).min()
}

fn down(link: &Link) -> RejectedLink {
    RejectedLink { link: link.name.clone(), why: Rejection::Down }
}

#[cfg(test)]
mod tests;
