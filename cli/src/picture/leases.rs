// SPDX-License-Identifier: Apache-2.0
//! Sessions and claims, and what announcers tell about the links of their nodes.

use std::{collections::BTreeMap, net::IpAddr};

use gateherald_model::leases::{self, Claim, LinkNote, Record, Session};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;

use crate::snapshot::{Named, Snapshot};

/// Clocks of two machines differ; a session that is late by no more than this, beside its duration, is not called silent.
const CLOCKS_DIFFER: i64 = 10;

/// A session.
#[derive(Clone, Debug)]
pub(crate) struct SessionFacts {
    pub(crate) lease: String,
    pub(crate) session: Session,
    /// The last renewal, by the clock of its node. Idle sessions are not renewed.
    pub(crate) renewed: Option<Timestamp>,
}

/// A claim.
#[derive(Clone, Debug)]
pub(crate) struct ClaimFacts {
    pub(crate) lease: String,
    pub(crate) claim: Claim,
    /// Since when its holder has it, by the clock of the holder's node.
    pub(crate) since: Option<Timestamp>,
}

/// What is known of a node's links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Links {
    /// Those that policies select.
    pub(crate) selected: Vec<LinkNote>,
    /// All of them by name, if the announcer itself was asked and had a reason to tell.
    pub(crate) names: Vec<String>,
}

impl SessionFacts {
    /// Whether it was not renewed for so long that other nodes take its addresses.
    pub(crate) fn is_silent(&self, now: Timestamp) -> bool {
        let limit = i64::from(self.session.duration_seconds) + CLOCKS_DIFFER;
        self.renewed.is_some_and(|renewed| now.as_second() - renewed.as_second() > limit)
    }
}

/// Reads all Leases that are ours.
pub(crate) fn read(snapshot: &Snapshot) -> (BTreeMap<String, SessionFacts>, BTreeMap<IpAddr, ClaimFacts>) {
    let (mut sessions, mut claims) = (BTreeMap::new(), BTreeMap::new());
    for lease in &snapshot.leases.items {
        let name = lease.key().1.to_owned();
        let (renewed, acquired) = times(lease);
        match leases::read(&versioned(lease)) {
            Ok((_, Record::Session(session))) => {
                sessions.insert(session.node.clone(), SessionFacts { lease: name, session, renewed });
            }
            Ok((_, Record::Claim(claim))) => {
                claims.insert(claim.address, ClaimFacts { lease: name, claim, since: acquired });
            }
            Err(_) => {}
        }
    }
    (sessions, claims)
}

/// A Lease from a file may have been stripped of what only a server gives; nothing is written by it here.
fn versioned(lease: &Lease) -> Lease {
    let mut lease = lease.clone();
    lease.metadata.uid.get_or_insert_default();
    lease.metadata.resource_version.get_or_insert_with(|| "1".to_owned());
    lease
}

fn times(lease: &Lease) -> (Option<Timestamp>, Option<Timestamp>) {
    let spec = lease.spec.as_ref();
    let time = |time: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>| time.map(|t| t.0);
    (time(spec.and_then(|s| s.renew_time.as_ref())), time(spec.and_then(|s| s.acquire_time.as_ref())))
}

/// What sessions and announcers tell.
pub(crate) fn links(
    snapshot: &Snapshot,
    sessions: &BTreeMap<String, SessionFacts>,
) -> BTreeMap<String, Links> {
    let mut links: BTreeMap<String, Links> = sessions
        .iter()
        .map(|(node, facts)| {
            let selected = facts.session.links.clone();
            (node.clone(), Links { names: selected.iter().map(|link| link.name.clone()).collect(), selected })
        })
        .collect();
    for page in &snapshot.announcers {
        let known = links.entry(page.node.clone()).or_default();
        for refusal in page.not_announced.iter().filter(|refusal| refusal.reason == "NoInterface") {
            // `NoInterface: enp1s0: NotMatched, lo: Loopback`, as the model writes it.
            let list = refusal.detail.strip_prefix("NoInterface: ").unwrap_or_default();
            known
                .names
                .extend(list.split(", ").filter_map(|entry| Some(entry.split_once(": ")?.0.to_owned())));
        }
        known.names.sort();
        known.names.dedup();
    }
    links
}
