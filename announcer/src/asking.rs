// SPDX-License-Identifier: Apache-2.0
//! Who answers for an address? The question that `/probe` sends, and what the answers to it mean. Pure.
//!
//! It is an ordinary request from an address that this node has, never a probe with an empty sender (RFC 5227, RFC 4862):
//! those ask for the address itself, and end what an announcer holds on to while the API server is away.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use gateherald_model::interfaces::Link;
use gateherald_wire::{ArpFrame, MacAddr, NdpFrame, NdpRepr, NeighborFrame, Operation, PacketMeta};

/// So many questions, each of which whoever has the address answers.
pub const ROUNDS: u8 = 3;
/// 100 ms between questions: long against an answer on any LAN, short for whoever waits.
pub const SPACING: Duration = Duration::from_millis(100);
/// 300 ms for the last answer.
pub const PATIENCE: Duration = Duration::from_millis(300);
/// So many interfaces at the most: those of one node on one address are few.
pub const MOST_INTERFACES: usize = 8;

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The address that it tells.
    pub mac: MacAddr,
    /// To which question, from 0.
    pub round: u8,
    /// How long after it.
    pub after: Duration,
}

/// What was heard on one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// How many questions went out.
    pub asked: u8,
    /// What came back.
    pub answers: Vec<Answer>,
}

/// Why an interface is not asked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unasked {
    /// It is down.
    LinkDown,
    /// It is not Ethernet.
    NotEthernet,
    /// It has no address of the family to ask from.
    NoSourceAddress,
}

impl Unasked {
    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::LinkDown => "link-down",
            Self::NotEthernet => "not-ethernet",
            Self::NoSourceAddress => "no-source-address",
        }
    }
}

/// What the answers say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody answers.
    Nobody,
    /// This node has the address, and nobody else answers. It does not hear its own question.
    ThisNode,
    /// One host answers.
    Answered,
    /// Several hosts answered one question, or one answered for what this node owns.
    Conflict,
}

impl Verdict {
    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::ThisNode => "this-node",
            Self::Answered => "answered",
            Self::Conflict => "conflict",
        }
    }
}

/// Whose Ethernet address it is: the links of one announcer are one host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// The announcer of this node.
    Node(String),
    /// Nobody that is known.
    Stranger(MacAddr),
}

/// The question about the address on a link.
///
/// # Errors
/// When the link cannot ask.
pub fn question(link: &Link, address: IpAddr) -> Result<NeighborFrame, Unasked> {
    if !link.up {
        return Err(Unasked::LinkDown);
    }
    let mac = MacAddr(link.mac.ok_or(Unasked::NotEthernet)?);
    match address {
        IpAddr::V4(v4) => Ok(ArpFrame::request(mac, source4(link, v4)?, v4).into()),
        IpAddr::V6(v6) => Ok(NdpFrame::solicit(mac, source6(link)?, v6).into()),
    }
}

/// An address of the link, if there is one in the subnet of the address: some hosts answer only to neighbours.
fn source4(link: &Link, address: Ipv4Addr) -> Result<Ipv4Addr, Unasked> {
    let v4 = |net: &&ipnet::IpNet| net.addr().is_ipv4();
    let near = link.addresses.iter().filter(v4).find(|net| net.contains(&IpAddr::V4(address)));
    match near.or_else(|| link.addresses.iter().find(v4)).map(ipnet::IpNet::addr) {
        Some(IpAddr::V4(source)) => Ok(source),
        _ => Err(Unasked::NoSourceAddress),
    }
}

fn source6(link: &Link) -> Result<Ipv6Addr, Unasked> {
    let global = || {
        link.addresses.iter().find_map(|net| match net.addr() {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        })
    };
    link.link_local.or_else(global).ok_or(Unasked::NoSourceAddress)
}

/// The links on which an address is asked for that no policy names one for: those with its subnet, else those of the best
/// default route. Asking claims nothing, so their kind does not matter.
pub fn nearest(links: &[Link], address: IpAddr) -> Vec<&Link> {
    let fit = |link: &&Link| !link.loopback && !link.noarp && link.master.is_none() && link.mac.is_some();
    let near = |link: &&Link| link.addresses.iter().any(|net| net.contains(&address));
    let found: Vec<&Link> = links.iter().filter(fit).filter(near).collect();
    if !found.is_empty() {
        return found;
    }
    let metric = |link: &Link| {
        let routes = link.default_routes.iter().filter(|route| route.family == address.into());
        routes.map(|route| route.metric).min()
    };
    let best = links.iter().filter(fit).filter_map(metric).min();
    links.iter().filter(fit).filter(|link| best.is_some() && metric(link) == best).collect()
}

/// Who says in this frame, to the asking link, that it has the address; none if the frame says anything else.
pub fn answer(bytes: &[u8], meta: PacketMeta, link: MacAddr, address: IpAddr) -> Option<MacAddr> {
    if meta.in_vlan() {
        return None;
    }
    let told = match address {
        IpAddr::V4(v4) => {
            let frame = ArpFrame::parse(bytes).ok()?;
            let answers = frame.arp.operation == Operation::Reply && frame.arp.spa == v4;
            (answers && frame.destination == link).then_some(frame.arp.sha)
        }
        IpAddr::V6(v6) => {
            let frame = NdpFrame::parse(bytes).ok()?;
            match frame.ndp {
                NdpRepr::Advert { target, link_layer, flags } => {
                    (target == v6 && flags.solicited && frame.destination == link)
                        .then_some(link_layer.unwrap_or(frame.source))
                }
                NdpRepr::Solicit { .. } => None,
            }
        }
    };
    told.filter(|mac| *mac != MacAddr::ZERO && !mac.is_group())
}

/// Judges what was heard on all interfaces; `owns`: this node had title before and after, and nobody else can have it.
///
/// An address that moves between two announcers while it is asked for is answered by each in turn, and that is no
/// conflict; nor is an announcer with two links on one network.
pub fn judge(heard: &[Heard], owns: bool, host: impl Fn(MacAddr) -> Host) -> Verdict {
    let several = |heard: &Heard| {
        let mut by_round: BTreeMap<u8, BTreeSet<Host>> = BTreeMap::new();
        for answer in &heard.answers {
            by_round.entry(answer.round).or_default().insert(host(answer.mac));
        }
        by_round.values().any(|hosts| hosts.len() > 1)
    };
    let somebody = heard.iter().any(|heard| !heard.answers.is_empty());
    match (somebody, owns) {
        (true, true) => Verdict::Conflict,
        _ if heard.iter().any(several) => Verdict::Conflict,
        (true, false) => Verdict::Answered,
        (false, true) => Verdict::ThisNode,
        (false, false) => Verdict::Nobody,
    }
}

#[cfg(test)]
mod tests;
