// SPDX-License-Identifier: Apache-2.0
//! The chain of one Service, link by link: what holds, what is broken and what mends it, and what only follows from that.

use std::net::IpAddr;

use gateherald_model::{policy::PolicyId, service::ServiceKey};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    finding::{Finding, Severity},
    picture::{Picture, ServiceFacts},
};

mod addresses;
mod holding;
mod interfaces;
mod labels;
mod policies;
mod pools;

/// How it is with a link of the chain, or with what it leads to. The order is that of badness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It holds.
    #[default]
    Good,
    /// What would tell could not be read, or does not exist here.
    Unknown,
    /// It cannot hold before another link is mended.
    Waiting,
    /// It holds, or may hold, but not as it should.
    Warning,
    /// It does not hold.
    Broken,
}

/// The links of the chain, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LinkKind {
    /// From the Gateway to its Service.
    Service,
    /// From the Service to the labels it should have.
    Labels,
    /// To the pool that selects it.
    Pool,
    /// To the policy that selects it.
    Policy,
    /// To its address, and whether a policy announces that.
    Address,
    /// To the claim on the address.
    Claim,
    /// To the session that the claim names.
    Session,
    /// To the node of that session.
    Node,
    /// To the interface that the node announces on.
    Interface,
}

/// One link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) kind: LinkKind,
    pub(crate) state: State,
    /// What is to be said about it, in a few words; may be empty.
    pub(crate) says: String,
    pub(crate) findings: Vec<Finding>,
}

/// The chain of a Service, or of a Gateway that has none.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    /// Namespace and name.
    pub(crate) gateway: Option<(String, String)>,
    pub(crate) service: Option<ServiceKey>,
    pub(crate) to_service: Link,
    pub(crate) labels: Link,
    pub(crate) pool: Link,
    /// The pools that select the Service.
    pub(crate) pools: Vec<String>,
    pub(crate) policy: Link,
    /// The policies that select the Service.
    pub(crate) policies: Vec<PolicyId>,
    /// Its addresses; one without an address when there is none.
    pub(crate) addresses: Vec<AddressTrace>,
}

/// The chain from an address on.
#[derive(Clone, Debug)]
pub(crate) struct AddressTrace {
    pub(crate) address: Option<IpAddr>,
    pub(crate) to_address: Link,
    pub(crate) claim: Link,
    pub(crate) session: Link,
    pub(crate) node: Link,
    pub(crate) interface: Link,
    pub(crate) holding: Holding,
}

/// Who has an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holding {
    /// The name of the claim's Lease.
    pub(crate) lease: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) interfaces: Vec<String>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) transitions: u32,
}

impl Link {
    /// It holds.
    pub(crate) fn good(kind: LinkKind, says: impl Into<String>) -> Self {
        Self { kind, state: State::Good, says: says.into(), findings: Vec::new() }
    }

    /// Nobody can tell.
    pub(crate) fn unknown(kind: LinkKind, says: impl Into<String>) -> Self {
        Self { state: State::Unknown, ..Self::good(kind, says) }
    }

    /// It follows from another link.
    pub(crate) fn waiting(kind: LinkKind, says: impl Into<String>) -> Self {
        Self { state: State::Waiting, ..Self::good(kind, says) }
    }

    /// What was found decides; without findings it holds.
    pub(crate) fn judged(kind: LinkKind, says: impl Into<String>, findings: Vec<Finding>) -> Self {
        let worst = findings.iter().map(|finding| finding.severity).min();
        let state = match worst {
            None => State::Good,
            Some(Severity::Warning) => State::Warning,
            Some(Severity::Error) => State::Broken,
        };
        Self { kind, state, says: says.into(), findings }
    }

    /// One thing was found.
    pub(crate) fn found(kind: LinkKind, finding: Finding) -> Self {
        Self::judged(kind, finding.says.clone(), vec![finding])
    }

    /// Whether what comes after it can hold.
    pub(crate) fn holds(&self) -> bool {
        matches!(self.state, State::Good | State::Unknown | State::Warning)
    }
}

impl Trace {
    /// All links, those of each address after the shared ones.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Link> {
        let shared = [&self.to_service, &self.labels, &self.pool, &self.policy];
        shared.into_iter().chain(self.addresses.iter().flat_map(AddressTrace::links))
    }

    /// Everything that is wrong with this chain.
    pub(crate) fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.links().flat_map(|link| &link.findings)
    }

    /// The worst of its links.
    pub(crate) fn state(&self) -> State {
        self.links().map(|link| link.state).max().unwrap_or_default()
    }
}

impl AddressTrace {
    /// Its links.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Link> {
        [&self.to_address, &self.claim, &self.session, &self.node, &self.interface].into_iter()
    }
}

/// The chains of all Services that belong to a Gateway, or have or wait for an address, and of all Gateways without one.
pub(crate) fn all(picture: &Picture<'_>) -> Vec<Trace> {
    let relevant = |facts: &&ServiceFacts<'_>| facts.gateway.is_some() || facts.wants_an_address();
    let mut traces: Vec<Trace> =
        picture.services.values().filter(relevant).map(|facts| of_service(picture, facts)).collect();
    for key in picture.gateways.keys() {
        if !traces.iter().any(|trace| trace.gateway.as_ref() == Some(key)) {
            traces.push(of_bare_gateway(picture, key));
        }
    }
    traces.sort_by(|a, b| (&a.gateway, &a.service).cmp(&(&b.gateway, &b.service)));
    traces
}

/// What keeps a policy without nodes.
pub(crate) fn no_node(picture: &Picture<'_>, policy: &PolicyId) -> Finding {
    interfaces::no_node(picture, &[policy])
}

fn of_service(picture: &Picture<'_>, facts: &ServiceFacts<'_>) -> Trace {
    let labels = labels::link(picture, facts);
    let (pool, pools) = pools::link(picture, facts);
    let (policy, policies) = policies::link(picture, facts);
    let addresses = addresses::all(picture, facts, &pool, &policy, &policies);
    Trace {
        gateway: facts.gateway.clone(),
        service: Some(facts.view.key.clone()),
        to_service: labels::to_service(picture, facts),
        labels,
        pool,
        pools,
        policy,
        policies: policies.into_iter().cloned().collect(),
        addresses,
    }
}

fn of_bare_gateway(picture: &Picture<'_>, key: &(String, String)) -> Trace {
    let after = |kind| Link::waiting(kind, "there is no Service yet");
    Trace {
        gateway: Some(key.clone()),
        service: None,
        to_service: labels::no_service(picture, key),
        labels: after(LinkKind::Labels),
        pool: after(LinkKind::Pool),
        pools: Vec::new(),
        policy: after(LinkKind::Policy),
        policies: Vec::new(),
        addresses: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
