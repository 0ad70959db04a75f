// SPDX-License-Identifier: Apache-2.0
//! Moves of addresses to other nodes: whether they can be made, and how they went.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use gateherald_model::{policy::PolicyId, service::ServiceKey};

use crate::picture::Picture;

/// What a move would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) address: IpAddr,
    /// Whose preferred node is set.
    pub(crate) services: Vec<ServiceKey>,
    pub(crate) from: Option<String>,
    pub(crate) to: String,
}

/// Plans a move; the error says what stands in its way.
pub(crate) fn plan(picture: &Picture<'_>, address: IpAddr, to: &str) -> Result<Plan, String> {
    let users: Vec<_> = picture.services.values().filter(|f| f.addresses().any(|a| a == address)).collect();
    if users.is_empty() {
        return Err(format!("no Service has the address {address}"));
    }
    if !picture.nodes.contains_key(to) {
        return Err(format!("there is no node {to}"));
    }
    let policies: Vec<&PolicyId> =
        users.iter().flat_map(|facts| picture.announcing(facts, address)).collect();
    if policies.is_empty() {
        return Err(format!("no policy announces {address}: kubectl gateherald flow {address}"));
    }
    may(picture, &policies, to)?;
    let from = picture.claims.get(&address).and_then(|claim| match &claim.claim.holder {
        gateherald_model::leases::Holder::Session { node, .. } => Some(node.clone()),
        _ => None,
    });
    Ok(Plan {
        address,
        services: users.iter().map(|facts| facts.view.key.clone()).collect(),
        from,
        to: to.to_owned(),
    })
}

fn may(picture: &Picture<'_>, policies: &[&PolicyId], node: &str) -> Result<(), String> {
    if !policies.iter().any(|id| picture.nodes_of(id).0.contains(node)) {
        let why = policies.iter().find_map(|id| {
            let (_, excluded) = picture.nodes_of(id);
            let (_, why) = excluded.into_iter().find(|(other, _)| *other == node)?;
            Some(format!("{id}: {}", why.name()))
        });
        return Err(format!("node {node} may not announce it ({})", why.unwrap_or_default()));
    }
    let Some(session) = picture.sessions.get(node).filter(|session| session.session.id.is_some()) else {
        return Err(format!("no announcer has a session on node {node} (GH040)"));
    };
    if !policies.iter().any(|id| session.session.policies.contains(&id.to_string())) {
        return Err(format!("no interface of node {node} that is up matches the policy (GH045)"));
    }
    Ok(())
}

/// The addresses that a node holds.
pub(crate) fn held_by(picture: &Picture<'_>, node: &str) -> Vec<IpAddr> {
    let held = picture.claims.iter().filter(|(_, facts)| match &facts.claim.holder {
        gateherald_model::leases::Holder::Session { node: holder, .. } => holder == node,
        _ => false,
    });
    held.map(|(address, _)| *address).collect()
}

/// Of these addresses those that no other node with a living session may announce.
pub(crate) fn stranded(picture: &Picture<'_>, node: &str, addresses: &[IpAddr]) -> Vec<IpAddr> {
    let elsewhere = |address: &&IpAddr| {
        let users = picture.services.values().filter(|facts| facts.addresses().any(|a| a == **address));
        let policies: Vec<&PolicyId> = users.flat_map(|facts| picture.announcing(facts, **address)).collect();
        let mut others = picture.nodes.keys().filter(|other| *other != node);
        others.any(|other| may(picture, &policies, other).is_ok())
    };
    addresses.iter().filter(|address| !elsewhere(address)).copied().collect()
}

/// How claims changed hands, as a watch told it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    holders: BTreeMap<IpAddr, Option<String>>,
    left: BTreeMap<IpAddr, Duration>,
    /// From the end of one holding to the beginning of the next.
    pub(crate) gaps: BTreeMap<IpAddr, Duration>,
}

impl Log {
    /// What is known at the start.
    pub(crate) fn new(holders: BTreeMap<IpAddr, Option<String>>) -> Self {
        Self { holders, ..Self::default() }
    }

    /// A claim was seen, `at` by a clock of ours.
    pub(crate) fn see(&mut self, address: IpAddr, holder: Option<String>, at: Duration) {
        let before = self.holders.get(&address).cloned().flatten();
        match (&before, &holder) {
            (Some(_), None) => drop(self.left.insert(address, at)),
            (_, Some(_)) if before != holder => {
                // A claim that went from hand to hand in one write was never free.
                let gap = self.left.remove(&address).map_or(Duration::ZERO, |left| at.saturating_sub(left));
                self.gaps.insert(address, gap);
            }
            _ => {}
        }
        self.holders.insert(address, holder);
    }

    /// Who has an address.
    pub(crate) fn holder(&self, address: IpAddr) -> Option<&str> {
        self.holders.get(&address)?.as_deref()
    }

    /// Whether a node has none of these any more, and others have all.
    pub(crate) fn left(&self, node: &str, addresses: &[IpAddr]) -> bool {
        addresses.iter().all(|address| self.holder(*address).is_some_and(|holder| holder != node))
    }
}

#[cfg(test)]
mod tests;
