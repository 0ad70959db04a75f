// SPDX-License-Identifier: Apache-2.0
//! From the labels to the policy that has the address announced.

use gateherald_model::policy::PolicyId;

use super::{Link, LinkKind};
use crate::{
    finding::{Finding, Severity},
    near,
    picture::{Picture, ServiceFacts},
};

/// The link, and the policies that select the Service.
pub(super) fn link<'p>(picture: &'p Picture<'_>, facts: &ServiceFacts<'_>) -> (Link, Vec<&'p PolicyId>) {
    let kind = LinkKind::Policy;
    let selecting = picture.selecting(&facts.view);
    if !selecting.is_empty() {
        return (Link::good(kind, ""), selecting);
    }
    if !facts.wants_an_address() {
        return (Link::waiting(kind, "it wants no address"), selecting);
    }
    let lists = [picture.snapshot.policies.unreadable(), picture.snapshot.cilium_policies.unreadable()];
    if let Some(gap) = lists.into_iter().flatten().next() {
        return (Link::unknown(kind, gap.to_string()), selecting);
    }
    if let Some(id) = picture.selecting(&facts.mended()).first() {
        return (Link::waiting(kind, format!("{id} will select it with its Gateway's labels")), selecting);
    }
    (Link::found(kind, unselected(picture, facts)), selecting)
}

fn unselected(picture: &Picture<'_>, facts: &ServiceFacts<'_>) -> Finding {
    let service = format!("Service {}", facts.view.key);
    let mended = facts.mended();
    let selectors =
        || picture.specs.iter().filter_map(|(id, spec)| Some((id, spec.service_selector.as_ref()?)));
    let whom = facts
        .gateway
        .as_ref()
        .map_or_else(|| service.clone(), |(namespace, name)| format!("Gateway {namespace}/{name}"));
    let near =
        selectors().find_map(|(id, selector)| Some((id, near::miss(selector, &mended, &facts.expected)?)));
    if let Some((id, miss)) = near {
        let field = format!("spec.serviceSelector.{}", miss.field);
        return Finding::error(31, id.to_string(), field.clone())
            .says(format!("it almost selects {service}: {}", miss.says()))
            .mend(format!(
                "Set metadata.labels[{}] of {whom} to {:?}, or change {field} of {id}.",
                miss.key, miss.wanted
            ));
    }
    // A LoadBalancer that nobody meant for Gateherald may well have another way to its clients.
    let severity = if facts.gateway.is_some() { Severity::Error } else { Severity::Warning };
    let finding =
        Finding { severity, ..Finding::error(31, service, "metadata.labels") }.says("no policy selects it");
    let nearest = selectors().min_by_key(|(id, selector)| (near::unmet(selector, &mended).len(), *id));
    match nearest {
        Some((id, selector)) => finding.mend(format!(
            "Label {whom} as spec.serviceSelector of {id} asks: {}.",
            near::unmet(selector, &mended).join(",")
        )),
        None => finding.mend("Create an L2AnnouncementPolicy whose spec.serviceSelector selects it."),
    }
}
