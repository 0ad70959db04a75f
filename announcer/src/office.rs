// SPDX-License-Identifier: Apache-2.0
//! What one announcer of all tells for the whole cluster: the statuses of policies, and what nobody announces. Pure.
//!
//! A status is a function of what was seen, and compared with the one that stands in the object; so whoever is elected next finds
//! nothing to write. Of Cilium's kind no status is written: a bad policy of that kind is told by an Event alone, as is one of ours.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use gateherald_model::{
    announcement::{Evaluation, Why},
    crd::{L2AnnouncementPolicyStatus, PolicyCondition, VALID},
    overview::{Overview, Selected, Selection},
    policy::{PolicyId, PolicyKind, Verdict},
    service::ServiceKey,
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use crate::{
    desired::Survey,
    telling::{ANNOUNCE_FAILED, About, Tale, why},
};

/// 5 s between two writes of one status that differ in counts alone: a thousand Services that come at once cost a few writes.
const COUNTS_EVERY: Duration = Duration::from_secs(5);
/// 1 s between two writes of one status at least: the watch brings the first one back meanwhile.
const VERDICT_EVERY: Duration = Duration::from_secs(1);
/// Of the nodes that might announce an address so many are named.
const NAMED: usize = 3;

/// A status to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusWrite {
    /// The policy's name; it is of our own kind.
    pub name: String,
    /// Which object.
    pub uid: String,
    /// The status.
    pub status: L2AnnouncementPolicyStatus,
}

/// One term of office.
#[derive(Debug)]
pub struct Office {
    /// An address is failing only when no node has had it for so long.
    grace: Duration,
    /// The addresses whose claims name a node; none before they were listed.
    held: Option<BTreeSet<IpAddr>>,
    survey: Survey,
    /// The statuses that are not as they should be.
    wanted: BTreeMap<PolicyId, StatusWrite>,
    statuses: BTreeMap<PolicyId, Written>,
    unclaimed: BTreeMap<IpAddr, Unclaimed>,
    /// What was told of failures.
    failing: BTreeMap<(ServiceKey, Option<IpAddr>), &'static str>,
    /// The bad versions that were told of.
    bad: BTreeSet<(PolicyId, String, i64)>,
    /// Whether the first review of the term is still to come: what it finds may have been told before.
    first: bool,
}

/// What was written of a policy's status.
#[derive(Debug, Clone)]
struct Written {
    uid: String,
    at: Duration,
    condition: PolicyCondition,
}

/// An address that is selected and that no node has.
#[derive(Debug, Clone, Copy)]
struct Unclaimed {
    since: Duration,
    /// It was so when the term began.
    before: bool,
}

/// What is wrong with an address for everybody.
struct Failure {
    reason: &'static str,
    text: String,
    news: bool,
}

impl Office {
    /// A term begins; no address is failing before no node has had it for `grace`.
    pub fn new(grace: Duration) -> Self {
        Self {
            grace,
            held: None,
            survey: Survey::default(),
            wanted: BTreeMap::new(),
            statuses: BTreeMap::new(),
            unclaimed: BTreeMap::new(),
            failing: BTreeMap::new(),
            bad: BTreeSet::new(),
            first: true,
        }
    }

    /// All claims: the addresses that a node has.
    pub fn claims(&mut self, held: BTreeSet<IpAddr>) {
        self.held = Some(held);
    }

    /// A claim changed; whether that is news.
    pub fn claim(&mut self, address: IpAddr, held: bool) -> bool {
        let Some(all) = &mut self.held else { return false };
        if held { all.insert(address) } else { all.remove(&address) }
    }

    /// Takes in what was seen; what there is to tell. `here` is the own node's evaluation, for reasons; `wall` is what becomes a
    /// condition's time of transition.
    pub fn review(&mut self, survey: Survey, here: &Evaluation, now: Duration, wall: Timestamp) -> Vec<Tale> {
        self.survey = survey;
        let mut tales = self.bad_policies();
        if let Some(held) = &self.held {
            let selected = self.survey.overview.addresses.keys().filter(|address| !held.contains(address));
            let before = self.first;
            let since = |address: &IpAddr| match self.unclaimed.get(address) {
                Some(known) => *known,
                None => Unclaimed { since: now, before },
            };
            self.unclaimed = selected.map(|address| (*address, since(address))).collect();
            self.wanted = self.differing(held, wall);
            tales.extend(self.failures(here, now));
            self.first = false;
        }
        tales
    }

    /// The next status to write.
    pub fn next_write(&self, now: Duration) -> Option<StatusWrite> {
        self.wanted.iter().find(|(id, write)| self.due(id, write) <= now).map(|(_, write)| write.clone())
    }

    /// A status was written, or its policy was found gone.
    pub fn written(&mut self, write: &StatusWrite, now: Duration) {
        let id = PolicyId::new(PolicyKind::Gateherald, write.name.clone());
        if self.wanted.get(&id) == Some(write) {
            self.wanted.remove(&id);
        }
        if let Some(condition) = write.status.conditions.first().cloned() {
            self.statuses.insert(id, Written { uid: write.uid.clone(), at: now, condition });
        }
    }

    /// When there is something to write, or to review that was not at `now`, without anything seen.
    pub fn next_deadline(&self, now: Duration) -> Option<Duration> {
        let writes = self.wanted.iter().map(|(id, write)| self.due(id, write));
        writes.chain(self.next_review(now)).min()
    }

    /// When an address begins to fail.
    pub fn next_review(&self, now: Duration) -> Option<Duration> {
        self.unclaimed.values().map(|unclaimed| unclaimed.since + self.grace).filter(|end| *end > now).min()
    }

    /// When this status may be written.
    fn due(&self, id: &PolicyId, write: &StatusWrite) -> Duration {
        let Some(last) = self.statuses.get(id).filter(|last| last.uid == write.uid) else {
            return Duration::ZERO;
        };
        let same = write.status.conditions.first().is_some_and(|new| same_verdict(new, &last.condition));
        last.at + if same { COUNTS_EVERY } else { VERDICT_EVERY }
    }

    fn differing(&self, held: &BTreeSet<IpAddr>, wall: Timestamp) -> BTreeMap<PolicyId, StatusWrite> {
        let ours = self.survey.verdicts.iter().filter(|(id, _)| id.kind == PolicyKind::Gateherald);
        let write = |(id, verdict): (&PolicyId, &Verdict)| {
            let selection = self.survey.overview.policies.get(id).cloned().unwrap_or_default();
            let known = self.statuses.get(id).filter(|written| written.uid == verdict.uid);
            let last = [condition(verdict), known.map(|written| &written.condition)];
            let status = status(verdict, &selection, held, last, wall);
            let write = StatusWrite { name: id.name.clone(), uid: verdict.uid.clone(), status };
            (standing(verdict).as_ref() != Some(&write.status)).then(|| (id.clone(), write))
        };
        ours.filter_map(write).collect()
    }

    fn bad_policies(&mut self) -> Vec<Tale> {
        let verdicts = &self.survey.verdicts;
        let bad = verdicts.iter().filter(|(_, verdict)| !verdict.valid);
        let bad: BTreeMap<_, _> = bad.map(|(id, v)| ((id.clone(), v.uid.clone(), v.generation), v)).collect();
        let new = bad.iter().filter(|(version, _)| !self.bad.contains(version));
        let tale = |((id, uid, generation), verdict): (&(PolicyId, String, i64), &&Verdict)| Tale {
            about: About::Policy(id.clone(), uid.clone()),
            warning: true,
            reason: verdict.reason,
            note: format!("generation {generation}: {}", verdict.message),
            // One version of one object is told of once, by whichever announcer.
            news: false,
            elected: true,
        };
        let tales = new.map(tale).collect();
        self.bad = bad.into_keys().collect();
        tales
    }

    fn failures(&mut self, here: &Evaluation, now: Duration) -> Vec<Tale> {
        let mut failing: BTreeMap<(ServiceKey, Option<IpAddr>), Failure> = BTreeMap::new();
        for refused in &self.survey.overview.refused {
            let key = (refused.service.clone(), refused.address);
            let failure =
                Failure { reason: refused.why.name(), text: refused.why.to_string(), news: !self.first };
            failing.insert(key, failure);
        }
        for (address, unclaimed) in &self.unclaimed {
            let Some(selected) = self.survey.overview.addresses.get(address) else { continue };
            if now < unclaimed.since + self.grace {
                continue;
            }
            for service in &selected.services {
                let (reason, text) = nobody(&self.survey.overview, selected, service, *address, here);
                let failure = Failure { reason, text, news: !unclaimed.before };
                failing.insert((service.clone(), Some(*address)), failure);
            }
        }
        let news = failing.iter().filter(|(key, failure)| self.failing.get(key) != Some(&failure.reason));
        let tales = news.map(|((service, address), failure)| failed(service, *address, failure)).collect();
        self.failing = failing.into_iter().map(|(key, failure)| (key, failure.reason)).collect();
        tales
    }
}

fn failed(service: &ServiceKey, address: Option<IpAddr>, failure: &Failure) -> Tale {
    let what = address.map_or_else(|| "an address".to_owned(), |address| address.to_string());
    Tale {
        about: About::Service(service.clone()),
        warning: true,
        reason: ANNOUNCE_FAILED,
        note: format!("no node announces {what}: {}", failure.text),
        news: failure.news,
        elected: true,
    }
}

/// Why no node has the address, as far as it is known on this one.
fn nobody(
    overview: &Overview,
    selected: &Selected,
    service: &ServiceKey,
    address: IpAddr,
    here: &Evaluation,
) -> (&'static str, String) {
    let eligible = overview.eligible(selected);
    if eligible.is_empty() {
        let policies: Vec<String> = selected.policies.iter().map(ToString::to_string).collect();
        let text = "NoEligibleNode: no Node that may announce matches the nodeSelector of";
        return ("NoEligibleNode", format!("{text} {}", policies.join(", ")));
    }
    let own = here.not_announced.iter().find(|refused| {
        refused.service.as_ref() == Some(service)
            && refused.address == Some(address)
            && !matches!(refused.why, Why::ExternalIpsOff | Why::LoadBalancerIpsOff)
    });
    let names: Vec<&str> = eligible.iter().take(NAMED).copied().collect();
    let more =
        if eligible.len() > NAMED { format!(" and {} more", eligible.len() - NAMED) } else { String::new() };
    let nodes = format!("{}{more}", names.join(", "));
    match own {
        Some(refused) => {
            let text = why(service, address, &selected.policies, here);
            (refused.why.name(), format!("{text}; eligible Nodes: {nodes}"))
        }
        None => (
            "NotTaken",
            format!(
                "NotTaken: none of the eligible Nodes has taken it ({nodes}); their announcers' logs and /vips say why"
            ),
        ),
    }
}

/// The status that stands in the object, without what others may have added.
fn standing(verdict: &Verdict) -> Option<L2AnnouncementPolicyStatus> {
    let conditions = condition(verdict).into_iter().cloned().collect();
    Some(L2AnnouncementPolicyStatus { conditions, ..verdict.status.clone()? })
}

/// The condition that stands in the object.
fn condition(verdict: &Verdict) -> Option<&PolicyCondition> {
    verdict.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == VALID)
}

/// What the status says. A transition has the time at which it was first written, by either of `last`.
fn status(
    verdict: &Verdict,
    selection: &Selection,
    held: &BTreeSet<IpAddr>,
    last: [Option<&PolicyCondition>; 2],
    wall: Timestamp,
) -> L2AnnouncementPolicyStatus {
    let status = if verdict.valid { "True" } else { "False" };
    let since = last.into_iter().flatten().find(|condition| condition.status == status);
    let condition = PolicyCondition {
        type_: VALID.to_owned(),
        status: status.to_owned(),
        observed_generation: Some(verdict.generation),
        // To whole seconds, as the API server keeps it.
        last_transition_time: since.map_or_else(
            || Time(Timestamp::from_second(wall.as_second()).unwrap_or(wall)),
            |condition| condition.last_transition_time.clone(),
        ),
        reason: verdict.reason.to_owned(),
        message: message(verdict, selection),
    };
    L2AnnouncementPolicyStatus {
        observed_generation: Some(verdict.generation),
        in_force_generation: verdict.in_force,
        selected_services: count(selection.services),
        selected_addresses: count(selection.addresses.len()),
        announced_addresses: count(selection.addresses.intersection(held).count()),
        eligible_nodes: count(selection.nodes.len()),
        conditions: vec![condition],
    }
}

/// A valid policy that amounts to nothing is told from one that does.
fn message(verdict: &Verdict, selection: &Selection) -> String {
    let said = &verdict.message;
    if !verdict.valid {
        said.clone()
    } else if selection.nodes.is_empty() {
        format!("{said}; no Node that may announce matches its nodeSelector")
    } else if selection.services == 0 {
        format!("{said}; no Service matches its serviceSelector")
    } else {
        said.clone()
    }
}

fn same_verdict(one: &PolicyCondition, other: &PolicyCondition) -> bool {
    one.status == other.status
        && one.reason == other.reason
        && one.observed_generation == other.observed_generation
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
