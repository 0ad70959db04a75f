// SPDX-License-Identifier: Apache-2.0
//! Where commands read from: a cluster, or files.

use std::collections::BTreeSet;

use gateherald_model::rules::Rules;

use crate::{
    args::{Global, Input},
    io::{
        asking, clock,
        cluster::{self, Cluster},
        files,
        lists::{self, Depth},
        terminal::tell,
    },
    picture::Picture,
    snapshot::{Snapshot, files as documents},
    trace,
};

/// Where is read from.
pub(crate) enum Source {
    /// A cluster.
    Cluster(Box<Cluster>),
    /// Files, which were read.
    Files(Box<Snapshot>, Option<Rules>),
}

impl Source {
    /// Finds it: files if some are named.
    pub(crate) async fn open(global: &Global, input: &Input) -> anyhow::Result<Self> {
        if input.filename.is_empty() {
            return Ok(Self::Cluster(Box::new(cluster::connect(global).await?)));
        }
        let mut snapshot = Snapshot::empty(clock::now());
        let sources = files::read(&input.filename)?;
        let extras = documents::load(&mut snapshot, &sources)?;
        if !extras.ignored.is_empty() {
            tell(&format!("ignored: objects of kind {}", extras.ignored.join(", ")));
        }
        documents::close(&mut snapshot);
        if let Some(namespace) = &global.namespace {
            snapshot.narrow(namespace);
        }
        Ok(Self::Files(Box::new(snapshot), extras.rules))
    }

    /// Reads a snapshot, and asks announcers where only they know why an address is silent.
    pub(crate) async fn snapshot(&self, depth: Depth) -> anyhow::Result<(Snapshot, Option<Rules>)> {
        let cluster = match self {
            Self::Files(snapshot, rules) => return Ok(((**snapshot).clone(), rules.clone())),
            Self::Cluster(cluster) => cluster,
        };
        let mut snapshot = lists::snapshot(cluster, depth).await?;
        let asked = unexplained(&snapshot);
        if !asked.is_empty() {
            snapshot.announcers = asking::announcers(cluster, &asked).await;
        }
        if depth == Depth::Everything {
            let questions = asking::questions(cluster, &Picture::new(&snapshot, None)).await;
            snapshot.questions = questions;
        }
        Ok((snapshot, None))
    }

    /// Where a name without a namespace is looked up.
    pub(crate) fn namespace(&self, global: &Global) -> Option<String> {
        match self {
            Self::Cluster(cluster) => Some(cluster.namespace.clone()),
            Self::Files(..) => global.namespace.clone(),
        }
    }
}

/// The nodes with a session, if an address is silent or doubtful for a reason that only an announcer knows: its links.
fn unexplained(snapshot: &Snapshot) -> BTreeSet<String> {
    let picture = Picture::new(snapshot, None);
    let traces = trace::all(&picture);
    let silent =
        traces.iter().flat_map(trace::Trace::findings).any(|finding| matches!(finding.code.0, 41 | 45 | 46));
    let alive = picture.sessions.iter().filter(|(_, facts)| facts.session.id.is_some());
    if silent { alive.map(|(node, _)| node.clone()).collect() } else { BTreeSet::new() }
}

/// Says what could not be read, so that what is not there is not taken for missing.
pub(crate) fn tell_gaps(snapshot: &Snapshot) {
    for gap in snapshot.gaps() {
        tell(&format!("not read: {gap}"));
    }
}
