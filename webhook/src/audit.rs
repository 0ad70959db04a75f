// SPDX-License-Identifier: Apache-2.0
//! The audit trail: one JSON line on stdout per review that changed something or could not, and the annotations by which
//! the API server's own audit log tells the same.
#![allow(clippy::disallowed_methods, reason = "each line of the audit trail says when")]

use std::collections::BTreeMap;

use anyhow::Context;
use gateherald_model::{
    alignment::{Changes, Removed},
    injection::{Decision, Outcome},
    labels::Skipped,
    metadata::LabelMap,
    owner::GatewayReference,
};
use gateherald_runtime::tasks::TaskResult;
use jiff::Timestamp;
use serde::Serialize;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

use crate::{
    listing::fitting,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    extractor: Option<&'a str>,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(flatten)]
    labels: MapRecord<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<MapRecord<'a>>,
    microseconds: u64,
}

/// What happened to the labels, or to the annotations.
#[derive(Debug, Serialize)]
struct MapRecord<'a> {
    injected: &'a LabelMap,
    updated: &'a LabelMap,
    removed: &'a [Removed],
    skipped: &'a [Skipped],
}

impl<'a> From<&'a Changes> for MapRecord<'a> {
    fn from(changes: &'a Changes) -> Self {
        let Changes { injected, updated, removed, skipped, .. } = changes;
        Self { injected, updated, removed, skipped }
    }
}

/// What a review came to.
#[derive(Clone, Copy, Debug)]
pub struct Conclusion<'a> {
    /// The review.
    pub review: &'a Review<'a>,
    /// The owning Gateway, if there is one.
    pub gateway: Option<GatewayReference<'a>>,
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
        list("gateway", self.gateway_name().into_iter().collect());
        list("injected", decision.labels.injected.keys().cloned().collect());
        list("updated", decision.labels.updated.keys().cloned().collect());
        list("removed", decision.labels.removed.iter().map(|removed| removed.key.clone()).collect());
        list("annotations-injected", decision.annotations.injected.keys().cloned().collect());
        list("annotations-updated", decision.annotations.updated.keys().cloned().collect());
        list("annotations-removed", decision.annotations.removed.iter().map(|r| r.key.clone()).collect());
        list("skipped", decision.skipped().map(|s| format!("{}={}", s.key, s.reason)).collect());
        annotations
    }

    /// `namespace/name`.
    fn gateway_name(&self) -> Option<String> {
        self.gateway.map(|gateway| format!("{}/{}", gateway.namespace, gateway.name))
    }

    fn record(&self, time: Timestamp, microseconds: u64) -> Record<'_> {
        let Conclusion { review, decision, .. } = self;
        let mentioned = decision.annotations.any() || !decision.annotations.skipped.is_empty();
        Record {
            target: "audit",
            version: 1,
            time,
            uid: &review.uid,
            user: &review.user,
            operation: review.operation,
            dry_run: review.dry_run,
            service: review.service_name(),
            gateway: self.gateway_name(),
            extractor: self.gateway.and_then(|gateway| gateway.extractor),
            outcome: decision.outcome,
            error: self.error,
            labels: (&decision.labels).into(),
            annotations: mentioned.then_some((&decision.annotations).into()),
            microseconds,
        }
    }
}

/// As many names as fit, then how many more there are.
fn joined(names: &[String]) -> String {
    match fitting(names, ",", ANNOTATION_BYTES) {
        (text, 0) => text,
        (text, more) => format!("{text} and {more} more"),
    }
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
