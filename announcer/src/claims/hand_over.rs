// SPDX-License-Identifier: Apache-2.0
//! Moves: a node asks for an address by its session, and the holder gives it up in that node's favour.
//!
//! The asking node knows whether it can announce the address; the holder would have to guess. And it renews its session
//! while it asks, so it is fresh and takes the address with one write.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use gateherald_model::leases::Holder;

use super::knowledge::SessionSeen;
use super::time::Now;
use super::{Claims, Want};

/// A session asks for so many addresses at once; a Lease is written every renew period.
const BIDS: usize = 256;
/// 60 s: whoever did not take an address that was given up for it is not offered that one again before.
const AGAIN: Duration = Duration::from_mins(1);

/// To whom a holder gives an address up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heir {
    /// To nobody.
    None,
    /// Perhaps to somebody, in so long.
    Later(Duration),
    /// To this node.
    Node(String),
}

impl Claims {
    /// Asks for an address that another node holds, or no longer.
    pub(super) fn bid(&mut self, address: IpAddr, want: Option<&Want>) {
        let me = &self.config.node;
        let elsewhere = match self.leases.claims.get(&address).and_then(|seen| seen.claim()) {
            Some(claim) => matches!(&claim.holder, Holder::Session { node, .. } if node != me),
            None => false,
        };
        let titled = self.hands.get(&address).is_some_and(|hand| hand.titled());
        let asks = want.is_some_and(|want| {
            !want.leaving && (want.preferred_node.as_ref() == Some(me) || self.balance.bids_for(address))
        });
        if elsewhere && !titled && asks {
            self.bids.insert(address);
        } else {
            self.bids.remove(&address);
        }
    }

    /// The bids that the own session tells.
    pub(super) fn told_bids(&self) -> BTreeSet<IpAddr> {
        self.bids.iter().take(BIDS).copied().collect()
    }

    /// Who shall have an address that this node has title to: one who asks for it and is alive, and whom somebody prefers
    /// or who has less.
    pub(super) fn heir(&self, address: IpAddr, want: &Want, now: Now) -> Heir {
        let handed = self.hands.get(&address).and_then(|hand| hand.handed);
        let mut heir = Heir::None;
        for (node, seen) in &self.leases.sessions {
            let asks = seen.record.as_ref().is_some_and(|(_, session)| session.bids.contains(&address));
            if !asks || *node == self.config.node || !recent(seen, now) {
                continue;
            }
            let left = match &want.preferred_node {
                Some(preferred) if preferred == node => Duration::ZERO,
                preferred => {
                    let keeps = preferred.as_ref() == Some(&self.config.node);
                    match self.less_loaded(node, now).filter(|_| !keeps) {
                        Some(left) => left,
                        None => continue,
                    }
                }
            };
            let again = handed.map_or(Duration::ZERO, |at| AGAIN.saturating_sub(now.at_least_since(at)));
            match left.max(again) {
                Duration::ZERO => return Heir::Node(node.clone()),
                left => heir = Heir::Later(left),
            }
        }
        heir
    }
}

/// A bidder renews its session several times in half of its D.
fn recent(seen: &SessionSeen, now: Now) -> bool {
    let alive = seen.record.as_ref().filter(|(_, session)| session.id.is_some() && !session.other_format);
    alive.is_some_and(|(_, session)| {
        let half = Duration::from_millis(500 * u64::from(session.duration_seconds));
        now.at_least_since(seen.received) < half
    })
}
