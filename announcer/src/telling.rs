// SPDX-License-Identifier: Apache-2.0
//! What this node tells people, as Events, of the addresses that it has: taken, given up, used by another host. Pure.
//!
//! Only what somebody can notice: an address that goes on being announced from the same node is no news, whatever happened to
//! its session meanwhile.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use gateherald_model::{
    announcement::{Desired, Evaluation, NotAnnounced},
    few::Few,
    leases::EndedBy,
    policy::PolicyId,
    service::ServiceKey,
};

use crate::{
    claims::{Ground, Notice},
    standoff::{Contests, Stage, Standoff},
};

pub mod metrics;

/// The Event's reason: a node announces an address of the Service.
pub const ANNOUNCING: &str = "Announcing";
/// A node has given an address of the Service up.
pub const RELEASED: &str = "Released";
/// Another host uses an address of the Service.
pub const ADDRESS_CONFLICT: &str = "AddressConflict";
/// No node announces an address of the Service.
pub const ANNOUNCE_FAILED: &str = "AnnounceFailed";

/// What an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// A Service; its uid is asked for when it is told.
    Service(ServiceKey),
    /// A policy, and its uid.
    Policy(PolicyId, String),
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tale {
    /// What it is about.
    pub about: About,
    /// Somebody should look.
    pub warning: bool,
    /// The Event's reason.
    pub reason: &'static str,
    /// In a person's words.
    pub note: String,
    /// It happened before the own eyes; if not, it may have been told before.
    pub news: bool,
    /// It is told by the one announcer that tells of the whole cluster, and only while it is that one.
    pub elected: bool,
}

/// What this node has told, as far as it matters for what it tells next.
#[derive(Debug)]
pub struct Teller {
    node: String,
    /// The addresses that people know to be announced from here.
    announced: BTreeMap<IpAddr, Arc<Desired>>,
    contests: Arc<Contests>,
}

impl Teller {
    /// Nothing told yet.
    pub fn new(node: String) -> Self {
        Self { node, announced: BTreeMap::new(), contests: Arc::default() }
    }

    /// What there is to tell of a change of ownership; `evaluation` is the newest one.
    pub fn notice(&mut self, notice: &Notice, evaluation: &Evaluation) -> Vec<Tale> {
        match notice {
            Notice::Took { address, ground, .. } => self.took(*address, *ground, evaluation),
            Notice::Released { address, favours } => self.released(*address, favours.as_deref(), evaluation),
            Notice::Lost { address, .. } => {
                self.announced.remove(address);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// What there is to tell of other hosts that use an address.
    pub fn contests(&mut self, contests: Arc<Contests>, evaluation: &Evaluation) -> Vec<Tale> {
        let old = std::mem::replace(&mut self.contests, contests);
        let stage = |standoff: &Standoff| (standoff.claimant, lost(standoff.stage));
        let news =
            self.contests.iter().filter(|(address, new)| old.get(address).map(stage) != Some(stage(new)));
        let mut tales = Vec::new();
        for (address, standoff) in news {
            let what = if lost(standoff.stage) {
                "and goes on doing so: this node is silent, and asks once a minute whether it still does"
            } else {
                "this node falls silent until its claim is confirmed, and then defends the address"
            };
            let note = format!(
                "the host {} uses {address}; {what}. Take the address from that host, or give the Service another one",
                standoff.claimant
            );
            let services = evaluation.desired.get(address).map(|desired| &desired.services);
            tales.extend(each(services.into_iter().flatten(), true, ADDRESS_CONFLICT, &note, true));
        }
        tales
    }

    fn took(&mut self, address: IpAddr, ground: Ground, evaluation: &Evaluation) -> Vec<Tale> {
        let Some(desired) = evaluation.desired.get(&address) else { return Vec::new() };
        let before = self.announced.insert(address, Arc::clone(desired));
        let interfaces: Vec<&str> =
            desired.interfaces.iter().map(|interface| interface.name.as_str()).collect();
        let note = format!("node {} announces {address} on {}", self.node, interfaces.join(", "));
        // What a process takes over from its predecessor on the node was told by that one.
        let news = ground != Ground::Ended(EndedBy::Successor);
        let before = before.unwrap_or_default();
        let services = desired.services.iter().filter(|service| !before.services.contains(service));
        each(services, false, ANNOUNCING, &note, news)
    }

    fn released(&mut self, address: IpAddr, favours: Option<&str>, evaluation: &Evaluation) -> Vec<Tale> {
        let Some(before) = self.announced.remove(&address) else { return Vec::new() };
        let mut tales = Vec::new();
        for service in &before.services {
            let why = match favours {
                Some(node) => format!("it is handed over to node {node}"),
                None => why(service, address, &before.policies, evaluation),
            };
            let note = format!("node {} no longer announces {address}: {why}", self.node);
            tales.extend(each([service], false, RELEASED, &note, true));
        }
        tales
    }
}

/// Whether the other host has won.
fn lost(stage: Stage) -> bool {
    matches!(stage, Stage::Silenced { .. } | Stage::Asking { .. })
}

fn each<'a>(
    services: impl IntoIterator<Item = &'a ServiceKey>,
    warning: bool,
    reason: &'static str,
    note: &str,
    news: bool,
) -> Vec<Tale> {
    let tale = |service: &ServiceKey| Tale {
        about: About::Service(service.clone()),
        warning,
        reason,
        note: note.to_owned(),
        news,
        elected: false,
    };
    services.into_iter().map(tale).collect()
}

/// Why a Service's address that these policies select is not announced here, as the evaluation has it.
pub fn why(
    service: &ServiceKey,
    address: IpAddr,
    policies: &Few<PolicyId>,
    evaluation: &Evaluation,
) -> String {
    let of_service = |refused: &&NotAnnounced| {
        refused.service.as_ref() == Some(service) && refused.address.is_none_or(|other| other == address)
    };
    let of_policy = |refused: &&NotAnnounced| {
        refused.service.is_none() && refused.policy.as_ref().is_some_and(|policy| policies.contains(policy))
    };
    let text = |refused: &NotAnnounced| match &refused.policy {
        Some(policy) => format!("{} ({policy})", refused.why),
        None => refused.why.to_string(),
    };
    let refusals = &evaluation.not_announced;
    let mut texts: Vec<String> = refusals.iter().filter(of_service).map(text).collect();
    if texts.is_empty() {
        texts = refusals.iter().filter(of_policy).map(text).collect();
    }
    texts.dedup();
    if texts.is_empty() { "no Service has it any more".to_owned() } else { texts.join("; ") }
}

#[cfg(test)]
mod tests;
