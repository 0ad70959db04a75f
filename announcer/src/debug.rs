// SPDX-License-Identifier: Apache-2.0
//! `/vips` on the loopback: every address with its state, and everything that is not announced with its reason.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use gateherald_model::announcement::Desired;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    claiming::{Question, Standing},
    claims::ClaimState,
    desired::Outlook,
    standoff::{Contests, Standoff},
};

/// What the page is made from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The node's name.
    pub node: String,
    /// What may be announced.
    pub outlook: watch::Receiver<Arc<Outlook>>,
    /// The addresses that other hosts use.
    pub contests: watch::Receiver<Arc<Contests>>,
    /// Whom to ask about ownership.
    pub questions: mpsc::Sender<Question>,
}

/// The page.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Vips {
    node: String,
    session: String,
    fresh_for_milliseconds: Option<u128>,
    waiting_for: Vec<&'static str>,
    cilium_policies: Cilium,
    addresses: Vec<Vip>,
    not_announced: Vec<NotAnnounced>,
    policies: BTreeMap<String, Policy>,
}

#[derive(Debug, Serialize)]
struct Cilium {
    stance: &'static str,
    detail: String,
}

#[derive(Debug, Serialize)]
struct Vip {
    address: IpAddr,
    #[serde(flatten)]
    desired: Desired,
    state: &'static str,
    holder: Option<String>,
    session: Option<String>,
    transitions: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    conflict: Option<Contest>,
}

/// Another host uses the address.
#[derive(Debug, Serialize)]
struct Contest {
    claimant: String,
    stage: &'static str,
}

#[derive(Debug, Serialize)]
struct NotAnnounced {
    service: Option<String>,
    address: Option<IpAddr>,
    policy: Option<String>,
    reason: &'static str,
    detail: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    services: usize,
    addresses: usize,
    matches_here: bool,
}

/// The port's routes.
pub fn router(sources: Sources) -> Router {
    Router::new().route("/vips", get(vips)).with_state(sources)
}

async fn vips(State(sources): State<Sources>) -> Result<Json<Vips>, StatusCode> {
    let outlook = Arc::clone(&sources.outlook.borrow());
    let standing = ask(&sources, &outlook).await;
    let contests = Arc::clone(&sources.contests.borrow());
    Ok(Json(page(sources.node, &outlook, standing, &contests)))
}

/// None before the claims can be asked: the API server has not been reached yet, or the process is ending.
async fn ask(sources: &Sources, outlook: &Outlook) -> Option<Standing> {
    let (answer, standing) = oneshot::channel();
    let addresses = outlook.evaluation.desired.keys().copied().collect();
    sources.questions.try_send(Question { addresses, answer }).ok()?;
    standing.await.ok()
}

fn page(node: String, outlook: &Outlook, standing: Option<Standing>, contests: &Contests) -> Vips {
    let evaluation = &outlook.evaluation;
    let (session, fresh_for, mut claims) =
        standing.map_or_else(Default::default, |s| (s.session, s.fresh_for, s.claims));
    let fresh = fresh_for.is_some();
    let address = |(address, desired): (&IpAddr, &Desired)| {
        let claim = claims.remove(address);
        Vip {
            address: *address,
            desired: desired.clone(),
            state: state(claim.as_ref(), fresh),
            holder: claim.as_ref().and_then(|claim| claim.holder.clone()),
            session: claim.as_ref().and_then(|claim| claim.session.clone()),
            transitions: claim.map_or(0, |claim| claim.transitions),
            conflict: contests.get(address).map(contest),
        }
    };
    Vips {
        node,
        session,
        fresh_for_milliseconds: fresh_for.map(|left| left.as_millis()),
        waiting_for: outlook.waiting_for.clone(),
        cilium_policies: Cilium { stance: outlook.cilium.name(), detail: outlook.cilium.to_string() },
        addresses: evaluation.desired.iter().map(address).collect(),
        not_announced: evaluation.not_announced.iter().map(not_announced).collect(),
        policies: evaluation.policies.iter().map(|(id, report)| (id.to_string(), policy(report))).collect(),
    }
}

fn state(claim: Option<&ClaimState>, fresh: bool) -> &'static str {
    match claim {
        Some(ClaimState { title: true, .. }) if fresh => "owned",
        Some(ClaimState { title: true, .. }) => "not-fresh",
        Some(ClaimState { held: true, .. }) => "held",
        Some(ClaimState { holder: Some(_), .. }) => "held-elsewhere",
        Some(_) | None => "waiting",
    }
}

fn contest(standoff: &Standoff) -> Contest {
    Contest { claimant: standoff.claimant.to_string(), stage: standoff.stage.name() }
}

fn not_announced(refused: &gateherald_model::announcement::NotAnnounced) -> NotAnnounced {
    NotAnnounced {
        service: refused.service.as_ref().map(ToString::to_string),
        address: refused.address,
        policy: refused.policy.as_ref().map(ToString::to_string),
        reason: refused.why.name(),
        detail: refused.why.to_string(),
    }
}

fn policy(report: &gateherald_model::announcement::PolicyReport) -> Policy {
    Policy { services: report.services, addresses: report.addresses, matches_here: report.matches_here }
}
