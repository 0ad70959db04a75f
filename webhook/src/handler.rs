// SPDX-License-Identifier: Apache-2.0
//! One review: from the decoded request to the response, with at most one question to the API server.

use std::{borrow::Cow, sync::Arc};

use gateherald_model::{
    alignment::Changes,
    injection::{Decision, Knowledge, Lookup, Outcome, decide, lookup},
    memory::is_remembered,
    owner::{Gateway, GatewayReference},
    patch,
    rules::Rules,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::{
    audit::{Conclusion, Trail},
    budget::Budget,
    io::gateways::Gateways,
    metrics::Metrics,
    review::{Response, Review},
};

/// Longest warning that the API server passes on.
const WARNING_CHARS: usize = 120;

/// Asks the API server for one Gateway.
pub trait Ask: Send + Sync + 'static {
    /// The Gateway of this name now, reduced to what `rules` are about; `None` when there is none; the error is for people.
    fn ask(
        &self,
        rules: &Rules,
        namespace: &str,
        name: &str,
    ) -> impl Future<Output = Result<Option<Gateway>, String>> + Send;
}

/// What reviews share.
#[derive(Debug)]
pub struct Handler<A> {
    /// Which labels.
    pub rules: watch::Receiver<Arc<Rules>>,
    /// The Gateways that are known.
    pub gateways: Arc<Gateways>,
    /// Whether `gateways` has been complete once.
    pub synced: watch::Receiver<bool>,
    /// For those that are not known.
    pub ask: A,
    /// Where reviews are recorded.
    pub trail: Trail,
    /// Where reviews are counted.
    pub metrics: Metrics,
}

/// The Gateways are not known yet: try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSynced;

/// What could be learned of a Gateway.
enum Found {
    Gateway { gateway: Arc<Gateway>, asked: bool },
    Missing,
    Failed(Cow<'static, str>),
}

impl Found {
    fn knowledge(&self) -> Knowledge<'_> {
        match self {
            Self::Gateway { gateway, .. } => Knowledge::Exists(gateway),
            Self::Missing => Knowledge::Missing,
            Self::Failed(_) => Knowledge::Unknown,
        }
    }

    fn error(&self) -> Option<&str> {
        if let Self::Failed(reason) = self { Some(reason) } else { None }
    }
}

impl<A: Ask> Handler<A> {
    /// Answers a review.
    pub async fn answer(&self, review: &Review<'_>, budget: Budget) -> Result<Vec<u8>, NotSynced> {
        let rules = Arc::clone(&self.rules.borrow());
        let decide = |found: &Found| decide(&rules, &review.service, review.old.as_ref(), found.knowledge());
        let (gateway, mut found) = match lookup(&rules, &review.service) {
            Lookup::NoOwner(_) => (None, Found::Missing),
            Lookup::OptedOut(gateway) => (Some(gateway), Found::Missing),
            Lookup::Gateway(gateway) => (Some(gateway), self.find(&rules, gateway, budget).await?),
        };
        let mut decision = decide(&found);
        if let Some(gateway) = gateway
            && matches!(found, Found::Gateway { asked: false, .. })
            && needs_the_newest(review, &decision)
        {
            found = self.ask(&rules, gateway, budget).await;
            decision = decide(&found);
        }
        Ok(self.conclude(&Conclusion { review, gateway, decision: &decision, error: found.error() }, budget))
    }

    async fn find(
        &self,
        rules: &Rules,
        reference: GatewayReference<'_>,
        budget: Budget,
    ) -> Result<Found, NotSynced> {
        let GatewayReference { namespace, name, uid, .. } = reference;
        self.wait_for_sync(budget).await?;
        if let Some(gateway) = self.gateways.get(namespace, name)
            && uid.is_none_or(|uid| uid == gateway.uid)
        {
            return Ok(Found::Gateway { gateway, asked: false });
        }
        // Unknown, or known by another uid: the cache may lag behind a controller that was faster.
        Ok(self.ask(rules, reference, budget).await)
    }

    async fn ask(&self, rules: &Rules, reference: GatewayReference<'_>, budget: Budget) -> Found {
        let deadline = budget.lookup_deadline(Instant::now());
        let asked = timeout_at(deadline, self.ask.ask(rules, reference.namespace, reference.name)).await;
        let (result, found) = match asked {
            Ok(Ok(Some(gateway))) => ("found", Found::Gateway { gateway: Arc::new(gateway), asked: true }),
            Ok(Ok(None)) => ("missing", Found::Missing),
            Ok(Err(reason)) => ("error", Found::Failed(reason.into())),
            Err(_) => ("timeout", Found::Failed("the API server did not answer in time".into())),
        };
        self.metrics.looked_up(result);
        found
    }

    async fn wait_for_sync(&self, budget: Budget) -> Result<(), NotSynced> {
        if *self.synced.borrow() {
            return Ok(());
        }
        let mut synced = self.synced.clone();
        match timeout_at(budget.sync_deadline(), synced.wait_for(|synced| *synced)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(NotSynced),
        }
    }

    fn conclude(&self, conclusion: &Conclusion<'_>, budget: Budget) -> Vec<u8> {
        let Conclusion { review, decision, .. } = conclusion;
        let patch = patch::operations(&review.service, decision);
        let response = Response {
            uid: &review.uid,
            patch: &patch,
            warnings: warning(decision).into_iter().collect(),
            audit_annotations: conclusion.annotations(),
        };
        // Strings and maps of strings always have a JSON form; a body the API server can't read fails open.
        let body = response.encode().unwrap_or_default();
        let took = budget.started.elapsed();
        self.metrics.review_ends(decision.outcome, took);
        decision.skipped().for_each(|skipped| self.metrics.skipped(skipped.reason));
        self.trail.note(conclusion, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        body
    }

    /// Counts a review that got no answer.
    pub fn refused(&self, outcome: Outcome, budget: Budget) {
        self.metrics.review_ends(outcome, budget.started.elapsed());
    }
}

/// Whether a decision takes back, or adds to, what an earlier one put on a Service that exists. Another replica, or the
/// reconciler, may have been ahead of this cache then, and must not be undone by it. What only comes back after the request
/// dropped it was there a moment ago.
fn needs_the_newest(review: &Review<'_>, decision: &Decision) -> bool {
    let more = |changes: &Changes| {
        let added = changes.injected.len() > changes.reinjected.len();
        added || !changes.updated.is_empty() || !changes.removed.is_empty()
    };
    let remembered = is_remembered(&review.service) || review.old.as_ref().is_some_and(is_remembered);
    remembered && (more(&decision.labels) || more(&decision.annotations))
}

/// What the user is told when this request removed what it then got back.
fn warning(decision: &Decision) -> Option<String> {
    let mut reinjected = decision.labels.reinjected.iter().chain(&decision.annotations.reinjected);
    let first = reinjected.next()?;
    let others = reinjected.count();
    let more = if others > 0 { format!(" (+{others})") } else { String::new() };
    let (before, after) =
        ("Gateherald put back ", " of the Gateway; opt out: annotation gateherald.io/inject=false");
    let room = WARNING_CHARS - before.len() - after.len() - more.len();
    let key: String = if first.len() <= room {
        first.clone()
    } else {
        // Keys are ASCII, or they would not have been injected.
        first.chars().take(room - 2).chain("..".chars()).collect()
    };
    Some(format!("{before}{key}{more}{after}"))
}

#[cfg(test)]
mod tests;
