// SPDX-License-Identifier: Apache-2.0
//! What is done when another host uses an address that this node has title to: RFC 5227 §2.4(b), RFC 4862 §5.4. Pure.
//!
//! The address falls silent until the title is confirmed: a write of the own session that was sent after the conflict
//! has come back, and the title is still good. Then it is announced once, in defence. A host that goes on using it has
//! won: the claim stays, the address is silent, and every minute somebody is asked whether it is free again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use gateherald_wire::MacAddr;

use crate::{
    claims::{Rights, time::Now},
    responder::Refusal,
};

/// 10 s: `DEFEND_INTERVAL` (RFC 5227 §1.1). A second conflict within it means that the other host persists.
pub const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
/// One minute between questions whether an address is free again: long against any host's boot, short for a person.
pub const ASK_AGAIN: Duration = Duration::from_mins(1);
/// 1 s for an answer: nothing is lost by waiting, since the address has been silent for a minute.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// A picture of all disputes.
pub type Contests = BTreeMap<IpAddr, Standoff>;

/// The addresses that others use, each with what is being done about it.
#[derive(Clone, Debug, Default)]
pub struct Standoffs {
    by_address: BTreeMap<IpAddr, Standoff>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standoff {
    /// Who was seen to use the address last.
    pub claimant: MacAddr,
    /// What is being done.
    pub stage: Stage,
}

/// What is being done. Instants of the raw clock where one suffices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Silent until the title is confirmed by a write sent after this.
    Suspended {
        /// The conflict.
        since: Now,
    },
    /// Announced in defence, and answered for.
    Defended {
        /// When.
        at: Duration,
    },
    /// Silent; until then nobody is asked.
    Silenced {
        /// When somebody will be.
        until: Duration,
    },
    /// Silent; somebody was asked.
    Asking {
        /// How long an answer is waited for.
        until: Duration,
    },
}

impl Stage {
    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Suspended { .. } => "suspended",
            Self::Defended { .. } => "defended",
            Self::Silenced { .. } | Self::Asking { .. } => "silenced",
        }
    }

    /// Why the address is not spoken for; none when it may be.
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Suspended { .. } => Some(Refusal::Suspended),
            Self::Silenced { .. } | Self::Asking { .. } => Some(Refusal::Silenced),
            Self::Defended { .. } => None,
        }
    }
}

/// What has just begun for an address, and is to be done and told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is silent.
    Suspend,
    /// It is answered for again: announce it once.
    Defend,
    /// It is silent, and stays so.
    Silence,
    /// Ask whether anybody has it.
    Ask,
    /// Nobody has it: announce it as if it was new.
    Resume,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Suspend, Self::Defend, Self::Silence, Self::Ask, Self::Resume];

    /// The stable name: the metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Suspend => "suspended",
            Self::Defend => "defended",
            Self::Silence => "silenced",
            Self::Ask => "asked",
            Self::Resume => "resumed",
        }
    }
}

impl Standoffs {
    /// Another host uses the address; what begins now, if anything does.
    pub fn conflict(&mut self, address: IpAddr, claimant: MacAddr, now: Now) -> Option<Step> {
        let (stage, step) = match self.by_address.get(&address).map(|standoff| standoff.stage) {
            None => (Stage::Suspended { since: now }, Step::Suspend),
            // A host announces itself several times; only what comes after the defence shows that it persists.
            Some(stage @ (Stage::Suspended { .. } | Stage::Silenced { .. })) => {
                self.by_address.insert(address, Standoff { claimant, stage });
                return None;
            }
            Some(Stage::Defended { at }) if now.raw.saturating_sub(at) >= DEFEND_INTERVAL => {
                (Stage::Suspended { since: now }, Step::Suspend)
            }
            Some(Stage::Defended { .. } | Stage::Asking { .. }) => (silenced(now), Step::Silence),
        };
        self.by_address.insert(address, Standoff { claimant, stage });
        Some(step)
    }

    /// Another host had the address before this node said a word about it.
    pub fn taken(&mut self, address: IpAddr, claimant: MacAddr, now: Now) -> Option<Step> {
        let old = self.by_address.insert(address, Standoff { claimant, stage: silenced(now) });
        let silent = old.is_some_and(|old| matches!(old.stage, Stage::Silenced { .. }));
        (!silent).then_some(Step::Silence)
    }

    /// Takes in what this node may do: confirmed titles are defended, and what it has lost is no matter of dispute.
    ///
    /// An address that fell silent stays so for its time even without title: the same node may have it again at once.
    pub fn confirm(&mut self, rights: &Rights, now: Now) -> Vec<(IpAddr, Step)> {
        let mut steps = Vec::new();
        self.by_address.retain(|address, standoff| {
            let titled = rights.titles.contains(address);
            match standoff.stage {
                Stage::Silenced { .. } => true,
                Stage::Suspended { since } if titled && rights.confirmed_since(since) => {
                    standoff.stage = Stage::Defended { at: now.raw };
                    steps.push((*address, Step::Defend));
                    true
                }
                _ => titled,
            }
        });
        steps
    }

    /// These hosts turn out to be announcers, whose claims the Leases settle: there is no dispute with them.
    pub fn drop_those_of(&mut self, peers: &BTreeSet<MacAddr>) -> Vec<(IpAddr, Step)> {
        let over = self.by_address.extract_if(.., |_, standoff| peers.contains(&standoff.claimant));
        over.map(|(address, _)| (address, Step::Resume)).collect()
    }

    /// What the passing of time brings; `titled` says whether this node still has title.
    pub fn due(&mut self, now: Now, titled: impl Fn(IpAddr) -> bool) -> Vec<(IpAddr, Step)> {
        let mut steps = Vec::new();
        self.by_address.retain(|address, standoff| match standoff.stage {
            stage if stage.end().is_none_or(|end| end > now.raw) => true,
            Stage::Silenced { .. } if titled(*address) => {
                standoff.stage = Stage::Asking { until: now.raw + ANSWER_WITHIN };
                steps.push((*address, Step::Ask));
                true
            }
            Stage::Asking { .. } => {
                steps.push((*address, Step::Resume));
                false
            }
            _ => false,
        });
        steps
    }

    /// When [`Standoffs::due`] has something to do, on the raw clock.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.by_address.values().filter_map(|standoff| standoff.stage.end()).min()
    }

    /// Why the address is not spoken for; none when it may be.
    pub fn refusal(&self, address: IpAddr) -> Option<Refusal> {
        self.by_address.get(&address)?.stage.refusal()
    }

    /// Who was seen to use the address last.
    pub fn claimant(&self, address: IpAddr) -> Option<MacAddr> {
        self.by_address.get(&address).map(|standoff| standoff.claimant)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, Standoff)> {
        self.by_address.iter().map(|(address, standoff)| (*address, *standoff))
    }
}

impl Stage {
    fn end(self) -> Option<Duration> {
        match self {
            Self::Suspended { .. } => None,
            Self::Defended { at } => Some(at + DEFEND_INTERVAL),
            Self::Silenced { until } | Self::Asking { until } => Some(until),
        }
    }
}

fn silenced(now: Now) -> Stage {
    Stage::Silenced { until: now.raw + ASK_AGAIN }
}

#[cfg(test)]
mod tests;
