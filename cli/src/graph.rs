// SPDX-License-Identifier: Apache-2.0
//! The chains as one graph: what several Services share, a policy or a node, is one box.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    finding::Finding,
    picture::Picture,
    trace::{AddressTrace, Link, LinkKind, State, Trace},
};

mod parts;

/// Boxes and edges, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Graph {
    pub(crate) boxes: Vec<Part>,
    pub(crate) edges: Vec<Edge>,
}

/// What a box stands for; the order is that of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PartKind {
    Gateway,
    Service,
    Labels,
    Pool,
    Policy,
    Address,
    Claim,
    Session,
    Node,
    Interface,
}

/// A box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Part {
    pub(crate) id: String,
    pub(crate) kind: PartKind,
    /// `namespace/name`, an address, or that there is none.
    pub(crate) name: String,
    pub(crate) state: State,
    /// What the chain reads of the object, as YAML.
    pub(crate) yaml: String,
    pub(crate) findings: Vec<Finding>,
}

/// An edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Edge {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) link: LinkKind,
    pub(crate) state: State,
    pub(crate) says: String,
}

impl PartKind {
    /// Its column in a drawing: pools and policies stand side by side.
    pub(crate) const fn column(self) -> usize {
        match self {
            Self::Gateway => 0,
            Self::Service => 1,
            Self::Labels => 2,
            Self::Pool | Self::Policy => 3,
            Self::Address => 4,
            Self::Claim => 5,
            Self::Session => 6,
            Self::Node => 7,
            Self::Interface => 8,
        }
    }

    /// What people call it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Gateway => "Gateway",
            Self::Service => "Service",
            Self::Labels => "Labels",
            Self::Pool => "Pool",
            Self::Policy => "Policy",
            Self::Address => "Address",
            Self::Claim => "Claim",
            Self::Session => "Session",
            Self::Node => "Node",
            Self::Interface => "Interface",
        }
    }
}

/// The graph of these chains.
pub(crate) fn of(picture: &Picture<'_>, traces: &[&Trace]) -> Graph {
    let mut drawing = Drawing { picture, boxes: BTreeMap::new(), kinds: BTreeMap::new(), edges: Vec::new() };
    for trace in traces {
        drawing.trace(trace);
    }
    let Drawing { boxes, mut edges, .. } = drawing;
    edges.sort();
    edges.dedup();
    Graph { boxes: boxes.into_values().collect(), edges }
}

struct Drawing<'a> {
    picture: &'a Picture<'a>,
    /// Sorted by kind, then by id.
    boxes: BTreeMap<(PartKind, String), Part>,
    /// By id.
    kinds: BTreeMap<String, PartKind>,
    edges: Vec<Edge>,
}

impl Drawing<'_> {
    fn part(&mut self, kind: PartKind, name: &str) -> String {
        let id = format!("{}:{name}", kind.title().to_lowercase());
        let yaml = || parts::yaml(self.picture, kind, name);
        self.kinds.entry(id.clone()).or_insert(kind);
        self.boxes.entry((kind, id.clone())).or_insert_with(|| Part {
            id: id.clone(),
            kind,
            name: name.to_owned(),
            state: State::Good,
            yaml: yaml(),
            findings: Vec::new(),
        });
        id
    }

    /// A box that stands where there is none.
    fn nothing(&mut self, kind: PartKind, of: &str, says: &str) -> String {
        let id = self.part(kind, &format!("none:{of}"));
        if let Some(part) = self.boxes.get_mut(&(kind, id.clone())) {
            says.clone_into(&mut part.name);
            part.yaml.clear();
        }
        id
    }

    fn edge(&mut self, from: &str, to: &str, link: &Link) {
        self.edges.push(Edge {
            from: from.to_owned(),
            to: to.to_owned(),
            link: link.kind,
            state: link.state,
            says: link.says.clone(),
        });
        let Some(kind) = self.kinds.get(to) else { return };
        let Some(part) = self.boxes.get_mut(&(*kind, to.to_owned())) else { return };
        part.state = part.state.max(link.state);
        for finding in &link.findings {
            if !part.findings.contains(finding) {
                part.findings.push(finding.clone());
                part.findings.sort();
            }
        }
    }

    fn trace(&mut self, trace: &Trace) {
        let gateway = trace
            .gateway
            .as_ref()
            .map(|(namespace, name)| self.part(PartKind::Gateway, &format!("{namespace}/{name}")));
        let Some(key) = &trace.service else {
            if let Some(gateway) = gateway {
                let service = self.nothing(PartKind::Service, &gateway, "no Service");
                self.edge(&gateway, &service, &trace.to_service);
            }
            return;
        };
        let key = key.to_string();
        let service = self.part(PartKind::Service, &key);
        if let Some(gateway) = gateway {
            self.edge(&gateway, &service, &trace.to_service);
        }
        let labels = self.part(PartKind::Labels, &key);
        self.edge(&service, &labels, &trace.labels);
        let mut sources = Vec::new();
        if trace.pools.is_empty() && (!trace.pool.findings.is_empty() || !trace.pool.holds()) {
            sources.push(self.nothing(PartKind::Pool, &key, "no pool"));
        }
        for pool in &trace.pools {
            sources.push(self.part(PartKind::Pool, pool));
        }
        for pool in &sources {
            self.edge(&labels, pool, &trace.pool);
        }
        let policies: Vec<String> = if trace.policies.is_empty() {
            vec![self.nothing(PartKind::Policy, &key, "no policy")]
        } else {
            trace.policies.iter().map(|id| self.part(PartKind::Policy, &id.to_string())).collect()
        };
        for policy in &policies {
            self.edge(&labels, policy, &trace.policy);
        }
        sources.extend(policies);
        for address in &trace.addresses {
            self.address(&key, &sources, address);
        }
    }

    fn address(&mut self, service: &str, sources: &[String], trace: &AddressTrace) {
        let Some(address) = trace.address else {
            let none = self.nothing(PartKind::Address, service, "no address");
            for source in sources {
                self.edge(source, &none, &trace.to_address);
            }
            return;
        };
        let text = address.to_string();
        let part = self.part(PartKind::Address, &text);
        for source in sources {
            self.edge(source, &part, &trace.to_address);
        }
        let holding = &trace.holding;
        let claim = match &holding.lease {
            Some(lease) => self.part(PartKind::Claim, lease),
            None => self.nothing(PartKind::Claim, &text, "no claim"),
        };
        self.edge(&part, &claim, &trace.claim);
        let session = match (&holding.node, &holding.session) {
            (Some(node), Some(session)) => self.part(PartKind::Session, &format!("{node}_{session}")),
            _ => self.nothing(PartKind::Session, &text, "no session"),
        };
        self.edge(&claim, &session, &trace.session);
        let node = match &holding.node {
            Some(node) => self.part(PartKind::Node, node),
            None => self.nothing(PartKind::Node, &text, "no node"),
        };
        self.edge(&session, &node, &trace.node);
        let interfaces: Vec<String> = match &holding.node {
            Some(name) if !holding.interfaces.is_empty() => holding
                .interfaces
                .iter()
                .map(|i| self.part(PartKind::Interface, &format!("{name}/{i}")))
                .collect(),
            _ => vec![self.nothing(PartKind::Interface, &text, "no interface")],
        };
        for interface in interfaces {
            self.edge(&node, &interface, &trace.interface);
        }
    }
}
