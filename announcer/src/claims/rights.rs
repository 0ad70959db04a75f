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
/// 30 ms for a host that uses an address to answer the one probe before it is taken for the first time.
const ANSWER_WITHIN: Duration = Duration::from_millis(30);
/// 1 ms: how soon a probe is tried again whose answer would not have been heard yet.
const HEAR_AGAIN: Duration = Duration::from_millis(1);
/// 1 s: a probe that came before title counts for so long. Whoever fell silent because of it asks back after five.
const PROBE_COUNTS: Duration = Duration::from_secs(1);
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
    /// Addresses without a holder that this node is about to take: whether anybody uses them is asked, nothing is said for them.
    pub sought: Arc<BTreeSet<IpAddr>>,
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

    /// Whether they grant anything for the address, now or once it is known that nobody else has it.
    fn grant(&self, address: IpAddr) -> bool {
        self.titles.contains(&address) || self.held.contains_key(&address)
    }

    fn concern(&self, address: IpAddr) -> bool {
        self.grant(address) || self.sought.contains(&address)
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
        // Of sets that are shared the pointers alone are compared.
        self.deadline == other.deadline
            && self.titles == other.titles
            && self.held == other.held
            && self.probes == other.probes
            && self.sought == other.sought
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

/// Whether anybody else has an address.
#[derive(Debug)]
struct Probing {
    stage: Stage,
    /// When the first probe was sent, or the probing was begun.
    since: Now,
    /// How long an answer to each probe is waited for.
    wait: Duration,
}

#[derive(Debug)]
enum Stage {
    /// So many probes are left; the next one is due at that instant (raw clock), or the last one has gone unanswered then.
    Asking(u8, Duration),
    /// Nobody has answered, and there is no right yet.
    Unanswered,
    /// Somebody has: what that means is for others to say, but the address has not been found free.
    Answered,
}

impl Probing {
    /// Before a right that asks for more probes than one: somebody may answer by a held right.
    fn by_right(left: u8, now: Now) -> Self {
        let wait = if left > 1 { PROBE_SPACING } else { ANSWER_WITHIN };
        Self { stage: Stage::Asking(left, now.raw), since: now, wait }
    }

    fn counts(&self, now: Now) -> bool {
        now.at_most_since(self.since) <= PROBE_COUNTS
    }
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
        self.begin_probing(&before, now);
        heard
    }

    /// New rights begin with probes, unless those for what was sought count for them.
    fn begin_probing(&mut self, before: &Rights, now: Now) {
        let rights = &self.rights;
        self.probing.retain(|address, _| rights.concern(*address));
        let probes = |address: &IpAddr| rights.probes.get(address).copied();
        if !Arc::ptr_eq(&rights.titles, &before.titles) {
            for address in rights.titles.difference(&before.titles) {
                let Some(left) = probes(address) else { continue };
                match self.probing.get_mut(address) {
                    Some(probing) if left == 1 && before.sought.contains(address) && probing.counts(now) => {
                        if matches!(probing.stage, Stage::Unanswered) {
                            probing.stage = Stage::Asking(0, now.raw);
                        }
                    }
                    _ => drop(self.probing.insert(*address, Probing::by_right(left, now))),
                }
            }
        }
        let newly_held =
            rights.held.iter().filter(|(address, round)| before.held.get(*address) != Some(round));
        for (address, _) in newly_held {
            if let Some(left) = probes(address) {
                self.probing.insert(*address, Probing::by_right(left, now));
            }
        }
        for address in rights.sought.difference(&before.sought) {
            if !rights.grant(*address) {
                self.probing.entry(*address).or_insert_with(|| Probing::by_right(1, now));
            }
        }
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
        let probes = self.probing.values().filter_map(|probing| match probing.stage {
            Stage::Asking(_, next) => Some(next),
            Stage::Unanswered | Stage::Answered => None,
        });
        pulse.into_iter().chain(probes).min()
    }

    /// Whether [`InForce::probes_due`] would say of some address that nobody answered: read what has come until now before.
    pub fn waits_end(&self, now: Now) -> bool {
        self.probing
            .values()
            .any(|probing| matches!(probing.stage, Stage::Asking(0, next) if next <= now.raw))
    }

    /// The addresses to send one probe for now, and those that may be spoken for from now on. An answer to a probe must be
    /// heard: where it would not be yet, by `hears`, the probe waits.
    pub fn probes_due(&mut self, now: Now, hears: impl Fn(IpAddr) -> bool) -> ProbesDue {
        let mut due = ProbesDue::default();
        let rights = &self.rights;
        self.probing.retain(|address, probing| {
            let (left, next) = match &mut probing.stage {
                Stage::Asking(left, next) if *next <= now.raw => (left, next),
                _ => return true,
            };
            if *left == 0 {
                let granted = rights.grant(*address);
                if granted {
                    due.quiet.push(Heard::Quiet(*address));
                } else {
                    probing.stage = Stage::Unanswered;
                }
                return !granted;
            }
            if hears(*address) {
                *left -= 1;
                *next = now.raw + probing.wait;
                due.send.push(*address);
            } else {
                *next = now.raw + HEAR_AGAIN;
            }
            true
        });
        due
    }

    /// Somebody else has the address that was asked for.
    pub fn answered(&mut self, address: IpAddr) {
        if let Some(probing) = self.probing.get_mut(&address) {
            probing.stage = Stage::Answered;
        }
    }

    /// Nobody else has the address any more that somebody had; for the claims, if it was asked for under a right.
    pub fn freed(&mut self, address: IpAddr) -> Option<Heard> {
        let freed = matches!(self.probing.get(&address)?.stage, Stage::Answered);
        (freed && self.rights.grant(address)).then(|| {
            self.probing.remove(&address);
            Heard::Quiet(address)
        })
    }

    /// Whether more probes for the address follow.
    #[cfg(test)]
    pub(super) fn probing_more(&self, address: IpAddr) -> bool {
        matches!(self.probing.get(&address), Some(Probing { stage: Stage::Asking(1.., _), .. }))
    }

    /// What may be said for an address now.
    pub fn cover(&self, address: IpAddr, now: Now) -> Cover {
        let cover = match self.rights.deadline {
            Some(deadline) if self.rights.cover(address, now) => Cover::Fresh(deadline),
            _ if self.may_hold(address) && now.at_most_since(self.ran) <= GAP => Cover::Held,
            _ if self.rights.sought.contains(&address) => Cover::None,
            _ => return Cover::None,
        };
        if self.probes(address) { Cover::Probing } else { cover }
    }

    /// Whether it is not known yet whether anybody else answers for the address.
    pub fn probes(&self, address: IpAddr) -> bool {
        self.probing.get(&address).is_some_and(|probing| !matches!(probing.stage, Stage::Answered))
    }

    /// Whether it may be answered for again under a held right, once the probes have gone unanswered.
    pub fn resumes(&self, address: IpAddr) -> bool {
        self.rights.held.contains_key(&address) && !self.rights.titles.contains(&address)
    }

    /// The addresses to hear about: whatever is covered, or would be.
    pub fn listens_to(&self) -> impl Iterator<Item = IpAddr> {
        let Rights { titles, held, sought, .. } = &self.rights;
        let held = held.keys().filter(|address| !titles.contains(*address));
        let sought = sought.iter().filter(|address| !self.rights.grant(**address));
        titles.iter().chain(held).chain(sought).copied()
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
