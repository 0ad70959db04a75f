// SPDX-License-Identifier: Apache-2.0
//! What this node may say for an address: [`Rights`] as the ownership rules grant them, [`InForce`] as the answering
//! thread applies them. Pure; the thread asks [`InForce::cover`] directly before each frame.
//!
//! A held right rests on hearing: it is good as long as whoever takes the address over would have been heard. So
//! `InForce` ends it by itself, before the claims know, when another host speaks for the address and when the process
//! may have missed that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::time::{Deadline, Now};

/// 250 ms: whoever stood still for longer may have missed others' probes, or answer before reading them.
pub(super) const GAP: Duration = Duration::from_millis(250);
/// 100 ms: how often the thread must show that it runs, while anything is held.
const PULSE: Duration = Duration::from_millis(100);
/// 20 ms between probes, and after the last one before the first word.
const PROBE_SPACING: Duration = Duration::from_millis(20);
/// So many probes where another node may still answer under a held right: two may be lost.
pub(super) const PROBES: u8 = 3;

/// Names one grant of a held right; later grants have higher ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Round(pub u64);

/// What this node may answer for.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    /// Until when the titles are good; none: not at all.
    pub deadline: Option<Deadline>,
    /// The addresses it has title to and wants.
    pub titles: Arc<BTreeSet<IpAddr>>,
    /// The addresses it may go on answering for, and never announce, while the API server is away.
    pub held: Arc<BTreeMap<IpAddr, Round>>,
    /// So many probes before the first word for an address under a new right.
    pub probes: Arc<BTreeMap<IpAddr, u8>>,
    /// When this was granted; a held right that comes into force much later was granted to somebody who slept.
    pub as_of: Now,
}

/// What may be said for an address at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// Answers and announcements (fresh ∧ title of rule 7), until then.
    Fresh(Deadline),
    /// Answers alone.
    Held,
    /// Nothing but probes: first it must be known that nobody else answers.
    Probing,
    /// Nothing.
    None,
}

/// What the answering thread noticed that bears on ownership. To lose one is safe: the thread has acted on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Another host asked whether the address is free; a held right to it is over.
    Probed {
        /// The address.
        address: IpAddr,
        /// Who asked.
        by: [u8; 6],
    },
    /// Another host answered for the address or announced it; a held right to it is over.
    Claimed {
        /// The address.
        address: IpAddr,
        /// Who spoke.
        by: [u8; 6],
    },
    /// An address was probed for and nobody answered: whoever had it before is silent.
    Quiet(IpAddr),
    /// The process stood still while something was held; every held right is over.
    Gap,
    /// Another host uses an address with title: whether the title is still good should be known soon.
    Conflict(IpAddr),
}

impl Rights {
    /// Whether a frame may speak for this address now as its owner (fresh ∧ title of rule 7).
    pub fn cover(&self, address: IpAddr, now: Now) -> bool {
        self.deadline.is_some_and(|deadline| !deadline.passed(now)) && self.titles.contains(&address)
    }

    /// Whether they rest on a write of the own session that was sent after `since` and has come back in the watch: whatever
    /// changed before `since` is known.
    pub fn confirmed_since(&self, since: Now) -> bool {
        self.deadline.is_some_and(|deadline| {
            let start = deadline.start();
            start.raw > since.raw && start.boot > since.boot
        })
    }
}

impl PartialEq for Rights {
    /// The same rights, whenever they were granted.
    fn eq(&self, other: &Self) -> bool {
        let parts =
            |it: &Self| (it.deadline, Arc::clone(&it.titles), Arc::clone(&it.held), Arc::clone(&it.probes));
        parts(self) == parts(other)
    }
}

impl Eq for Rights {}

/// [`Rights`] in the hands of the answering thread.
#[derive(Debug, Default)]
pub struct InForce {
    rights: Rights,
    /// When the thread ran last, while anything is held.
    ran: Now,
    /// Held rights of rounds up to this one are over.
    over: Round,
    /// Addresses whose held right of this round is over.
    silenced: BTreeMap<IpAddr, Round>,
    probing: BTreeMap<IpAddr, Probing>,
}

/// What [`InForce::probes_due`] says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ProbesDue {
    /// Send one probe for each of these.
    pub send: Vec<IpAddr>,
    /// For the claims: nobody answered for these.
    pub quiet: Vec<Heard>,
}

#[derive(Debug)]
struct Probing {
    left: u8,
    /// When the next one is due, or the last one has gone unanswered (raw clock).
    next: Duration,
}

impl InForce {
    /// The rights as they were granted.
    pub fn rights(&self) -> &Rights {
        &self.rights
    }

    /// These rights hold from here on.
    pub fn put(&mut self, rights: Rights, now: Now) -> Option<Heard> {
        let heard = self.ran(now);
        let before = std::mem::replace(&mut self.rights, rights);
        let heard = heard.or_else(|| {
            let late = now.at_most_since(self.rights.as_of) > GAP;
            (late && self.rights.held.values().any(|round| *round > self.over)).then(|| self.end_all())
        });
        self.ran = now;
        let held = &self.rights.held;
        self.silenced.retain(|address, round| held.get(address) == Some(round));
        let titled = self.rights.titles.iter().filter(|address| !before.titles.contains(*address)).copied();
        let newly_held =
            held.iter().filter(|(address, round)| before.held.get(*address) != Some(round)).map(|(a, _)| *a);
        let begin: Vec<(IpAddr, u8)> =
            titled.chain(newly_held).filter_map(|a| Some((a, *self.rights.probes.get(&a)?))).collect();
        let rights = &self.rights;
        self.probing.retain(|a, _| rights.titles.contains(a) || rights.held.contains_key(a));
        for (address, left) in begin {
            self.probing.insert(address, Probing { left, next: now.raw });
        }
        heard
    }

    /// The thread runs: call it at each turn, before frames are read.
    pub fn ran(&mut self, now: Now) -> Option<Heard> {
        let stood_still = now.at_most_since(self.ran) > GAP && self.holds_anything();
        self.ran = now;
        stood_still.then(|| self.end_all())
    }

    /// When [`InForce::ran`] or [`InForce::probes_due`] must be called again, on the raw clock.
    pub fn next_deadline(&self) -> Option<Duration> {
        let pulse = self.holds_anything().then(|| self.ran.raw + PULSE);
        pulse.into_iter().chain(self.probing.values().map(|probing| probing.next)).min()
    }

    /// The addresses to send one probe for now, and those that may be spoken for from now on.
    pub fn probes_due(&mut self, now: Now) -> ProbesDue {
        let mut due = ProbesDue::default();
        self.probing.retain(|address, probing| {
            if probing.next > now.raw {
                return true;
            }
            if probing.left > 0 {
                probing.left -= 1;
                probing.next = now.raw + PROBE_SPACING;
                due.send.push(*address);
                return true;
            }
            due.quiet.push(Heard::Quiet(*address));
            false
        });
        due
    }

    /// Whether more probes for the address follow.
    #[cfg(test)]
    pub(super) fn probing_more(&self, address: IpAddr) -> bool {
        self.probing.get(&address).is_some_and(|probing| probing.left > 0)
    }

    /// What may be said for an address now.
    pub fn cover(&self, address: IpAddr, now: Now) -> Cover {
        let cover = match self.rights.deadline {
            Some(deadline) if self.rights.cover(address, now) => Cover::Fresh(deadline),
            _ if self.may_hold(address) && now.at_most_since(self.ran) <= GAP => Cover::Held,
            _ => return Cover::None,
        };
        if self.probing.contains_key(&address) { Cover::Probing } else { cover }
    }

    /// Whether it is not known yet whether anybody else answers for the address.
    pub fn probes(&self, address: IpAddr) -> bool {
        self.probing.contains_key(&address)
    }

    /// The addresses to hear about: whatever is covered, or would be.
    pub fn listens_to(&self) -> impl Iterator<Item = IpAddr> {
        let held = self.rights.held.keys().filter(|address| !self.rights.titles.contains(*address));
        self.rights.titles.iter().chain(held).copied()
    }

    /// Another host probed for the address, or (not `probe`) answered for it or announced it. None when no held right
    /// ends by it: then the frame is judged as if there were none.
    pub fn other_spoke(&mut self, address: IpAddr, probe: bool, by: [u8; 6]) -> Option<Heard> {
        let round = *self.rights.held.get(&address)?;
        if !self.may_hold(address) {
            return None;
        }
        self.silenced.insert(address, round);
        self.probing.remove(&address);
        Some(if probe { Heard::Probed { address, by } } else { Heard::Claimed { address, by } })
    }

    fn may_hold(&self, address: IpAddr) -> bool {
        let silenced = self.silenced.get(&address).copied().unwrap_or_default().max(self.over);
        self.rights.held.get(&address).is_some_and(|round| *round > silenced)
            && !self.rights.titles.contains(&address)
    }

    fn holds_anything(&self) -> bool {
        self.rights.held.keys().any(|address| self.may_hold(*address))
    }

    fn end_all(&mut self) -> Heard {
        self.over = self.rights.held.values().copied().max().unwrap_or_default().max(self.over);
        Heard::Gap
    }
}

#[cfg(test)]
mod tests;
