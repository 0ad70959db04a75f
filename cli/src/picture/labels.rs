// SPDX-License-Identifier: Apache-2.0
//! Gateways and Services, and what the webhook decides about each Service.

use std::{collections::BTreeMap, net::IpAddr};

use gateherald_model::{
    announcement::{NotAnnounced, Why},
    injection::{Decision, Knowledge, decide},
    memory,
    metadata::{LabelMap, Metadata},
    owner::{self, Owner},
    rules::Rules,
    service::{AddressEntry, ServiceKey, ServiceView},
};
use k8s_openapi::api::core::v1::Service;

use crate::snapshot::{Named, Snapshot, objects::Gateway};

/// A Gateway.
#[derive(Clone, Debug)]
pub(crate) struct GatewayFacts<'a> {
    pub(crate) object: &'a Gateway,
    /// As the webhook sees it.
    pub(crate) gateway: owner::Gateway,
}

/// A Service.
#[derive(Clone, Debug)]
pub(crate) struct ServiceFacts<'a> {
    pub(crate) object: &'a Service,
    pub(crate) metadata: Metadata,
    /// As the announcer sees it.
    pub(crate) view: ServiceView,
    /// Namespace and name of the Gateway that it belongs to.
    pub(crate) gateway: Option<(String, String)>,
    /// What the webhook would do to it now.
    pub(crate) decision: Decision,
    /// What it did earlier.
    pub(crate) remembered: LabelMap,
    /// The labels as they would be if that were done.
    pub(crate) expected: LabelMap,
}

impl ServiceFacts<'_> {
    /// `spec.type`, with Kubernetes' default.
    pub(crate) fn kind(&self) -> &str {
        self.object.spec.as_ref().and_then(|spec| spec.type_.as_deref()).unwrap_or("ClusterIP")
    }

    /// Whether it has, or waits for, an address that could be announced.
    pub(crate) fn wants_an_address(&self) -> bool {
        self.kind() == "LoadBalancer" || !self.view.entries.is_empty()
    }

    /// Its addresses that could be announced.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.view.entries.iter().filter_map(|entry| match entry {
            AddressEntry::Address(address, _) => Some(*address),
            _ => None,
        })
    }

    /// As it would be with the labels that it should have.
    pub(crate) fn mended(&self) -> ServiceView {
        ServiceView { labels: self.expected.clone().into(), ..self.view.clone() }
    }
}

/// Whether what is refused without a policy is about other entries than this address: a host name beside it, say.
pub(super) fn are_about_others(refusals: &[NotAnnounced], address: IpAddr) -> bool {
    refusals.iter().filter(|r| r.policy.is_none()).all(|r| match r.why {
        Why::HostnameOnly(_) | Why::BadAddress(_) => true,
        _ => r.address.is_some_and(|other| other != address),
    })
}

/// All Gateways.
pub(crate) fn gateways<'a>(
    snapshot: &'a Snapshot,
    rules: &Rules,
) -> BTreeMap<(String, String), GatewayFacts<'a>> {
    let facts = |object: &'a Gateway| {
        let (namespace, name) = object.key();
        let gateway =
            owner::Gateway::reduce(object.metadata.clone().into(), |key| rules.annotations.mention(key));
        ((namespace.to_owned(), name.to_owned()), GatewayFacts { object, gateway })
    };
    snapshot.gateways.items.iter().map(facts).collect()
}

/// All Services.
pub(crate) fn services<'a>(
    snapshot: &'a Snapshot,
    rules: &Rules,
    gateways: &BTreeMap<(String, String), GatewayFacts<'_>>,
) -> BTreeMap<ServiceKey, ServiceFacts<'a>> {
    let known = snapshot.gateways.unknown().is_none();
    let facts = |object: &'a Service| {
        let metadata = Metadata::from(object.metadata.clone());
        let gateway = match owner::owner(&rules.extractors, &metadata) {
            Owner::Gateway(reference) => Some((reference.namespace.to_owned(), reference.name.to_owned())),
            Owner::Nobody | Owner::Untrusted(_) => None,
        };
        let knowledge = match gateway.as_ref().and_then(|key| gateways.get(key)) {
            Some(facts) => Knowledge::Exists(&facts.gateway),
            None if known => Knowledge::Missing,
            None => Knowledge::Unknown,
        };
        let decision = decide(rules, &metadata, None, knowledge);
        let expected = expected(&metadata.labels, &decision);
        let remembered =
            memory::read(memory::INJECTED_LABELS, &metadata).and_then(Result::ok).unwrap_or_default();
        let view = ServiceView::from(object);
        (view.key.clone(), ServiceFacts { object, metadata, view, gateway, decision, remembered, expected })
    };
    snapshot.services.items.iter().map(facts).collect()
}

fn expected(labels: &LabelMap, decision: &Decision) -> LabelMap {
    let mut expected = labels.clone();
    let changes = &decision.labels;
    expected.extend(changes.injected.iter().chain(&changes.updated).map(|(k, v)| (k.clone(), v.clone())));
    for removed in &changes.removed {
        expected.remove(&removed.key);
    }
    expected
}
