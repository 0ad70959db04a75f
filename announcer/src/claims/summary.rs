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
    /// Looks at all claims, once at each: there may be ten thousand, and hundreds of changes a second.
    pub(super) fn summarize(&mut self) {
        let (mut titles, mut probes, mut sought) = (Vec::new(), BTreeMap::new(), Vec::new());
        let mut holds_any = false;
        for (address, hand) in self.hands.iter().filter(|(_, hand)| hand.titled() || hand.sought) {
            holds_any |= hand.titled();
            if !self.wants.contains_key(address) {
                continue;
            }
            if hand.titled() {
                titles.push(*address);
                if hand.probes > 0 {
                    probes.insert(*address, hand.probes);
                }
            } else {
                sought.push(*address);
            }
        }
        self.summary = Summary {
            stale: false,
            titles: updated(&self.summary.titles, titles),
            probes,
            sought: updated(&self.summary.sought, sought),
            titled: holds_any,
            named: self.named(),
        };
    }

    fn named(&self) -> BTreeSet<(String, Option<String>)> {
        let mut named = BTreeSet::new();
        let mut last = None;
        let mut wanted = self.wants.keys().peekable();
        for (address, seen) in &self.leases.claims {
            while wanted.next_if(|wanted| *wanted < address).is_some() {}
            if wanted.peek() != Some(&address) {
                continue;
            }
            let name = match (seen.claim().map(|claim| &claim.holder), &seen.last) {
                (Some(Holder::Session { node, session }), _)
                | (None, Some(LastHolder { node, session: Some(session), .. })) => (node, Some(session)),
                (Some(Holder::OtherFormat { node }), _) => (node, None),
                _ => continue,
            };
            if last != Some(name) {
                named.insert(name);
                last = Some(name);
            }
        }
        named.into_iter().map(|(node, session)| (node.clone(), session.cloned())).collect()
    }
}

/// The same set as before where nothing has changed, so that whoever compares need not look into it.
fn updated(old: &Arc<BTreeSet<IpAddr>>, new: Vec<IpAddr>) -> Arc<BTreeSet<IpAddr>> {
    if new.iter().eq(old.iter()) { Arc::clone(old) } else { Arc::new(new.into_iter().collect()) }
}
