// SPDX-License-Identifier: Apache-2.0
//! When to announce which address on one interface. Pure; the sender makes the frames, and asks for the right to
//! each of them again directly before it goes out.
//!
//! An address is announced at once, repeated, then refreshed for as long as it stays. First announcements overtake
//! repetitions, and all of them together are paced.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

/// 1100 ms: outlasts Linux' `locktime`, the 1 s in which it ignores a second update of a neighbour.
pub const SPACING: Duration = Duration::from_millis(1100);
/// One minute: switches forget a silent address after five.
pub const REFRESH: Duration = Duration::from_mins(1);
/// Four more after the first: receivers that missed one, or were in `locktime`, get another.
const ARP_REPEATS: u8 = 4;
/// Two more after the first: `MAX_NEIGHBOR_ADVERTISEMENT` in all (RFC 4861 §10).
const NA_REPEATS: u8 = 2;
/// 1 ms per address: the last of 1,000 begins within 2 s, with as much to spare.
const PACE: Duration = Duration::from_millis(1);
/// How many paces may be made up for at once: 16 ms, what a late wake-up on a busy machine may cost.
const BURST: u32 = 16;

/// The announcements of one interface. Times are readings of one monotonic clock.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    addresses: BTreeMap<IpAddr, Next>,
    /// First announcements, by time.
    first: BTreeSet<(Duration, IpAddr)>,
    /// Repetitions and refreshes, by time.
    later: BTreeSet<(Duration, IpAddr)>,
    /// When the pace allows another one.
    slot: Duration,
}

/// An address's next announcement.
#[derive(Clone, Copy, Debug)]
struct Next {
    at: Duration,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    First,
    /// In defence against another host: it is not repeated (RFC 5227 §2.4).
    Defence,
    /// How many are to come, this one included.
    Repeat(u8),
    Refresh,
}

impl Schedule {
    /// Announces an address from now on, or from the start again: it was taken.
    pub fn start(&mut self, address: IpAddr, now: Duration) {
        self.cancel(address);
        self.plan(address, Next { at: now, stage: Stage::First });
    }

    /// Announces an address once from now on, and then only refreshes it: another host used it.
    pub fn defend(&mut self, address: IpAddr, now: Duration) {
        self.cancel(address);
        self.plan(address, Next { at: now, stage: Stage::Defence });
    }

    /// Announces everything from the start again: the link came up, or its hardware address changed.
    pub fn restart(&mut self, now: Duration) {
        let addresses: Vec<_> = self.addresses.keys().copied().collect();
        for address in addresses {
            self.start(address, now);
        }
    }

    /// Forgets an address at once; whether it was known.
    pub fn cancel(&mut self, address: IpAddr) -> bool {
        let Some(next) = self.addresses.remove(&address) else { return false };
        self.queue(next.stage).remove(&(next.at, address));
        true
    }

    /// Starts the addresses that are new and forgets those that are gone; the others go on as they were.
    pub fn sync(&mut self, addresses: &BTreeSet<IpAddr>, now: Duration) {
        let gone: Vec<_> =
            self.addresses.keys().filter(|known| !addresses.contains(known)).copied().collect();
        for address in gone {
            self.cancel(address);
        }
        for &address in addresses {
            if !self.addresses.contains_key(&address) {
                self.start(address, now);
            }
        }
    }

    /// The addresses to announce now, each once. What the pace does not allow yet stays due.
    pub fn due(&mut self, now: Duration) -> Vec<IpAddr> {
        let mut due = Vec::new();
        while self.slot <= now {
            let Some(address) = self.pop(now) else { break };
            self.slot = self.slot.max(now.saturating_sub(PACE * BURST)) + PACE;
            due.push(address);
        }
        due
    }

    /// When [`Schedule::due`] will next have something; none if nothing is announced.
    pub fn next_deadline(&self) -> Option<Duration> {
        let first = self.first.first().into_iter().chain(self.later.first());
        first.map(|(at, _)| *at).min().map(|at| at.max(self.slot))
    }

    /// Takes what is due out of its queue and plans what follows it.
    fn pop(&mut self, now: Duration) -> Option<IpAddr> {
        let ready =
            |queue: &BTreeSet<(Duration, IpAddr)>| queue.first().copied().filter(|(at, _)| *at <= now);
        let (_, address) = ready(&self.first).or_else(|| ready(&self.later))?;
        let stage = self.addresses.get(&address)?.stage;
        self.cancel(address);
        let (stage, delay) = match stage {
            Stage::First => (Stage::Repeat(repeats(address)), SPACING),
            Stage::Repeat(more @ 2..) => (Stage::Repeat(more - 1), SPACING),
            Stage::Defence | Stage::Repeat(_) | Stage::Refresh => (Stage::Refresh, REFRESH),
        };
        self.plan(address, Next { at: now + delay, stage });
        Some(address)
    }

    fn plan(&mut self, address: IpAddr, next: Next) {
        self.addresses.insert(address, next);
        self.queue(next.stage).insert((next.at, address));
    }

    fn queue(&mut self, stage: Stage) -> &mut BTreeSet<(Duration, IpAddr)> {
        match stage {
            Stage::First | Stage::Defence => &mut self.first,
            Stage::Repeat(_) | Stage::Refresh => &mut self.later,
        }
    }
}

fn repeats(address: IpAddr) -> u8 {
    if address.is_ipv4() { ARP_REPEATS } else { NA_REPEATS }
}

#[cfg(test)]
mod tests;
