// SPDX-License-Identifier: Apache-2.0
//! What this node would announce: the objects and links that were seen, evaluated anew at each change. Pure.
//!
//! What vanishes is not answered for any more at once; its claim stays for a moment, so that an allocator that clears
//! and rewrites an address within a second does not move it to another node.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use gateherald_model::{
    address::Taken,
    announcement::{Desired, Evaluation, Inputs, NotAnnounced, Rules, Why, evaluate},
    endpoints::{Endpoints, SliceKey, SliceView},
    few::Few,
    interfaces::Link,
    leases::LinkNote,
    node::NodeView,
    overview::Overview,
    policy::{Policies, PolicyId, PolicyKind, PolicyVersion, Verdict},
    service::{ANNOUNCE, AddressEntry, ServiceKey, ServiceView},
};

use crate::{
    cilium::Stance,
    claims::{NodeNotes, Want, Wants},
};

/// 500 ms: outlasts the rewriting of a Service's status by its allocator, and the first list of EndpointSlices.
const VANISHED: Duration = Duration::from_millis(500);
/// 150 ms: outlasts a link that renegotiates, and is short against a client's retry of one second.
const LINK_DOWN: Duration = Duration::from_millis(150);

/// 5 s for a node that is taken out to hand over what it has, one address after the other, each answered for until then.
const LEAVING: Duration = Duration::from_secs(5);

/// Why endpoints are not known before anybody asked for them, or the API server answered.
pub const UNLISTED: &str = "EndpointSlices have not been listed yet";

/// Where an address may be answered: the indexes of interfaces.
pub type Reach = BTreeMap<IpAddr, Few<u32>>;

/// A change of one kind of object.
#[derive(Debug, Clone)]
pub enum Change<K, T> {
    /// All there are.
    All(Vec<(K, T)>),
    /// One was created or changed.
    Set(K, T),
    /// One is gone.
    Gone(K),
}

/// Something that was seen.
#[derive(Debug, Clone)]
pub enum Seen {
    /// Policies of one kind.
    Policies(PolicyKind, Change<PolicyId, PolicyVersion>),
    /// Services.
    Services(Change<ServiceKey, Box<ServiceView>>),
    /// Nodes.
    Nodes(Change<String, NodeView>),
    /// The links of this node.
    Links(Arc<[Link]>),
    /// What is done about Cilium's policies.
    Cilium(Stance),
    /// EndpointSlices, once they are known.
    Slices(Change<SliceKey, SliceView>),
    /// EndpointSlices are not known, for this reason.
    SlicesUnknown(String),
}

/// What people can look at.
#[derive(Debug, Clone, Default)]
pub struct Outlook {
    /// What may be announced here, and everything that may not, with its reason.
    pub evaluation: Evaluation,
    /// What became of each policy that is honoured.
    pub verdicts: BTreeMap<PolicyId, Verdict>,
    /// What is done about Cilium's policies.
    pub cilium: Stance,
    /// What has not been seen yet; nothing is announced before.
    pub waiting_for: Vec<&'static str>,
    /// Every address that a Service has, announced or not.
    pub listed: Arc<BTreeSet<IpAddr>>,
}

/// What one announcer tells of the whole cluster.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// What became of each policy that is honoured.
    pub verdicts: BTreeMap<PolicyId, Verdict>,
    /// What they select.
    pub overview: Overview,
}

/// The result of an evaluation.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// For people.
    pub outlook: Arc<Outlook>,
    /// What may be answered where, as of now.
    pub reach: Arc<Reach>,
    /// What is to be claimed.
    pub wants: Arc<Wants>,
    /// What the session tells of this node.
    pub notes: NodeNotes,
    /// The nodes that exist.
    pub nodes: BTreeSet<String>,
}

/// A difference to the evaluation before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// An address may be announced, newly or for other Services or on other interfaces.
    Selected(IpAddr, Arc<Desired>),
    /// An address may no longer be announced.
    Unselected(IpAddr),
    /// Something is not announced, for a reason that it had not before.
    Refused(NotAnnounced),
}

/// Everything that was seen, and what followed from it.
#[derive(Debug)]
pub struct Desires {
    node: String,
    rules: Rules,
    /// Of both kinds; Cilium's are set aside while they are not honoured.
    policies: Policies,
    stance: Stance,
    services: Option<BTreeMap<ServiceKey, Box<ServiceView>>>,
    nodes: Option<BTreeMap<String, NodeView>>,
    links: Option<Arc<[Link]>>,
    endpoints: Result<Endpoints, String>,
    policies_seen: bool,
    wants: Arc<Wants>,
    lingering: BTreeMap<IpAddr, Duration>,
    listed: Arc<BTreeSet<IpAddr>>,
    /// Services have changed since the addresses were listed.
    relist: bool,
    outlook: Arc<Outlook>,
    reach: Arc<Reach>,
}

impl Desires {
    /// Nothing seen yet.
    pub fn new(node: String, rules: Rules) -> Self {
        let stance = Stance::default();
        let mut policies = Policies::default();
        policies.set_aside(PolicyKind::Cilium, left_alone(&stance));
        Self {
            node,
            rules,
            policies,
            stance,
            services: None,
            nodes: None,
            links: None,
            endpoints: Err(UNLISTED.to_owned()),
            policies_seen: false,
            wants: Arc::default(),
            lingering: BTreeMap::new(),
            listed: Arc::default(),
            relist: false,
            outlook: Arc::default(),
            reach: Arc::default(),
        }
    }

    /// Takes in what was seen; whether anything may follow from it. Most slices are of Services that do not ask where their
    /// endpoints are, and change often.
    pub fn see(&mut self, seen: Seen) -> bool {
        match seen {
            Seen::Policies(kind, change) => self.see_policies(kind, change),
            Seen::Services(change) => {
                apply(self.services.get_or_insert_default(), change);
                self.relist = true;
            }
            Seen::Nodes(change) => apply(self.nodes.get_or_insert_default(), change),
            Seen::Links(links) => self.links = Some(links),
            Seen::Cilium(stance) => {
                self.policies.set_aside(PolicyKind::Cilium, left_alone(&stance));
                self.stance = stance;
            }
            Seen::Slices(change) => return self.see_slices(change),
            Seen::SlicesUnknown(why) => self.endpoints = Err(why),
        }
        true
    }

    fn see_slices(&mut self, change: Change<SliceKey, SliceView>) -> bool {
        let asking = &self.outlook.evaluation.local;
        let asks = |slice: &SliceView| slice.service.as_ref().is_some_and(|service| asking.contains(service));
        match (change, &mut self.endpoints) {
            (Change::All(all), endpoints) => {
                *endpoints = Ok(all.into_iter().collect());
                true
            }
            // Left over from a watch that has ended.
            (_, Err(_)) => false,
            (Change::Set(key, slice), Ok(endpoints)) => {
                let old = endpoints.get(&key);
                let concerns = old != Some(&slice) && (asks(&slice) || old.is_some_and(asks));
                endpoints.set(key, slice);
                concerns
            }
            (Change::Gone(key), Ok(endpoints)) => {
                let concerns = endpoints.get(&key).is_some_and(asks);
                endpoints.remove(&key);
                concerns
            }
        }
    }

    /// Whether the endpoints of some Service decide about an address here.
    pub fn needs_endpoints(&self) -> bool {
        !self.outlook.evaluation.local.is_empty()
    }

    /// Whether there are policies of Cilium's kind to decide about.
    pub fn has_cilium_policies(&self) -> bool {
        self.policies.has(PolicyKind::Cilium)
    }

    /// Evaluates everything; `now` is a reading of a monotonic clock.
    pub fn plan(&mut self, now: Duration) -> (Plan, Vec<Transition>) {
        let waiting_for = self.waiting_for();
        let node = self.nodes.as_ref().and_then(|nodes| nodes.get(&self.node));
        let mut evaluation = if waiting_for.is_empty() { self.evaluate(node) } else { Evaluation::default() };
        share(&mut evaluation.desired, &self.outlook.evaluation.desired);
        let transitions = transitions(&self.outlook.evaluation, &evaluation);
        if std::mem::take(&mut self.relist) {
            self.listed = Arc::new(self.listed());
        }
        let leaving = self.leaving();
        self.settle(&evaluation, &leaving, now);
        let desired = evaluation.desired.iter();
        let mut reach: Reach =
            desired.map(|(a, d)| (*a, d.interfaces.iter().map(|i| i.index).collect())).collect();
        reach.extend(leaving.into_iter().filter(|(address, _)| self.wants.contains_key(address)));
        if reach != *self.reach {
            self.reach = Arc::new(reach);
        }
        let described = self.notes(&evaluation);
        let (verdicts, cilium, listed) =
            (self.policies.verdicts(), self.stance.clone(), Arc::clone(&self.listed));
        self.outlook = Arc::new(Outlook { evaluation, verdicts, cilium, waiting_for, listed });
        let nodes = self.nodes.iter().flat_map(BTreeMap::keys).cloned().collect();
        let (outlook, reach) = (Arc::clone(&self.outlook), Arc::clone(&self.reach));
        (Plan { outlook, reach, wants: Arc::clone(&self.wants), notes: described, nodes }, transitions)
    }

    /// What there is to tell of the whole cluster; nothing before everything was seen.
    pub fn survey(&self) -> Option<Survey> {
        let (Some(links), Some(nodes), Some(services)) = (&self.links, &self.nodes, &self.services) else {
            return None;
        };
        let taken = Taken::new(addresses(nodes), links);
        let overview = Overview::new(
            &self.policies,
            &self.rules,
            nodes.values(),
            &taken,
            services.values().map(Box::as_ref),
        );
        self.policies_seen.then(|| Survey { verdicts: self.policies.verdicts(), overview })
    }

    /// When [`Desires::plan`] has something to do without anything seen.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.lingering.values().min().copied()
    }

    /// Everything that could forbid an address must have been seen before one is announced.
    fn waiting_for(&self) -> Vec<&'static str> {
        [
            (self.links.is_none(), "links"),
            (self.nodes.is_none(), "nodes"),
            (self.services.is_none(), "services"),
            (!self.policies_seen, "policies"),
        ]
        .into_iter()
        .filter_map(|(missing, what)| missing.then_some(what))
        .collect()
    }

    /// What would be announced here, and where, if the node were not taken out; nothing while it is not.
    fn leaving(&self) -> Reach {
        let node = self.nodes.as_ref().and_then(|nodes| nodes.get(&self.node));
        let Some(node) = node.filter(|node| node.opted_out() && !self.wants.is_empty()) else {
            return Reach::default();
        };
        let mut as_if = node.clone();
        as_if.labels.remove(ANNOUNCE);
        let desired = self.evaluate(Some(&as_if)).desired.into_iter();
        desired.map(|(a, d)| (a, d.interfaces.iter().map(|i| i.index).collect())).collect()
    }

    fn evaluate(&self, node: Option<&NodeView>) -> Evaluation {
        let (Some(links), Some(nodes), Some(services)) = (&self.links, &self.nodes, &self.services) else {
            return Evaluation::default();
        };
        let taken = Taken::new(addresses(nodes), links);
        let inputs = Inputs {
            policies: &self.policies,
            rules: &self.rules,
            node,
            links,
            taken: &taken,
            endpoints: self.endpoints.as_ref().map_err(String::as_str),
        };
        evaluate(&inputs, services.values().map(Box::as_ref))
    }

    /// Lets claims of what has just vanished linger, and ends those whose time is over.
    fn settle(&mut self, evaluation: &Evaluation, leaving: &Reach, now: Duration) {
        let desired = &evaluation.desired;
        self.lingering.retain(|address, _| {
            !self.wants.get(address).is_some_and(|w| w.leaving && !leaving.contains_key(address))
        });
        let vanished = self.wants.iter().filter(|(address, _)| !desired.contains_key(address));
        let mut wants: Wants = vanished.map(|(a, want)| (*a, Arc::clone(want))).collect();
        for (address, want) in &mut wants {
            if self.lingering.contains_key(address) || want.leaving {
                continue;
            }
            let time = if leaving.contains_key(address) {
                *want = Arc::new(Want { leaving: true, ..Want::clone(want) });
                LEAVING
            } else {
                linger(*address, evaluation, &self.listed)
            };
            self.lingering.insert(*address, now + time);
        }
        self.lingering.retain(|address, until| *until > now && !desired.contains_key(address));
        wants.retain(|address, _| self.lingering.contains_key(address));
        wants.extend(desired.iter().map(|(address, desired)| (*address, self.want(*address, desired))));
        if wants != *self.wants {
            self.wants = Arc::new(wants);
        }
    }

    /// What is wanted of an address: the same as before, if nothing about it has changed.
    fn want(&self, address: IpAddr, desired: &Arc<Desired>) -> Arc<Want> {
        let unchanged =
            self.outlook.evaluation.desired.get(&address).is_some_and(|old| Arc::ptr_eq(old, desired));
        let before = self.wants.get(&address).filter(|want| unchanged && !want.leaving);
        before.map_or_else(|| Arc::new(want(desired)), Arc::clone)
    }

    /// The addresses that Services have.
    fn listed(&self) -> BTreeSet<IpAddr> {
        let entries = self.services.iter().flat_map(BTreeMap::values).flat_map(|service| &service.entries);
        entries
            .filter_map(|entry| match entry {
                AddressEntry::Address(address, _) => Some(*address),
                _ => None,
            })
            .collect()
    }

    fn notes(&self, evaluation: &Evaluation) -> NodeNotes {
        let policies = evaluation.policies.iter().filter(|(_, report)| report.matches_here);
        let selected: BTreeSet<u32> = self.reach.values().flatten().copied().collect();
        let links = self.links.iter().flat_map(|links| links.iter());
        let note = |link: &Link| {
            let mac = gateherald_wire::MacAddr(link.mac?).to_string();
            Some(LinkNote { name: link.name.clone(), mac, up: link.up })
        };
        NodeNotes {
            policies: policies.map(|(id, _)| id.to_string()).collect(),
            links: links.filter(|link| selected.contains(&link.index)).filter_map(note).collect(),
        }
    }

    fn see_policies(&mut self, kind: PolicyKind, change: Change<PolicyId, PolicyVersion>) {
        self.policies_seen = true;
        match change {
            Change::All(all) => {
                let ids: BTreeSet<&PolicyId> = all.iter().map(|(id, _)| id).collect();
                self.policies.retain(|id| id.kind != kind || ids.contains(id));
                for (id, version) in &all {
                    self.policies.apply(id.clone(), version.clone());
                }
            }
            Change::Set(id, version) => drop(self.policies.apply(id, version)),
            Change::Gone(id) => drop(self.policies.remove(&id)),
        }
    }
}

/// Why policies of Cilium's kind are left alone; none while they are honoured.
fn left_alone(stance: &Stance) -> Option<String> {
    (*stance != Stance::Honoured).then(|| stance.to_string())
}

/// The addresses in the Nodes' statuses.
fn addresses(nodes: &BTreeMap<String, NodeView>) -> impl Iterator<Item = (&str, IpAddr)> {
    nodes.values().flat_map(|node| node.addresses.iter().map(|address| (node.name.as_str(), *address)))
}

fn apply<K: Ord, T>(table: &mut BTreeMap<K, T>, change: Change<K, T>) {
    match change {
        Change::All(all) => *table = all.into_iter().collect(),
        Change::Set(key, value) => drop(table.insert(key, value)),
        Change::Gone(key) => drop(table.remove(&key)),
    }
}

fn want(desired: &Desired) -> Want {
    Want {
        policies: desired.policies.iter().map(ToString::to_string).collect(),
        services: desired.services.iter().map(ToString::to_string).collect(),
        interfaces: desired.interfaces.iter().map(|interface| interface.name.clone()).collect(),
        preferred_node: desired.preferred_node.clone(),
        leaving: false,
    }
}

/// How long the claim on an address stays that is no longer desired: only what may come back by itself has time.
fn linger(address: IpAddr, evaluation: &Evaluation, listed: &BTreeSet<IpAddr>) -> Duration {
    let refusals = || evaluation.not_announced.iter().filter(|refused| refused.address == Some(address));
    let why = |wanted: fn(&Why) -> bool| refusals().any(|refused| wanted(&refused.why));
    let vanished = refusals().next().is_none() && !listed.contains(&address);
    if why(|why| matches!(why, Why::InterfacesDown(_))) {
        LINK_DOWN
    } else if vanished || why(|why| matches!(why, Why::EndpointsUnknown(_))) {
        VANISHED
    } else {
        Duration::ZERO
    }
}

/// Holds what is as it was before once.
fn share(desired: &mut BTreeMap<IpAddr, Arc<Desired>>, before: &BTreeMap<IpAddr, Arc<Desired>>) {
    for (address, desired) in desired {
        if let Some(before) = before.get(address).filter(|before| *before == desired) {
            *desired = Arc::clone(before);
        }
    }
}

fn transitions(old: &Evaluation, new: &Evaluation) -> Vec<Transition> {
    let selected = new.desired.iter().filter(|(address, desired)| old.desired.get(address) != Some(desired));
    let unselected = old.desired.keys().filter(|address| !new.desired.contains_key(address));
    let known: BTreeSet<&NotAnnounced> = old.not_announced.iter().collect();
    let refused = new.not_announced.iter().filter(|refused| !known.contains(refused));
    let selected = selected.map(|(address, desired)| Transition::Selected(*address, Arc::clone(desired)));
    let unselected = unselected.map(|address| Transition::Unselected(*address));
    selected.chain(unselected).chain(refused.map(|refused| Transition::Refused(refused.clone()))).collect()
}

#[cfg(test)]
mod tests;
