// SPDX-License-Identifier: Apache-2.0
//! What happens to ownership and to what is wanted, told as lines that a person can follow one address by.

use std::net::IpAddr;

use gateherald_model::{
    announcement::{NotAnnounced, Why},
    leases::names,
};
use gateherald_wire::MacAddr;
use tracing::{debug, info, warn};

use crate::{
    claims::{Answer, LapseReason, Notice},
    desired::Transition,
    metrics::{ForReason, Metrics},
    standoff::Step,
};

/// Logs and counts what happened to ownership.
pub fn tell(notice: &Notice, metrics: &Metrics) {
    let changed = |reason| {
        metrics.claim_changes.get_or_create(&ForReason { reason }).inc();
    };
    match notice {
        Notice::Took { address, ground, after } => {
            changed("took");
            metrics.takeover.observe(after.as_secs_f64());
            info!(%address, ground = ground.name(), after = ?after, "owning the address");
        }
        Notice::Lost { address, reason } => {
            changed("lost");
            warn!(%address, reason = reason.name(), "lost the address");
        }
        Notice::Released { address, favours: None } => {
            changed("released");
            info!(%address, "gave the address up");
        }
        Notice::Released { address, favours: Some(node) } => {
            changed("handed-over");
            info!(%address, node, "handing the address over");
        }
        Notice::Lapsed { session, reason, titles, held } => {
            let reason = reason.name();
            metrics.lapses.get_or_create(&ForReason { reason }).inc();
            let addresses = titles;
            if *held > 0 {
                warn!(
                    session,
                    reason, addresses, held, "session lost: answering on until somebody else is heard"
                );
            } else {
                warn!(session, reason, addresses, "session lost: silent until a new one is in force");
            }
        }
        Notice::HoldEnded { address, reason } => {
            let reason = reason.name();
            metrics.holds_ended.get_or_create(&ForReason { reason }).inc();
            warn!(%address, reason, "no longer answering without a session");
        }
        Notice::HoldResumed { address } => {
            info!(%address, "answering again without a session, unless somebody else is heard");
        }
        Notice::Adopting { session } => info!(session, "replacing this node's dead predecessor"),
        Notice::PredecessorAlive { session } => {
            info!(
                session,
                "another announcer of this node may be alive: waiting until its session is silent"
            );
        }
        Notice::Ending { node, session, silent } => {
            info!(node, session, silent = ?silent, "ending the silent session of another node");
        }
        Notice::WatchStuck => warn!("no own renewal came back in time: opening the Lease watch anew"),
        Notice::WriteFailed { key, answer: answer @ (Answer::Conflict | Answer::Written(_)) } => {
            debug!(lease = names::of(key), ?answer, "write");
        }
        Notice::WriteFailed { key, answer } => debug!(lease = names::of(key), ?answer, "write failed"),
    }
}

/// Logs what the loss of the session means for one of its addresses.
pub fn tell_lapse(address: IpAddr, session: &str, reason: LapseReason, held: bool) {
    let reason = reason.name();
    if held {
        info!(%address, session, reason, "answering on without a session");
    } else {
        info!(%address, session, reason, "silent: its session is lost");
    }
}

/// Logs that an address is left to others because the process ends.
pub fn tell_stopped(address: IpAddr) {
    info!(%address, "left to other nodes: stopping");
}

/// Logs what is done about another host's use of an address.
pub fn tell_step(address: IpAddr, step: Step, claimant: Option<MacAddr>) {
    let claimant = claimant.map(tracing::field::display);
    match step {
        Step::Suspend => {
            warn!(%address, claimant, "another host uses an address that this node owns: silent until the claim is confirmed");
        }
        Step::Defend => info!(%address, claimant, "the claim is confirmed: the address is defended"),
        Step::Silence => {
            warn!(%address, claimant, "another host goes on using an address that this node owns: silent");
        }
        Step::Ask => debug!(%address, claimant, "asking whether the other host still uses the address"),
        Step::Resume => info!(%address, "nobody else uses the address any more"),
    }
}

/// Logs what changed in what this node would announce.
pub fn tell_transition(transition: &Transition) {
    match transition {
        Transition::Selected(address, desired) => {
            let join = |texts: Vec<String>| texts.join(",");
            let services = join(desired.services.iter().map(ToString::to_string).collect());
            let policies = join(desired.policies.iter().map(ToString::to_string).collect());
            let interfaces = join(desired.interfaces.iter().map(|i| i.name.clone()).collect());
            info!(%address, services, policies, interfaces, "address selected");
        }
        Transition::Unselected(address) => info!(%address, "address no longer selected"),
        Transition::Refused(refused) => tell_refusal(refused),
    }
}

fn tell_refusal(refused: &NotAnnounced) {
    let NotAnnounced { service, address, policy, why } = refused;
    let service = service.as_ref().map(tracing::field::display);
    let address = address.as_ref().map(tracing::field::display);
    let policy = policy.as_ref().map(tracing::field::display);
    let (reason, detail) = (why.name(), why.to_string());
    match why {
        // Somebody meant something and does not get it.
        Why::PolicyInvalid(..)
        | Why::SelectsNothing
        | Why::NotAVirtualAddress(_)
        | Why::NoInterface(_)
        | Why::InterfacesDown(_)
        | Why::BadAddress(_) => warn!(service, address, policy, reason, detail, "not announced"),
        // The usual state of most Services and of many a node.
        Why::NoPolicy | Why::NodeNotSelected | Why::NoAddress => {
            debug!(service, address, policy, reason, detail, "not announced");
        }
        _ => info!(service, address, policy, reason, detail, "not announced"),
    }
}
