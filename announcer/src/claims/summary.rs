// SPDX-License-Identifier: Apache-2.0
//! What follows from all claims together, kept until one of them changes: a process that only renews its session looks at
//! none of the thousands that it may hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use gateherald_model::leases::Holder;

use super::Claims;
use super::knowledge::LastHolder;

/// It is true of the state after the last [`Claims::claims_step`]: whatever changes a hand, a claim or a want has that step
/// look at the address, or marks this as stale.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// A change that no address stands for.
    pub(super) stale: bool,
    /// The addresses with title that are wanted.
    pub(super) titles: Arc<BTreeSet<IpAddr>>,
    /// Those of them that probes come before, with their number.
    pub(super) probes: BTreeMap<IpAddr, u8>,
    /// The addresses that are being taken for the first time.
    pub(super) sought: Arc<BTreeSet<IpAddr>>,
    /// Whether there is any title, wanted or not.
    pub(super) titled: bool,
    /// Who is named by a wanted claim: a node and its session, or a node with a session of another format.
    pub(super) named: BTreeSet<(String, Option<String>)>,
}

impl Claims {
    /// Looks at all claims.
    pub(super) fn summarize(&mut self) {
        let wanted = || self.hands.iter().filter(|(address, _)| self.wants.contains_key(address));
        let owned = || wanted().filter(|(_, hand)| hand.titled());
        let sought = wanted().filter(|(_, hand)| hand.sought && !hand.titled());
        let summary = Summary {
            stale: false,
            titles: updated(&self.summary.titles, owned().map(|(address, _)| *address)),
            probes: owned().filter(|(_, h)| h.probes > 0).map(|(address, h)| (*address, h.probes)).collect(),
            sought: updated(&self.summary.sought, sought.map(|(address, _)| *address)),
            titled: self.hands.values().any(|hand| hand.titled()),
            named: self.named(),
        };
        self.summary = summary;
    }

    fn named(&self) -> BTreeSet<(String, Option<String>)> {
        let mut named = BTreeSet::new();
        let mut last = None;
        for seen in self.wants.keys().filter_map(|address| self.leases.claims.get(address)) {
            let name = match (seen.claim().map(|claim| &claim.holder), &seen.last) {
                (Some(Holder::Session { node, session }), _)
                | (None, Some(LastHolder { node, session: Some(session), .. })) => (node, Some(session)),
                (Some(Holder::OtherFormat { node }), _) => (node, None),
                _ => continue,
            };
            // Most are of a few nodes: only what differs from the one before is worth two copies.
            if last != Some(name) {
                named.insert((name.0.clone(), name.1.cloned()));
                last = Some(name);
            }
        }
        named
    }
}

/// The same set as before where nothing has changed, so that whoever compares need not look into it.
fn updated(old: &Arc<BTreeSet<IpAddr>>, new: impl Iterator<Item = IpAddr> + Clone) -> Arc<BTreeSet<IpAddr>> {
    if new.clone().eq(old.iter().copied()) { Arc::clone(old) } else { Arc::new(new.collect()) }
}
