// SPDX-License-Identifier: Apache-2.0
//! What the policies in force select in the whole cluster, whichever node announces it.
//!
//! One announcer tells people of it: statuses of policies, and addresses that nobody announces. Links are not looked at, for
//! those of other nodes are known there alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{
    address::Taken,
    announcement::{Rules, Why, is_ours, node_may_announce, policy_announces},
    few::Few,
    node::NodeView,
    policy::{Policies, Policy, PolicyId},
    service::{AddressEntry, AddressSource, ServiceKey, ServiceView},
};

/// What is selected, and what of it cannot be announced by anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// Each policy in force.
    pub policies: BTreeMap<PolicyId, Selection>,
    /// Every address that is to be announced.
    pub addresses: BTreeMap<IpAddr, Selected>,
    /// What Services of policies in force have and no node may announce, with the reason. Only what somebody meant otherwise.
    pub refused: BTreeSet<Refused>,
}

/// What one policy selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// How many Services.
    pub services: usize,
    /// Which addresses of theirs are to be announced.
    pub addresses: BTreeSet<IpAddr>,
    /// The Nodes that may announce them.
    pub nodes: BTreeSet<String>,
}

/// An address that is to be announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// Whose it is.
    pub services: Few<ServiceKey>,
    /// Which policies select it.
    pub policies: Few<PolicyId>,
}

/// What no node may announce.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// The Service.
    pub service: ServiceKey,
    /// Its address; none if the text is no address.
    pub address: Option<IpAddr>,
    /// Why.
    pub why: Why,
}

impl Overview {
    /// Surveys everything anew.
    pub fn new<'a>(
        policies: &'a Policies,
        rules: &Rules,
        nodes: impl Iterator<Item = &'a NodeView>,
        taken: &Taken<'_>,
        services: impl Iterator<Item = &'a ServiceView>,
    ) -> Self {
        let in_force: Vec<(&PolicyId, &Policy)> =
            policies.iter().filter_map(|(id, _, policy)| Some((id, policy?))).collect();
        let nodes: Vec<&NodeView> = nodes.collect();
        let mut overview = Self::default();
        for (id, policy) in &in_force {
            let eligible = nodes.iter().filter(|node| node_may_announce(rules, node, policy).is_ok());
            let nodes = eligible.map(|node| node.name.clone()).collect();
            overview.policies.insert((*id).clone(), Selection { nodes, ..Selection::default() });
        }
        for service in services {
            overview.service(&in_force, rules, taken, service);
        }
        overview
    }

    /// The Nodes that may announce the address, by any policy.
    pub fn eligible(&self, address: &Selected) -> BTreeSet<&str> {
        let selections = address.policies.iter().filter_map(|id| self.policies.get(id));
        selections.flat_map(|selection| selection.nodes.iter().map(String::as_str)).collect()
    }

    fn service(
        &mut self,
        in_force: &[(&PolicyId, &Policy)],
        rules: &Rules,
        taken: &Taken<'_>,
        service: &ServiceView,
    ) {
        let mut selecting: Vec<_> =
            in_force.iter().filter(|(_, policy)| policy.services.matches(service)).collect();
        for (id, _) in &selecting {
            if let Some(selection) = self.policies.get_mut(id) {
                selection.services += 1;
            }
        }
        if service.opted_out {
            return;
        }
        if let Some(class) = &service.load_balancer_class {
            selecting.retain(|(id, _)| is_ours(class, id.kind, rules));
        }
        if selecting.is_empty() {
            return;
        }
        for entry in &service.entries {
            match entry {
                AddressEntry::Address(address, source) => match taken.check(*address) {
                    Ok(()) => self.address(&selecting, rules, service, (*address, *source)),
                    Err(detail) => self.refuse(service, Some(*address), Why::NotAVirtualAddress(detail)),
                },
                AddressEntry::Unreadable(text) => self.refuse(service, None, Why::BadAddress(text.clone())),
                AddressEntry::Proxy(_) | AddressEntry::Hostname(_) => {}
            }
        }
    }

    fn address(
        &mut self,
        selecting: &[&(&PolicyId, &Policy)],
        rules: &Rules,
        service: &ServiceView,
        (address, source): (IpAddr, AddressSource),
    ) {
        let mut outside = None;
        for (id, policy) in selecting {
            match policy_announces(id.kind, policy, rules, address, source) {
                Ok(()) => {
                    let selected = self.addresses.entry(address).or_default();
                    selected.services.insert(service.key.clone());
                    selected.policies.insert((*id).clone());
                    if let Some(selection) = self.policies.get_mut(id) {
                        selection.addresses.insert(address);
                    }
                }
                Err(why @ (Why::OutsideAddresses | Why::OutsideExternalIpCidrs)) => outside = Some(why),
                Err(_) => {}
            }
        }
        if let Some(why) = outside.filter(|_| !self.takes(address, &service.key)) {
            self.refuse(service, Some(address), why);
        }
    }

    fn takes(&self, address: IpAddr, service: &ServiceKey) -> bool {
        self.addresses.get(&address).is_some_and(|selected| selected.services.contains(service))
    }

    fn refuse(&mut self, service: &ServiceView, address: Option<IpAddr>, why: Why) {
        self.refused.insert(Refused { service: service.key.clone(), address, why });
    }
}

#[cfg(test)]
mod tests;
