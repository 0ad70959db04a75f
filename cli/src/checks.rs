// SPDX-License-Identifier: Apache-2.0
//! All checks over one picture.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    codes::{CHECKS, Check},
    finding::{Code, Finding, Severity},
    picture::Picture,
    snapshot::Gap,
    trace::Trace,
};

mod announcing;
mod certificates;
mod neighbours;
mod server;
mod webhook;

/// What came of all checks, in the order of their codes.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) results: Vec<CheckResult>,
}

/// What came of one check.
#[derive(Clone, Debug)]
pub(crate) struct CheckResult {
    pub(crate) check: &'static Check,
    pub(crate) outcome: Outcome,
    /// More about it: a version, a number.
    pub(crate) note: String,
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "outcome")]
pub(crate) enum Outcome {
    /// It holds.
    Passed,
    /// It does not.
    Failed {
        /// What is wrong, sorted.
        findings: Vec<Finding>,
    },
    /// It could not be made.
    Skipped {
        /// Why: the right that is missing.
        why: String,
    },
}

/// What one check says before it is put in order.
pub(crate) enum Verdict {
    /// These things are wrong; none: it holds.
    Found(Vec<Finding>),
    /// It holds, and this is worth a word.
    Good(String),
    /// It could not be made.
    Skipped(String),
}

impl Verdict {
    /// What could not be read says why.
    fn skipped(gap: &Gap) -> Self {
        Self::Skipped(gap.to_string())
    }
}

impl Report {
    /// Makes all checks.
    pub(crate) fn new(picture: &Picture<'_>, traces: &[Trace]) -> Self {
        let mut found: BTreeMap<Code, Vec<Finding>> = BTreeMap::new();
        for finding in traces.iter().flat_map(Trace::findings) {
            found.entry(finding.code).or_default().push(finding.clone());
        }
        let result = |check: &'static Check| {
            let (outcome, note) =
                conclude(verdict(picture, check.code, found.remove(&check.code).unwrap_or_default()));
            CheckResult { check, outcome, note }
        };
        Self { results: CHECKS.iter().map(result).collect() }
    }

    /// Everything that was found.
    pub(crate) fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.results.iter().flat_map(|result| match &result.outcome {
            Outcome::Failed { findings } => findings.as_slice(),
            Outcome::Passed | Outcome::Skipped { .. } => &[],
        })
    }

    /// Whether an address is, or will be, silent.
    pub(crate) fn has_errors(&self) -> bool {
        self.findings().any(|finding| finding.severity == Severity::Error)
    }
}

fn conclude(verdict: Verdict) -> (Outcome, String) {
    match verdict {
        Verdict::Found(findings) if findings.is_empty() => (Outcome::Passed, String::new()),
        Verdict::Found(mut findings) => {
            findings.sort();
            findings.dedup();
            (Outcome::Failed { findings }, String::new())
        }
        Verdict::Good(note) => (Outcome::Passed, note),
        Verdict::Skipped(why) => (Outcome::Skipped { why }, String::new()),
    }
}

/// `found` is what the chains tell under this code.
fn verdict(picture: &Picture<'_>, code: Code, found: Vec<Finding>) -> Verdict {
    let with = |more: Vec<Finding>| Verdict::Found(found.iter().cloned().chain(more).collect());
    match code.0 {
        1 => server::version(picture),
        2 => server::gateway_api(picture),
        3 => server::policy_kinds(picture),
        4 => server::versions(picture),
        10 => webhook::registered(picture),
        11 => webhook::endpoints(picture),
        12 => webhook::served(picture),
        13 => certificates::days_left(picture),
        14 => webhook::registration(picture),
        15 => webhook::dry_run(picture),
        16 => webhook::fail_open(picture),
        26 => server::label_rules(picture),
        _ if found.is_empty() && !unread(picture, code).is_empty() => all_of(&unread(picture, code)),
        30 => with(announcing::pools(picture)),
        32 => with(announcing::validity(picture)),
        40 => with(announcing::sessions(picture)),
        43 => with(announcing::nodes(picture)),
        48 => with(announcing::opted_out(picture)),
        60 => neighbours::cilium(picture),
        61 => neighbours::cilium_leases(picture),
        62 => neighbours::metallb(picture),
        63 => neighbours::kube_vip(picture),
        64 => neighbours::conflicts(picture),
        65 => neighbours::single_api_server(picture),
        66 => neighbours::kube_proxy(picture),
        _ => Verdict::Found(found),
    }
}

/// Everything that is missing, so that it need not be found out one by one.
fn all_of(gaps: &[&Gap]) -> Verdict {
    let mut told: Vec<String> = gaps.iter().map(ToString::to_string).collect();
    told.dedup();
    Verdict::Skipped(told.join("; "))
}

/// Without these lists nothing can be said.
fn unread<'a>(picture: &Picture<'a>, code: Code) -> Vec<&'a Gap> {
    let s = picture.snapshot;
    let (gateways, services, slices) = (s.gateways.unknown(), s.services.unknown(), s.slices.unknown());
    let (ours, ciliums) = (s.policies.unknown(), s.cilium_policies.unknown());
    let (nodes, leases, sets) = (s.nodes.unknown(), s.leases.unknown(), s.daemon_sets.unknown());
    let gaps = match code.0 {
        20..=25 => vec![gateways, services],
        30 => vec![services, s.cilium_pools.unreadable(), s.metallb_pools.unreadable()],
        31..=35 => vec![services, ours, ciliums],
        40 | 41 | 44 | 45 | 46 => vec![services, ours, ciliums, nodes, leases],
        42 | 49 => vec![leases],
        43 | 48 => vec![ours, ciliums, nodes],
        47 => vec![services, slices],
        60 | 66 => vec![s.config_maps.unknown()],
        61 => vec![s.cilium_leases.unknown()],
        62 | 63 => vec![sets],
        64 => vec![services],
        65 => vec![slices, sets],
        _ => Vec::new(),
    };
    gaps.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
