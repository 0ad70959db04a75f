// SPDX-License-Identifier: Apache-2.0
//! The audit trail: one JSON line on stdout per review that changed something or could not, and the annotations by which
//! the API server's own audit log tells the same.

use std::collections::BTreeMap;

use anyhow::Context;
use gateherald_model::{
    injection::{Decision, Outcome, Removed},
    labels::Skipped,
    metadata::LabelMap,
};
use gateherald_runtime::tasks::TaskResult;
use jiff::Timestamp;
use serde::Serialize;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

use crate::{
    metrics::Metrics,
    review::{Review, Verb},
};

/// Lines that may wait for a slow reader of stdout; more are dropped and counted, since no review may wait for them.
const QUEUE: usize = 8192;
/// Longest list of keys in an audit annotation, so that a review cannot bloat the API server's log.
const ANNOTATION_BYTES: usize = 1024;

/// One line. Field names are API.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record<'a> {
    target: &'static str,
    /// Version of this schema.
    version: u8,
    time: Timestamp,
    uid: &'a str,
    user: &'a str,
    operation: Verb,
    dry_run: bool,
    service: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<String>,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    injected: &'a LabelMap,
    updated: &'a LabelMap,
    removed: &'a [Removed],
    skipped: &'a [Skipped],
    microseconds: u64,
}

/// What a review came to.
#[derive(Clone, Copy, Debug)]
pub struct Conclusion<'a> {
    /// The review.
    pub review: &'a Review<'a>,
    /// The name of the owning Gateway, if there is one.
    pub gateway: Option<&'a str>,
    /// The decision.
    pub decision: &'a Decision,
    /// Why the Gateway could not be looked up.
    pub error: Option<&'a str>,
}

impl Conclusion<'_> {
    /// Whether the line is written even if only changes are wanted.
    pub fn is_notable(&self) -> bool {
        let quiet =
            matches!(self.decision.outcome, Outcome::Unchanged | Outcome::NoOwner | Outcome::OptedOut);
        self.decision.changes() || !quiet
    }

    /// For the API server's audit log.
    pub fn annotations(&self) -> BTreeMap<&'static str, String> {
        let decision = self.decision;
        let mut annotations = BTreeMap::from([("outcome", decision.outcome.name().to_owned())]);
        let mut list = |key, names: Vec<String>| {
            if !names.is_empty() {
                annotations.insert(key, joined(&names));
            }
        };
        list("gateway", self.gateway.map(str::to_owned).into_iter().collect());
        list("injected", decision.injected.keys().cloned().collect());
        list("updated", decision.updated.keys().cloned().collect());
        list("removed", decision.removed.iter().map(|removed| removed.key.clone()).collect());
        list("skipped", decision.skipped.iter().map(|s| format!("{}={}", s.key, s.reason)).collect());
        annotations
    }

    fn record(&self, time: Timestamp, microseconds: u64) -> Record<'_> {
        let Conclusion { review, decision, .. } = self;
        Record {
            target: "audit",
            version: 1,
            time,
            uid: &review.uid,
            user: &review.user,
            operation: review.operation,
            dry_run: review.dry_run,
            service: review.service_name(),
            gateway: self.gateway.map(|name| format!("{}/{name}", review.namespace)),
            outcome: decision.outcome,
            error: self.error,
            injected: &decision.injected,
            updated: &decision.updated,
            removed: &decision.removed,
            skipped: &decision.skipped,
            microseconds,
        }
    }
}

/// As many names as fit, then how many more there are.
fn joined(names: &[String]) -> String {
    let mut bytes = 0;
    let mut fits = |name: &&String| {
        bytes += name.len() + 1;
        bytes <= ANNOTATION_BYTES
    };
    let shown = names.iter().take_while(|name| fits(name)).count();
    let text = names[..shown].join(",");
    if shown < names.len() { format!("{text} and {} more", names.len() - shown) } else { text }
}

/// Where reviews hand in their lines; never waits.
#[derive(Clone, Debug)]
pub struct Trail {
    everything: bool,
    lines: mpsc::Sender<Vec<u8>>,
    metrics: Metrics,
}

/// Where the lines come out.
#[derive(Debug)]
pub struct Lines(mpsc::Receiver<Vec<u8>>);

impl Trail {
    /// `everything` includes reviews of Gateways' Services that changed nothing.
    pub fn new(everything: bool, metrics: Metrics) -> (Self, Lines) {
        let (lines, receiver) = mpsc::channel(QUEUE);
        (Self { everything, lines, metrics }, Lines(receiver))
    }

    /// Hands in a review's line, if it deserves one.
    pub fn note(&self, conclusion: &Conclusion<'_>, microseconds: u64) {
        let wanted = conclusion.is_notable() || (self.everything && conclusion.gateway.is_some());
        if !wanted {
            return;
        }
        let line = serde_json::to_vec(&conclusion.record(Timestamp::now(), microseconds));
        let handed_in = line.is_ok_and(|line| self.lines.try_send(line).is_ok());
        if !handed_in {
            self.metrics.audit_line_dropped();
        }
    }
}

impl Lines {
    /// Writes lines until the last [`Trail`] is gone and everything is written.
    pub async fn write_to(mut self, mut output: impl AsyncWrite + Unpin) -> TaskResult {
        let mut lines = Vec::new();
        while self.0.recv_many(&mut lines, 256).await > 0 {
            let mut batch = Vec::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
            for line in lines.drain(..) {
                batch.extend_from_slice(&line);
                batch.push(b'\n');
            }
            output.write_all(&batch).await.context("cannot write audit lines")?;
            output.flush().await.context("cannot write audit lines")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
