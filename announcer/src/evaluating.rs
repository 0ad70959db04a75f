// SPDX-License-Identifier: Apache-2.0
//! The evaluating task: takes in what the watches see, and tells what follows from it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use gateherald_model::{interfaces::Link, policy::PolicyKind};
use gateherald_runtime::{readiness, shutdown::Shutdown};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    cilium::Stance,
    desired::{Desires, Outlook, Plan, Reach, Seen, Survey},
    io::{
        clock,
        objects::{Served, Told},
    },
    metrics::Metrics,
    notices,
};

/// What is taken in before it is evaluated, when more comes than one evaluation needs.
const BATCH: usize = 1024;
/// After an evaluation, so many times what it took is not evaluated again. An evaluation looks at every Service, so with thousands
/// that come one after the other it would take all of a core, which renewals need; with a hundred it takes less than a millisecond.
const REST: u32 = 3;
/// And no longer than that, however long it took: what is no longer to be announced is answered for meanwhile.
const LONGEST_REST: Duration = Duration::from_millis(250);

/// What the task is made of.
pub struct Evaluating {
    /// Everything seen.
    pub desires: Desires,
    /// What the watches tell.
    pub told: mpsc::Receiver<Told>,
    /// The node's links.
    pub links: watch::Receiver<Option<Arc<[Link]>>>,
    /// Who wants to know about the whole cluster.
    pub surveys: mpsc::Receiver<oneshot::Sender<Option<Survey>>>,
    /// Where results go.
    pub out: Outputs,
    /// Counters.
    pub metrics: Metrics,
    /// The part of readiness about policies.
    pub ready: readiness::Handle,
}

/// Where results go.
pub struct Outputs {
    /// To the claims.
    pub plan: watch::Sender<Arc<Plan>>,
    /// To the answering thread.
    pub reach: watch::Sender<Arc<Reach>>,
    /// To people.
    pub outlook: watch::Sender<Arc<Outlook>>,
    /// To the lookout for Cilium.
    pub cilium_needed: watch::Sender<bool>,
    /// To the watch over EndpointSlices.
    pub endpoints_needed: watch::Sender<bool>,
}

impl Evaluating {
    /// Runs until the process stops, or nothing more is told.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut served = BTreeMap::new();
        let mut changed = true;
        let mut rested = Duration::ZERO;
        loop {
            let now = clock::now().raw;
            if changed && rested <= now {
                self.publish(&served);
                changed = false;
                let end = clock::now().raw;
                rested = end + rest(end.saturating_sub(now));
            }
            let next = if changed { Some(rested) } else { self.desires.next_deadline() };
            let pause = next.map(|at| at.saturating_sub(clock::now().raw));
            tokio::select! {
                () = shutdown.stopping() => return,
                told = self.told.recv() => match told {
                    Some(told) => changed |= self.take_in(told, &mut served),
                    None => return,
                },
                links = self.links.changed() => {
                    if links.is_err() {
                        return;
                    }
                    let links = self.links.borrow_and_update().clone();
                    changed |= links.is_some_and(|links| self.desires.see(Seen::Links(links)));
                }
                Some(asking) = self.surveys.recv() => {
                    // Who asked may have gone.
                    let _ = asking.send(self.desires.survey());
                }
                () = clock::wait(pause) => changed = true,
            }
            for _ in 0..BATCH {
                let Ok(told) = self.told.try_recv() else { break };
                changed |= self.take_in(told, &mut served);
            }
        }
    }

    /// Whether anything may follow from it.
    fn take_in(&mut self, told: Told, served: &mut BTreeMap<PolicyKind, Served>) -> bool {
        match told {
            Told::Seen(seen) => {
                if let Seen::Cilium(stance) = &*seen {
                    tracing::info!(stance = stance.name(), "{stance}");
                    self.metrics.cilium_honoured.set(i64::from(*stance == Stance::Honoured));
                }
                self.desires.see(*seen)
            }
            Told::Served(kind, state) => {
                if served.get(&kind) != Some(&state) {
                    match &state {
                        Served::Yes => tracing::info!(kind = plural(kind), "watching policies"),
                        Served::No => tracing::info!(kind = plural(kind), "not served, will be looked for"),
                        Served::Unknown(_) => {}
                    }
                    served.insert(kind, state);
                }
                true
            }
        }
    }

    fn publish(&mut self, served: &BTreeMap<PolicyKind, Served>) {
        let (plan, transitions) = self.desires.plan(clock::now().raw);
        for transition in &transitions {
            notices::tell_transition(transition);
        }
        self.out.reach.send_if_modified(|reach| {
            let changed = !Arc::ptr_eq(reach, &plan.reach);
            *reach = Arc::clone(&plan.reach);
            changed
        });
        self.out.outlook.send_replace(Arc::clone(&plan.outlook));
        self.out.plan.send_replace(Arc::new(plan));
        let needed = self.desires.has_cilium_policies();
        self.out.cilium_needed.send_if_modified(|old| std::mem::replace(old, needed) != needed);
        let endpoints = self.desires.needs_endpoints();
        self.out.endpoints_needed.send_if_modified(|old| std::mem::replace(old, endpoints) != endpoints);
        match policies_missing(served, &self.out.outlook.borrow().cilium, needed) {
            None => self.ready.ready(),
            Some(reason) => self.ready.waiting(reason),
        }
    }
}

/// How long nothing is evaluated after an evaluation that took so long.
fn rest(took: Duration) -> Duration {
    took.saturating_mul(REST).min(LONGEST_REST)
}

/// Why the policies are not all known; none when they are.
fn policies_missing(served: &BTreeMap<PolicyKind, Served>, stance: &Stance, cilium: bool) -> Option<String> {
    let unknown = served.values().find_map(|state| match state {
        Served::Unknown(said) => Some(said.clone()),
        _ => None,
    });
    if unknown.is_some() {
        return unknown;
    }
    if !served.values().any(|state| *state == Served::Yes) {
        return Some(if served.is_empty() {
            "policies have not been listed yet".to_owned()
        } else {
            "no kind of policy is served: is the CustomResourceDefinition installed?".to_owned()
        });
    }
    match stance {
        Stance::Undecided | Stance::Unreadable(_) if cilium => Some(stance.to_string()),
        _ => None,
    }
}

fn plural(kind: PolicyKind) -> &'static str {
    match kind {
        PolicyKind::Gateherald => "l2announcementpolicies.gateherald.io",
        PolicyKind::Cilium => "ciliuml2announcementpolicies.cilium.io",
    }
}

#[cfg(test)]
mod tests;
