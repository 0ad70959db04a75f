// SPDX-License-Identifier: Apache-2.0
//! `/vips`: every address with its state, and everything that is not announced with its reason. Sorted by address, and by
//! Service, address and policy, so that two pages can be compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use gateherald_model::{
    announcement::{Desired, Evaluation, NotAnnounced},
    few::Few,
    interfaces::Link,
    policy::{PolicyId, Verdict},
};
use gateherald_wire::MacAddr;
use serde::Serialize;

use super::VERSION;
use crate::{
    claiming::Standing,
    claims::{ClaimState, time::Now},
    desired::Outlook,
    responder::Refusal,
    standoff::{Contests, Standoff},
};

/// What is known beside ownership.
pub(super) struct Picture<'a> {
    pub(super) node: &'a str,
    pub(super) outlook: &'a Outlook,
    pub(super) links: &'a [Link],
    pub(super) contests: &'a Contests,
}

/// The page.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    version: u32,
    node: String,
    session: String,
    fresh_for_milliseconds: Option<u128>,
    waiting_for: Vec<&'static str>,
    cilium_policies: Cilium,
    addresses: Vec<Vip>,
    not_announced: Vec<Entry>,
    policies: BTreeMap<String, Policy>,
}

#[derive(Debug, Serialize)]
struct Cilium {
    stance: &'static str,
    detail: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Vip {
    address: IpAddr,
    /// It may be announced here; an address that was until a moment ago is still shown while it is owned.
    desired: bool,
    /// This node has title.
    owned: bool,
    state: &'static str,
    services: Few<String>,
    policies: Few<String>,
    preferred_node: Option<String>,
    interfaces: Vec<Interface>,
    holder: Option<String>,
    session: Option<String>,
    transitions: u32,
    /// For how long it has had this holder, or none, as far as this process has seen.
    since_milliseconds: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conflict: Option<Contest>,
}

#[derive(Debug, Serialize)]
struct Interface {
    index: u32,
    name: String,
    mac: Option<String>,
    /// The link's own addresses with the lengths of their prefixes.
    networks: Vec<String>,
    up: bool,
    /// Whether a request there is answered.
    answers: bool,
    /// Why not: a reason of `frames_dropped_total`.
    reason: Option<&'static str>,
}

/// Another host uses the address.
#[derive(Debug, Serialize)]
struct Contest {
    claimant: String,
    stage: &'static str,
}

#[derive(Debug, Serialize)]
struct Entry {
    service: Option<String>,
    address: Option<IpAddr>,
    policy: Option<String>,
    reason: &'static str,
    detail: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    generation: i64,
    in_force: Option<i64>,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    services: usize,
    addresses: usize,
    matches_here: bool,
}

pub(super) fn page(picture: &Picture<'_>, standing: Option<Standing>) -> Page {
    let Picture { node, outlook, contests, .. } = picture;
    let evaluation = &outlook.evaluation;
    let session = standing.as_ref().map(|standing| standing.session.clone()).unwrap_or_default();
    let fresh_for = standing.as_ref().and_then(|standing| standing.fresh_for);
    let (claims, now) = standing.map_or_else(Default::default, |standing| (standing.claims, standing.now));
    let answered_for =
        claims.iter().filter(|(_, claim)| claim.title || claim.held).map(|(address, _)| *address);
    let addresses: BTreeSet<IpAddr> = evaluation.desired.keys().copied().chain(answered_for).collect();
    let vip = |address: IpAddr| {
        let claim = Known { claim: claims.get(&address), fresh: fresh_for.is_some(), now };
        vip(picture, address, &claim, contests.get(&address))
    };
    Page {
        version: VERSION,
        node: (*node).to_owned(),
        session,
        fresh_for_milliseconds: fresh_for.map(|left| left.as_millis()),
        waiting_for: outlook.waiting_for.clone(),
        cilium_policies: Cilium { stance: outlook.cilium.name(), detail: outlook.cilium.to_string() },
        addresses: addresses.into_iter().map(vip).collect(),
        not_announced: evaluation.not_announced.iter().map(entry).collect(),
        policies: outlook.verdicts.iter().map(|(id, verdict)| policy(id, verdict, evaluation)).collect(),
    }
}

/// What is known of the claim on an address.
struct Known<'a> {
    claim: Option<&'a ClaimState>,
    fresh: bool,
    now: Now,
}

impl Known<'_> {
    fn state(&self) -> &'static str {
        match self.claim {
            Some(ClaimState { title: true, .. }) if self.fresh => "owned",
            Some(ClaimState { title: true, .. }) => "not-fresh",
            Some(ClaimState { held: true, .. }) => "held",
            Some(ClaimState { holder: Some(_), .. }) => "held-elsewhere",
            Some(_) | None => "waiting",
        }
    }

    /// Why no link answers, as far as that is a matter of ownership.
    fn refusal(&self) -> Option<Refusal> {
        match self.state() {
            "owned" | "held" => None,
            "not-fresh" => Some(Refusal::NotFresh),
            _ => Some(Refusal::NotOwner),
        }
    }
}

fn vip(picture: &Picture<'_>, address: IpAddr, known: &Known<'_>, contest: Option<&Standoff>) -> Vip {
    let desired = picture.outlook.evaluation.desired.get(&address).map(Arc::as_ref);
    let refusal = match desired {
        None => Some(Refusal::NotDesired),
        Some(_) => known.refusal().or_else(|| contest.and_then(|standoff| standoff.stage.refusal())),
    };
    let of = |desired: &Desired| {
        let on = |interface: &gateherald_model::interfaces::Interface| {
            let link = picture.links.iter().find(|link| link.index == interface.index);
            interface_of(interface.index, &interface.name, link, refusal)
        };
        desired.interfaces.iter().map(on).collect()
    };
    let claim = known.claim;
    Vip {
        address,
        desired: desired.is_some(),
        owned: claim.is_some_and(|claim| claim.title),
        state: known.state(),
        services: desired.into_iter().flat_map(|d| d.services.iter().map(ToString::to_string)).collect(),
        policies: desired.into_iter().flat_map(|d| d.policies.iter().map(ToString::to_string)).collect(),
        preferred_node: desired.and_then(|desired| desired.preferred_node.clone()),
        interfaces: desired.map(of).unwrap_or_default(),
        holder: claim.and_then(|claim| claim.holder.clone()),
        session: claim.and_then(|claim| claim.session.clone()),
        transitions: claim.map_or(0, |claim| claim.transitions),
        since_milliseconds: claim
            .and_then(|claim| claim.since)
            .map(|since| known.now.at_least_since(since).as_millis()),
        conflict: contest.map(|standoff| Contest {
            claimant: standoff.claimant.to_string(),
            stage: standoff.stage.name(),
        }),
    }
}

fn interface_of(index: u32, name: &str, link: Option<&Link>, refusal: Option<Refusal>) -> Interface {
    let up = link.is_some_and(|link| link.up);
    let refusal = if up { refusal } else { refusal.or(Some(Refusal::LinkDown)) };
    Interface {
        index,
        name: name.to_owned(),
        mac: link.and_then(|link| link.mac).map(|mac| MacAddr(mac).to_string()),
        networks: link.into_iter().flat_map(|link| link.addresses.iter().map(ToString::to_string)).collect(),
        up,
        answers: refusal.is_none(),
        reason: refusal.map(Refusal::name),
    }
}

fn entry(refused: &NotAnnounced) -> Entry {
    Entry {
        service: refused.service.as_ref().map(ToString::to_string),
        address: refused.address,
        policy: refused.policy.as_ref().map(ToString::to_string),
        reason: refused.why.name(),
        detail: refused.why.to_string(),
    }
}

fn policy(id: &PolicyId, verdict: &Verdict, evaluation: &Evaluation) -> (String, Policy) {
    let report = evaluation.policies.get(id).cloned().unwrap_or_default();
    let policy = Policy {
        generation: verdict.generation,
        in_force: verdict.in_force,
        reason: verdict.reason,
        problem: (!verdict.valid).then(|| verdict.message.clone()),
        services: report.services,
        addresses: report.addresses,
        matches_here: report.matches_here,
    };
    (id.to_string(), policy)
}

#[cfg(test)]
mod tests;
