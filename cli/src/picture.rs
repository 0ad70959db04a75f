// SPDX-License-Identifier: Apache-2.0
//! What a snapshot means, decided once by the functions that the webhook and the announcers decide with.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use gateherald_model::{
    address::Taken,
    announcement::{self, Evaluation, Inputs, NotAnnounced, Why},
    crd::L2AnnouncementPolicySpec,
    endpoints::Endpoints,
    node::NodeView,
    policy::{Policies, PolicyId, PolicyKind},
    rules::Rules,
    service::{ServiceKey, ServiceView},
};

use crate::snapshot::{Named, Snapshot};
pub(crate) use labels::{GatewayFacts, ServiceFacts};
pub(crate) use leases::{ClaimFacts, Links, SessionFacts};
pub(crate) use pools::Pool;
pub(crate) use settings::Settings;

mod endpoints;
mod labels;
mod leases;
mod pools;
mod settings;

/// The whole picture.
#[derive(Debug)]
pub(crate) struct Picture<'a> {
    /// What it was made from.
    pub(crate) snapshot: &'a Snapshot,
    /// What the installation is told to do, as far as it could be read.
    pub(crate) settings: Settings,
    /// By namespace and name.
    pub(crate) gateways: BTreeMap<(String, String), GatewayFacts<'a>>,
    pub(crate) services: BTreeMap<ServiceKey, ServiceFacts<'a>>,
    /// Compiled, and as they are written.
    pub(crate) policies: Policies,
    pub(crate) specs: BTreeMap<PolicyId, L2AnnouncementPolicySpec>,
    pub(crate) pools: Vec<Pool>,
    pub(crate) nodes: BTreeMap<String, NodeFacts>,
    /// By node.
    pub(crate) sessions: BTreeMap<String, SessionFacts>,
    pub(crate) claims: BTreeMap<IpAddr, ClaimFacts>,
    /// The links of nodes, as far as an announcer told.
    pub(crate) links: BTreeMap<String, Links>,
    pub(crate) endpoints: Endpoints,
    /// How many endpoints of a Service are ready.
    pub(crate) ready: BTreeMap<ServiceKey, usize>,
    /// What the policies say about Services, whatever the node.
    refused: BTreeMap<ServiceKey, Vec<NotAnnounced>>,
    /// What they say about nodes, whatever the Service; without an entry the node is selected.
    excluded: BTreeMap<PolicyId, BTreeMap<String, Why>>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeFacts {
    pub(crate) view: NodeView,
    /// Its condition Ready; unknown counts as not ready.
    pub(crate) ready: bool,
    pub(crate) cordoned: bool,
}

impl<'a> Picture<'a> {
    /// Decides everything. `rules` are those of a file, in the place of the cluster's.
    pub(crate) fn new(snapshot: &'a Snapshot, rules: Option<&Rules>) -> Self {
        let settings = Settings::read(snapshot, rules);
        let gateways = labels::gateways(snapshot, &settings.rules);
        let services = labels::services(snapshot, &settings.rules, &gateways);
        let (policies, specs) = policies(snapshot);
        let nodes = nodes(snapshot);
        let (sessions, claims) = leases::read(snapshot);
        let links = leases::links(snapshot, &sessions);
        let mut picture = Self {
            snapshot,
            settings,
            gateways,
            services,
            policies,
            specs,
            pools: pools::all(snapshot),
            nodes,
            sessions,
            claims,
            links,
            endpoints: endpoints::all(snapshot),
            ready: endpoints::ready(snapshot),
            refused: BTreeMap::new(),
            excluded: BTreeMap::new(),
        };
        picture.decide();
        picture
    }

    fn decide(&mut self) {
        for refusal in self.evaluate(None, self.services.values().map(|facts| &facts.view)).not_announced {
            if let Some(service) = refusal.service.clone() {
                self.refused.entry(service).or_default().push(refusal);
            }
        }
        for (name, node) in &self.nodes {
            for refusal in self.evaluate(Some(&node.view), []).not_announced {
                let (Some(policy), true) = (refusal.policy, is_about_nodes(&refusal.why)) else { continue };
                self.excluded.entry(policy).or_default().insert(name.clone(), refusal.why);
            }
        }
    }

    /// The announcer's decision, for a node whose links are not known. Without a node it is about the Services alone: the
    /// policies' nodes and interfaces are not looked at.
    fn evaluate<'v>(
        &self,
        node: Option<&NodeView>,
        services: impl IntoIterator<Item = &'v ServiceView>,
    ) -> Evaluation {
        let addresses = self.nodes.values().flat_map(|facts| {
            facts.view.addresses.iter().map(|address| (facts.view.name.as_str(), *address))
        });
        let taken = Taken::new(addresses, &[]);
        let inputs = Inputs {
            policies: &self.policies,
            rules: &self.settings.announcing,
            node,
            links: &[],
            taken: &taken,
            endpoints: Ok(&self.endpoints),
        };
        // The iterator's lifetime is longer than that of the inputs.
        let services: Vec<&ServiceView> = services.into_iter().collect();
        announcement::evaluate(&inputs, services)
    }

    /// Why a Service is not announced, or one of its addresses not by one of its policies.
    pub(crate) fn refusals(&self, service: &ServiceKey) -> &[NotAnnounced] {
        self.refused.get(service).map_or(&[], Vec::as_slice)
    }

    /// The policies that select a Service by its labels as they are.
    pub(crate) fn selecting(&self, view: &ServiceView) -> Vec<&PolicyId> {
        let in_force = self.policies.iter().filter_map(|(id, _, policy)| Some((id, policy?)));
        in_force.filter(|(_, policy)| policy.services.matches(view)).map(|(id, _)| id).collect()
    }

    /// The policies that announce this address of a Service.
    pub(crate) fn announcing(&self, facts: &ServiceFacts<'_>, address: IpAddr) -> Vec<&PolicyId> {
        let refusals = self.refusals(&facts.view.key);
        let whole =
            |r: &NotAnnounced| r.policy.is_none() && (r.address.is_none() || r.address == Some(address));
        if refusals.iter().any(whole) && !labels::are_about_others(refusals, address) {
            return Vec::new();
        }
        let refused = |id: &PolicyId| {
            refusals
                .iter()
                .any(|r| r.policy.as_ref() == Some(id) && (r.address.is_none() || r.address == Some(address)))
        };
        self.selecting(&facts.view).into_iter().filter(|id| !refused(id)).collect()
    }

    /// The nodes that a policy selects, and why it does not select the others.
    pub(crate) fn nodes_of(&self, policy: &PolicyId) -> (BTreeSet<&str>, Vec<(&str, &Why)>) {
        let excluded = self.excluded.get(policy);
        let why = |node: &str| excluded.and_then(|excluded| excluded.get(node));
        let names = || self.nodes.keys().map(String::as_str);
        let selected = names().filter(|node| why(node).is_none()).collect();
        let others = names().filter_map(|node| Some((node, why(node)?))).collect();
        (selected, others)
    }
}

/// Whether a refusal is about the node itself and not about its links, which are not known.
fn is_about_nodes(why: &Why) -> bool {
    matches!(why, Why::NodeNotSelected | Why::NodeNetworkUnavailable | Why::NodeOptedOut | Why::NodeExcluded)
}

fn policies(snapshot: &Snapshot) -> (Policies, BTreeMap<PolicyId, L2AnnouncementPolicySpec>) {
    let ours = snapshot
        .policies
        .items
        .iter()
        .map(|policy| (PolicyKind::Gateherald, policy.key().1, policy.spec.clone()));
    let ciliums = snapshot
        .cilium_policies
        .items
        .iter()
        .map(|policy| (PolicyKind::Cilium, policy.key().1, policy.spec.clone().into()));
    let specs: BTreeMap<PolicyId, L2AnnouncementPolicySpec> =
        ours.chain(ciliums).map(|(kind, name, spec)| (PolicyId::new(kind, name), spec)).collect();
    let mut policies = Policies::default();
    for (id, spec) in &specs {
        policies.apply(id.clone(), spec);
    }
    (policies, specs)
}

fn nodes(snapshot: &Snapshot) -> BTreeMap<String, NodeFacts> {
    let facts = |node: &k8s_openapi::api::core::v1::Node| {
        let conditions =
            node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let facts = NodeFacts {
            view: NodeView::from(node),
            ready: conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"),
            cordoned: node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default(),
        };
        (facts.view.name.clone(), facts)
    };
    snapshot.nodes.items.iter().map(facts).collect()
}
