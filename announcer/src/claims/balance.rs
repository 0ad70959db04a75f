// SPDX-License-Identifier: Apache-2.0
//! `--rebalance slow`: a node that has less asks for one address at a time, after ownership has been quiet for a while.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use gateherald_model::leases::Holder;

use super::time::Now;
use super::{Claims, Phase};

/// 10 s between two moves, and from any other change of ownership to the next.
const PAUSE: Duration = Duration::from_secs(10);
/// 500 ms: the two nodes of a move did not see the last change at the same instant.
const SLACK: Duration = Duration::from_millis(500);

/// Whether addresses move without need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rebalance {
    /// Holders are sticky.
    #[default]
    Off,
    /// One address per 10 s moves to the emptiest node, while the difference is 2 or more.
    Slow,
}

/// What this process does about the balance.
#[derive(Debug, Default)]
pub(super) struct Balance {
    /// When an address changed hands last.
    changed: Now,
    bid: Option<IpAddr>,
    /// When to look again (raw clock).
    look: Duration,
}

impl Balance {
    pub(super) fn bids_for(&self, address: IpAddr) -> bool {
        self.bid == Some(address)
    }

    pub(super) fn changed(&mut self, now: Now) {
        self.changed = now;
    }
}

impl Claims {
    /// Asks for an address of a node that has at least two more, once ownership has been quiet; emptier nodes go first.
    pub(super) fn balance_step(&mut self, now: Now) {
        let (on, synced) = (self.config.rebalance == Rebalance::Slow, self.leases.synced);
        let Some(synced) = synced.filter(|_| on && self.phase == Phase::Running) else { return };
        let quiet = now.at_least_since(self.balance.changed.or_later(synced));
        if quiet < PAUSE {
            self.balance.look = now.raw + PAUSE.saturating_sub(quiet);
            self.withdraw();
        } else if self.balance.look <= now.raw {
            self.balance.look = now.raw + PAUSE;
            self.withdraw();
            if let Some(address) = self.surplus(quiet) {
                self.balance.bid = Some(address);
                self.dirty.insert(address);
            }
        }
        self.wake_in(self.balance.look.saturating_sub(now.raw), now);
    }

    /// An address of the fullest node that has at least two more than this one, and that may be announced here.
    fn surplus(&self, quiet: Duration) -> Option<IpAddr> {
        let me = self.config.node.as_str();
        let held = self.held_by_nodes();
        let mine = held.get(me).copied().unwrap_or_default();
        let emptier = held.iter().filter(|(node, held)| (**held, **node) < (mine, me)).count();
        let turn = PAUSE * (1 + u32::try_from(emptier).unwrap_or(u32::MAX - 1).min(100));
        if quiet < turn {
            return None;
        }
        let mine_to_take = |address: &IpAddr| {
            let want = self.wants.get(address)?;
            let free = !want.leaving && want.preferred_node.as_deref().is_none_or(|node| node == me);
            let claim = self.leases.claims.get(address)?.claim().filter(|_| free)?;
            let Holder::Session { node, session } = &claim.holder else { return None };
            let alive = self.leases.session_id(node) == Some(session);
            let theirs = held.get(node.as_str()).copied().filter(|theirs| *theirs >= mine + 2 && alive)?;
            Some((theirs, *address))
        };
        self.wants.keys().filter_map(mine_to_take).max_by_key(|(theirs, _)| *theirs).map(|(_, a)| a)
    }

    /// In how long this node may give an address to that one for the balance; none: not at all.
    pub(super) fn less_loaded(&self, node: &str, now: Now) -> Option<Duration> {
        if self.config.rebalance == Rebalance::Off {
            return None;
        }
        let held = self.held_by_nodes();
        let of = |node: &str| held.get(node).copied().unwrap_or_default();
        let since = self.balance.changed.or_later(self.leases.synced?);
        let left = PAUSE.saturating_sub(SLACK).saturating_sub(now.at_least_since(since));
        (of(&self.config.node) >= of(node) + 2).then_some(left)
    }

    /// How many addresses each living session's node holds.
    fn held_by_nodes(&self) -> BTreeMap<&str, usize> {
        let alive = self.leases.sessions.iter().filter(|(_, seen)| seen.id().is_some());
        let mut held: BTreeMap<&str, usize> = alive.map(|(node, _)| (node.as_str(), 0)).collect();
        for claim in self.leases.claims.values().filter_map(|seen| seen.claim()) {
            if let Holder::Session { node, session } = &claim.holder
                && self.leases.session_id(node) == Some(session)
                && let Some(held) = held.get_mut(node.as_str())
            {
                *held += 1;
            }
        }
        held
    }

    fn withdraw(&mut self) {
        if let Some(address) = self.balance.bid.take() {
            self.dirty.insert(address);
        }
    }
}
