// SPDX-License-Identifier: Apache-2.0
//! Who answers for an address: the question and the answers as frames, and what they amount to. Pure.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use serde::Deserialize;

use gateherald_wire::{ArpFrame, FrameError, MacAddr, NdpFrame, NdpRepr, NeighborFrame};

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Where it was heard.
    pub(crate) interface: String,
    /// Who answered.
    pub(crate) mac: MacAddr,
    /// How long after the question.
    pub(crate) after: Duration,
}

/// What the answers amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nobody has the address.
    Nobody,
    /// One host has it.
    One,
    /// Several do, on one broadcast domain.
    Conflict,
}

/// The question of the host `mac`, which has `own`. Without an address of its own it asks as one that looks for a free
/// address does; that silences an announcer that holds on to its addresses while the API server is away, so it is the
/// second choice.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux asks on the wire"))]
pub(crate) fn question(mac: MacAddr, own: Option<IpAddr>, vip: IpAddr) -> NeighborFrame {
    match (own, vip) {
        (Some(IpAddr::V4(own)), IpAddr::V4(vip)) => ArpFrame::request(mac, own, vip).into(),
        (Some(IpAddr::V6(own)), IpAddr::V6(vip)) => NdpFrame::solicit(mac, own, vip).into(),
        (_, vip) => NeighborFrame::probe(mac, vip),
    }
}

/// Who speaks for the address in this frame.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux asks on the wire"))]
pub(crate) fn answerer(bytes: &[u8], vip: IpAddr) -> Result<Option<MacAddr>, FrameError> {
    match vip {
        IpAddr::V4(vip) => {
            let frame = ArpFrame::parse(bytes)?;
            Ok((frame.arp.spa == vip && frame.arp.spa != Ipv4Addr::UNSPECIFIED).then_some(frame.arp.sha))
        }
        IpAddr::V6(vip) => {
            let frame = NdpFrame::parse(bytes)?;
            let NdpRepr::Advert { target, link_layer, .. } = frame.ndp else { return Ok(None) };
            Ok((target == vip && target != Ipv6Addr::UNSPECIFIED).then(|| link_layer.unwrap_or(frame.source)))
        }
    }
}

/// Two hosts on one interface are a conflict; one host that is heard on two interfaces of this machine is none.
pub(crate) fn verdict(answers: &[Answer]) -> Verdict {
    let mut heard: BTreeMap<&str, Vec<MacAddr>> = BTreeMap::new();
    for answer in answers {
        let macs = heard.entry(&answer.interface).or_default();
        if !macs.contains(&answer.mac) {
            macs.push(answer.mac);
        }
    }
    match heard.values().map(Vec::len).max() {
        None => Verdict::Nobody,
        Some(1) => Verdict::One,
        Some(_) => Verdict::Conflict,
    }
}

/// What a person is told. `known` says whose MACs are nodes'.
pub(crate) fn told(
    vip: IpAddr,
    answers: &[Answer],
    interfaces: &[String],
    known: &BTreeMap<String, String>,
) -> String {
    let mut text = String::new();
    for answer in answers {
        let node =
            known.get(&answer.mac.to_string()).map_or_else(String::new, |node| format!(" (node {node})"));
        let _ = writeln!(
            text,
            "{vip} is at {}{node} on {}, {:.3} ms",
            answer.mac,
            answer.interface,
            answer.after.as_secs_f64() * 1000.0
        );
    }
    let conclusion = match verdict(answers) {
        Verdict::Nobody => format!("nobody answers for {vip} on {}", interfaces.join(", ")),
        Verdict::One => format!("one host answers for {vip}"),
        Verdict::Conflict => format!("several hosts answer for {vip}: a conflict (GH064)"),
    };
    text + &conclusion + "\n"
}

/// What an announcer says under `/probe`; only what is shown.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodePage {
    node: String,
    verdict: String,
    interfaces: Vec<NodeInterface>,
}

#[derive(Clone, Debug, Deserialize)]
struct NodeInterface {
    name: String,
    error: Option<String>,
    answers: Vec<NodeAnswer>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeAnswer {
    mac: String,
    node: Option<String>,
    fastest_microseconds: u64,
}

impl NodePage {
    /// Whether somebody answered whom the announcer does not know: it looks at the sessions of nodes that announce what it does.
    pub(crate) fn leaves_open(&self) -> bool {
        self.interfaces.iter().flat_map(|interface| &interface.answers).any(|answer| answer.node.is_none())
    }

    /// What a person is told, and whether exactly one host has the address. `known` says whose MACs are nodes'.
    pub(crate) fn told(&self, vip: IpAddr, known: &BTreeMap<String, String>) -> (String, bool) {
        let mut text = String::new();
        for interface in &self.interfaces {
            for answer in &interface.answers {
                let node = answer.node.as_ref().or_else(|| known.get(&answer.mac));
                let node = node.map_or_else(String::new, |node| format!(" (node {node})"));
                let (mac, micros) = (&answer.mac, answer.fastest_microseconds);
                let _ = writeln!(text, "{vip} is at {mac}{node} on {}, {micros} µs", interface.name);
            }
            if let Some(error) = &interface.error {
                let _ = writeln!(text, "{}: {error}", interface.name);
            }
        }
        let (conclusion, one) = match self.verdict.as_str() {
            "nobody" => ("nobody answers".to_owned(), false),
            "this-node" => (format!("node {} itself has it, and nobody else answers", self.node), true),
            "answered" => ("one host answers".to_owned(), true),
            "conflict" => ("several hosts answer: a conflict (GH064)".to_owned(), false),
            other => (other.to_owned(), false),
        };
        (format!("{text}asked from node {}: {conclusion}\n", self.node), one)
    }
}

#[cfg(test)]
mod tests;
