// SPDX-License-Identifier: Apache-2.0
//! One row per address: whose it is, who has it, and how it is with it.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    finding::Finding,
    render::age,
    trace::{AddressTrace, State, Trace},
};

/// An address, or a Service that waits for one.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) address: Option<IpAddr>,
    pub(crate) services: Vec<String>,
    pub(crate) gateways: Vec<String>,
    pub(crate) pools: Vec<String>,
    pub(crate) policies: Vec<String>,
    pub(crate) holder: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) interfaces: Vec<String>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) transitions: u32,
    pub(crate) state: RowState,
    /// The first thing that is wrong.
    pub(crate) problem: Option<Finding>,
}

/// How it is with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RowState {
    /// Somebody holds it, and nothing speaks against that.
    Announced,
    /// Somebody holds it, and something is not as it should be.
    Doubtful,
    /// Nobody holds it, or the holder is silent.
    Silent,
    /// There is no address yet.
    Pending,
    /// Whoever holds it could not be read.
    Unknown,
}

impl RowState {
    /// As it is shown.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::Doubtful => "doubtful",
            Self::Silent => "silent",
            Self::Pending => "pending",
            Self::Unknown => "unknown",
        }
    }
}

/// The rows of these chains, by address; Services without one come last.
pub(crate) fn rows(traces: &[&Trace]) -> Vec<Row> {
    let mut shared: BTreeMap<IpAddr, Row> = BTreeMap::new();
    let mut pending = Vec::new();
    for trace in traces {
        for of in &trace.addresses {
            let row = row(trace, of);
            match of.address {
                None => pending.push(row),
                Some(address) => match shared.get_mut(&address) {
                    Some(other) => other.join(row),
                    None => drop(shared.insert(address, row)),
                },
            }
        }
    }
    shared.into_values().chain(pending).collect()
}

fn row(trace: &Trace, of: &AddressTrace) -> Row {
    let holding = &of.holding;
    let shared = [&trace.to_service, &trace.labels, &trace.pool, &trace.policy];
    let links = || shared.into_iter().chain(of.links());
    let worst = links().map(|link| link.state).max().unwrap_or_default();
    let state = match (of.address, &holding.node) {
        (None, _) => RowState::Pending,
        (Some(_), _) if of.claim.state == State::Unknown => RowState::Unknown,
        (Some(_), None) => RowState::Silent,
        (Some(_), Some(_)) if of.links().any(|link| link.state == State::Broken) => RowState::Silent,
        (Some(_), Some(_)) if worst > State::Unknown => RowState::Doubtful,
        (Some(_), Some(_)) => RowState::Announced,
    };
    let mut problems: Vec<&Finding> = links().flat_map(|link| &link.findings).collect();
    problems.sort_by_key(|finding| finding.severity);
    Row {
        address: of.address,
        services: trace.service.iter().map(ToString::to_string).collect(),
        gateways: trace.gateway.iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect(),
        pools: trace.pools.clone(),
        policies: trace.policies.iter().map(ToString::to_string).collect(),
        holder: holding.node.clone(),
        session: holding.session.clone(),
        // A claim that nobody holds still tells where it was announced last.
        interfaces: holding.node.iter().flat_map(|_| holding.interfaces.clone()).collect(),
        since: holding.since.filter(|_| holding.node.is_some()),
        transitions: holding.transitions,
        state,
        problem: problems.first().map(|finding| (*finding).clone()),
    }
}

impl Row {
    /// Another Service has the same address.
    fn join(&mut self, other: Self) {
        fn add(into: &mut Vec<String>, more: Vec<String>) {
            into.extend(more);
            into.sort();
            into.dedup();
        }
        add(&mut self.services, other.services);
        add(&mut self.gateways, other.gateways);
        add(&mut self.pools, other.pools);
        add(&mut self.policies, other.policies);
        let better = |state: RowState| match state {
            RowState::Announced => 0,
            RowState::Doubtful => 1,
            RowState::Unknown => 2,
            RowState::Silent | RowState::Pending => 3,
        };
        if better(other.state) < better(self.state) {
            self.state = other.state;
        }
        self.problem = self.problem.take().or(other.problem);
    }

    /// The columns of a table, the last four only when it may be wide.
    pub(crate) fn columns(&self, now: Timestamp, wide: bool) -> Vec<String> {
        let list = |list: &[String]| if list.is_empty() { "-".to_owned() } else { list.join(",") };
        let policies: Vec<String> = self.policies.iter().map(|id| short(id)).collect();
        let mut columns = vec![
            self.address.map_or_else(|| "<pending>".to_owned(), |address| address.to_string()),
            list(&self.services),
            list(&self.gateways),
            list(&policies),
            self.holder.clone().unwrap_or_else(|| "-".to_owned()),
            list(&self.interfaces),
            self.since.map_or_else(|| "-".to_owned(), |since| age(now, since)),
            self.state.name().to_owned(),
        ];
        if wide {
            let pools: Vec<String> = self.pools.iter().map(|id| short(id)).collect();
            columns.extend([
                list(&pools),
                self.session.clone().unwrap_or_else(|| "-".to_owned()),
                self.transitions.to_string(),
                self.problem.as_ref().map_or_else(|| "-".to_owned(), |f| format!("{} {f}", f.code)),
            ]);
        }
        columns
    }
}

/// The headings of [`Row::columns`].
pub(crate) fn headings(wide: bool) -> Vec<String> {
    let all = [
        "ADDRESS",
        "SERVICE",
        "GATEWAY",
        "POLICY",
        "HOLDER",
        "INTERFACE",
        "SINCE",
        "STATE",
        "POOL",
        "SESSION",
        "MOVES",
        "PROBLEM",
    ];
    all[..if wide { 12 } else { 8 }].iter().map(|heading| (*heading).to_owned()).collect()
}

/// `Kind/name` without its kind.
fn short(id: &str) -> String {
    id.split_once('/').map_or(id, |(_, name)| name).to_owned()
}
