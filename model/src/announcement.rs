// SPDX-License-Identifier: Apache-2.0
//! What one node may announce: policies × Services × the node × its links, each refusal with its reason.
//!
//! The result is recomputed from scratch on every change, so nothing can stay behind of a policy that went.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use serde::Serialize;

use crate::{
    address::Taken,
    endpoints::Endpoints,
    few::Few,
    interfaces::{Candidates, Interface, Link, NoLink},
    node::NodeView,
    policy::{Policies, Policy, PolicyId, PolicyKind, Validity},
    service::{AddressEntry, AddressSource, ServiceKey, ServiceView},
};

mod placing;
mod why;

pub use why::Why;

/// Cilium's `loadBalancerClass`, honoured by both kinds of policy.
pub const CILIUM_CLASS: &str = "io.cilium/l2-announcer";
/// Our own `loadBalancerClass`, honoured by our own kind of policy.
pub const GATEHERALD_CLASS: &str = "gateherald.io/l2-announcer";

/// What the administrator set for this installation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Further values of `loadBalancerClass` that are ours, for both kinds of policy.
    pub load_balancer_classes: BTreeSet<String>,
    /// Where external IPs must lie that a policy of Cilium's kind selects; empty: none is announced.
    pub external_ip_cidrs: Vec<IpNet>,
    /// A Node labelled [`crate::node::EXCLUDE_LABEL`] announces nothing.
    pub honor_exclude_label: bool,
}

/// Everything the evaluation sees except the Services.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The policies.
    pub policies: &'a Policies,
    /// The installation's rules.
    pub rules: &'a Rules,
    /// The own Node; none until it was seen: then nothing is announced.
    pub node: Option<&'a NodeView>,
    /// This node's links.
    pub links: &'a [Link],
    /// The addresses that cannot be virtual.
    pub taken: &'a Taken<'a>,
    /// Where Services have endpoints, or why that is not known. Only those with `externalTrafficPolicy: Local` ask.
    pub endpoints: Result<&'a Endpoints, &'a str>,
}

/// What this node may announce, and everything that it may not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// The addresses it may announce.
    pub desired: BTreeMap<IpAddr, Arc<Desired>>,
    /// What is not announced, sorted.
    pub not_announced: Vec<NotAnnounced>,
    /// Each policy in force.
    pub policies: BTreeMap<PolicyId, PolicyReport>,
    /// The Services whose endpoints decide whether this node announces their addresses.
    pub local: BTreeSet<ServiceKey>,
}

/// An address to announce. Services that share an address share this entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Desired {
    /// Whose address it is.
    pub services: Few<ServiceKey>,
    /// Which policies let it be announced.
    pub policies: Few<PolicyId>,
    /// Where: the union over the policies, links that are up; never empty.
    pub interfaces: Few<Interface>,
    /// The node that shall announce it whenever it can; of several Services' the first one's.
    #[serde(rename = "preferredNode")]
    pub preferred_node: Option<String>,
}

/// What a policy in force amounts to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyReport {
    /// How many Services it selects.
    pub services: usize,
    /// How many addresses of theirs it announces on the nodes and interfaces it selects.
    pub addresses: usize,
    /// It selects this node, and an interface here that is up: a session lists these policies.
    pub matches_here: bool,
}

/// Something that is not announced here. Fields that don't apply are `None`: an entry with only a policy
/// holds for everything that this policy selects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotAnnounced {
    /// The Service.
    pub service: Option<ServiceKey>,
    /// Its address.
    pub address: Option<IpAddr>,
    /// The policy that selects the Service.
    pub policy: Option<PolicyId>,
    /// Why.
    pub why: Why,
}

/// Evaluates everything anew. The order of the Services and links has no influence on the result.
pub fn evaluate<'a>(
    inputs: &'a Inputs<'_>,
    services: impl IntoIterator<Item = &'a ServiceView>,
) -> Evaluation {
    let mut run = Run::new(inputs);
    for service in services {
        run.service(service);
    }
    run.finish()
}

/// A policy in force, with what does not depend on the Service.
struct Active<'a> {
    id: &'a PolicyId,
    policy: &'a Policy,
    candidates: Option<Candidates<'a>>,
    services: usize,
    addresses: BTreeSet<IpAddr>,
}

struct Run<'a> {
    inputs: &'a Inputs<'a>,
    active: Vec<Active<'a>>,
    desired: BTreeMap<IpAddr, Desired>,
    /// Which Services prefer which node for each address.
    preferring: BTreeMap<IpAddr, BTreeMap<&'a ServiceKey, &'a str>>,
    /// The Services that want a node with endpoints of theirs, by address.
    local: BTreeMap<IpAddr, BTreeSet<ServiceKey>>,
    result: Evaluation,
}

impl<'a> Run<'a> {
    fn new(inputs: &'a Inputs<'a>) -> Self {
        let mut run = Self {
            inputs,
            active: Vec::new(),
            desired: BTreeMap::new(),
            preferring: BTreeMap::new(),
            local: BTreeMap::new(),
            result: Evaluation::default(),
        };
        for (id, validity, policy) in inputs.policies.iter() {
            if let Validity::Invalid(error) = validity {
                let message = inputs.policies.message(id).unwrap_or_default();
                run.refuse(None, None, Some(id), Why::PolicyInvalid(error.reason(), message));
            }
            if let Some(policy) = policy {
                run.activate(id, policy);
            }
        }
        for (id, why) in inputs.policies.aside() {
            run.refuse(None, None, Some(id), Why::LeftToCilium(why.to_owned()));
        }
        run
    }

    fn activate(&mut self, id: &'a PolicyId, policy: &'a Policy) {
        if policy.selects_nothing() {
            self.refuse(None, None, Some(id), Why::SelectsNothing);
        }
        let node = self.inputs.node.ok_or(Why::NodeUnknown);
        let candidates = match node.and_then(|node| node_may_announce(self.inputs.rules, node, policy)) {
            Ok(()) => Some(policy.interfaces.candidates(self.inputs.links)),
            Err(why) => {
                self.refuse(None, None, Some(id), why);
                None
            }
        };
        self.active.push(Active { id, policy, candidates, services: 0, addresses: BTreeSet::new() });
    }

    fn service(&mut self, service: &'a ServiceView) {
        let key = &service.key;
        let selecting: Vec<usize> =
            (0..self.active.len()).filter(|&i| self.active[i].policy.services.matches(service)).collect();
        if selecting.is_empty() {
            if !service.entries.is_empty() {
                self.refuse(Some(key), None, None, Why::NoPolicy);
            }
            return;
        }
        for &i in &selecting {
            self.active[i].services += 1;
        }
        if service.opted_out {
            return self.refuse(Some(key), None, None, Why::ServiceOptedOut);
        }
        if service.entries.is_empty() {
            return self.refuse(Some(key), None, None, Why::NoAddress);
        }
        let selecting = self.of_our_class(service, selecting);
        for entry in &service.entries {
            self.entry(service, entry, &selecting);
            if let (AddressEntry::Address(address, _), Some(node)) = (entry, &service.preferred_node) {
                self.preferring.entry(*address).or_default().insert(key, node);
            }
        }
    }

    /// The policies for which the Service's `loadBalancerClass` is ours.
    fn of_our_class(&mut self, service: &ServiceView, mut selecting: Vec<usize>) -> Vec<usize> {
        let Some(class) = &service.load_balancer_class else { return selecting };
        selecting.retain(|&i| {
            let id = self.active[i].id;
            let ours = is_ours(class, id.kind, self.inputs.rules);
            if !ours {
                self.refuse(Some(&service.key), None, Some(id), Why::OtherLoadBalancerClass(class.clone()));
            }
            ours
        });
        selecting
    }

    fn entry(&mut self, service: &ServiceView, entry: &AddressEntry, selecting: &[usize]) {
        let key = &service.key;
        let (address, source) = match entry {
            AddressEntry::Address(address, source) => (*address, *source),
            AddressEntry::Proxy(address) => {
                return self.refuse(Some(key), Some(*address), None, Why::IpModeProxy);
            }
            AddressEntry::Hostname(name) => {
                return self.refuse(Some(key), None, None, Why::HostnameOnly(name.clone()));
            }
            AddressEntry::Unreadable(text) => {
                return self.refuse(Some(key), None, None, Why::BadAddress(text.clone()));
            }
        };
        if let Err(detail) = self.inputs.taken.check(address) {
            return self.refuse(Some(key), Some(address), None, Why::NotAVirtualAddress(detail));
        }
        for &i in selecting {
            if let Err(why) = self.offer(i, service, address, source) {
                let id = self.active[i].id;
                self.refuse(Some(key), Some(address), Some(id), why);
            }
        }
    }

    /// Adds the address on the links that one policy selects. A node that the policy does not select has been
    /// reported once for all addresses.
    fn offer(
        &mut self,
        i: usize,
        service: &ServiceView,
        address: IpAddr,
        source: AddressSource,
    ) -> Result<(), Why> {
        let active = &mut self.active[i];
        policy_announces(active.id.kind, active.policy, self.inputs.rules, address, source)?;
        active.addresses.insert(address);
        let Some(candidates) = &active.candidates else { return Ok(()) };
        let links = candidates.for_address(address).map_err(|none| match none {
            NoLink::NoneMatches(_) => Why::NoInterface(none),
            NoLink::AllDown(_) => Why::InterfacesDown(none),
        })?;
        let desired = self.desired.entry(address).or_default();
        for link in links {
            if desired.interfaces.iter().all(|interface| interface.index != link.index) {
                desired.interfaces.insert(link.into());
            }
        }
        if !desired.services.contains(&service.key) {
            desired.services.insert(service.key.clone());
        }
        if service.local {
            self.local.entry(address).or_default().insert(service.key.clone());
        }
        if !desired.policies.contains(active.id) {
            desired.policies.insert(active.id.clone());
        }
        Ok(())
    }

    fn refuse(
        &mut self,
        service: Option<&ServiceKey>,
        address: Option<IpAddr>,
        policy: Option<&PolicyId>,
        why: Why,
    ) {
        let (service, policy) = (service.cloned(), policy.cloned());
        self.result.not_announced.push(NotAnnounced { service, address, policy, why });
    }

    /// Takes the addresses away that other nodes have to announce, because the endpoints are there.
    fn place(&mut self) {
        for (address, local) in std::mem::take(&mut self.local) {
            let Some(desired) = self.desired.remove(&address) else { continue };
            let placed = placing::place(self.inputs, address, desired, &local);
            self.desired.extend(placed.desired.map(|desired| (address, desired)));
            for (service, why) in placed.refused {
                self.refuse(Some(&service), Some(address), None, why);
            }
            self.result.local.extend(local);
        }
    }

    /// Of the Services that an address is announced for, the first one's wish counts.
    fn prefer(&mut self) {
        for (address, wishes) in std::mem::take(&mut self.preferring) {
            let Some(desired) = self.desired.get_mut(&address) else { continue };
            let first = wishes.into_iter().find(|(service, _)| desired.services.contains(*service));
            desired.preferred_node = first.map(|(_, node)| node.to_owned());
        }
    }

    fn finish(mut self) -> Evaluation {
        self.place();
        self.prefer();
        self.result.desired =
            self.desired.into_iter().map(|(address, desired)| (address, Arc::new(desired))).collect();
        for active in self.active {
            let report = PolicyReport {
                services: active.services,
                addresses: active.addresses.len(),
                matches_here: active.candidates.is_some_and(|candidates| candidates.any_up()),
            };
            self.result.policies.insert(active.id.clone(), report);
        }
        self.result.not_announced.sort_unstable();
        self.result
    }
}

pub(crate) fn node_may_announce(rules: &Rules, node: &NodeView, policy: &Policy) -> Result<(), Why> {
    if node.network_unavailable {
        return Err(Why::NodeNetworkUnavailable);
    }
    if node.opted_out() {
        return Err(Why::NodeOptedOut);
    }
    if rules.honor_exclude_label && node.excluded() {
        return Err(Why::NodeExcluded);
    }
    if policy.nodes.matches(&node.labels) { Ok(()) } else { Err(Why::NodeNotSelected) }
}

pub(crate) fn is_ours(class: &str, kind: PolicyKind, rules: &Rules) -> bool {
    class == CILIUM_CLASS
        || (kind == PolicyKind::Gateherald && class == GATEHERALD_CLASS)
        || rules.load_balancer_classes.contains(class)
}

pub(crate) fn policy_announces(
    kind: PolicyKind,
    policy: &Policy,
    rules: &Rules,
    address: IpAddr,
    source: AddressSource,
) -> Result<(), Why> {
    match source {
        AddressSource::External if !policy.external_ips => return Err(Why::ExternalIpsOff),
        AddressSource::LoadBalancer if !policy.load_balancer_ips => return Err(Why::LoadBalancerIpsOff),
        AddressSource::External
            if kind == PolicyKind::Cilium
                && !rules.external_ip_cidrs.iter().any(|net| net.contains(&address)) =>
        {
            return Err(Why::OutsideExternalIpCidrs);
        }
        _ => {}
    }
    if policy.covers(address) { Ok(()) } else { Err(Why::OutsideAddresses) }
}

#[cfg(test)]
mod tests;
