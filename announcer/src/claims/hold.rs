// SPDX-License-Identifier: Apache-2.0
//! *Held* rights: answering on while the API server is away (`--on-api-outage hold`).
//!
//! A held right adds nothing to who may take an address; it only delays the silence of the one who had it, until
//! somebody else is heard on the wire. So it needs no writes and gives none away.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use gateherald_model::leases::Holder;

use super::rights::{GAP, Heard, PROBES, Round};
use super::time::Now;
use super::{Claims, LapseReason, Notice, Phase, Wants};

/// 5 s after a probe that silenced it the address is probed for: a person's `arping -D` must not end the service.
const RESUME: Duration = Duration::from_secs(5);

/// What a process does whose API server is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOutage {
    /// Answers on for what it had, until somebody else is heard.
    #[default]
    Hold,
    /// Falls silent at the deadline.
    Fence,
}

/// Why a held right is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldEnd {
    /// Another host asked whether the address is free; it is asked back later.
    Probed,
    /// Another announcer asked, which takes the address over.
    TakenOver,
    /// Another host answers for it or announces it.
    Claimed,
    /// The process stood still, so it may have missed the others.
    StoodStill,
    /// An interface that it was answered on is gone or down.
    LinkLost,
    /// It is no longer to be announced here.
    NotDesired,
    /// The claim was seen to be another's, or nobody's.
    ClaimLost,
    /// The own session Lease was seen to be another process's.
    SessionLost,
}

impl HoldEnd {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Probed,
        Self::TakenOver,
        Self::Claimed,
        Self::StoodStill,
        Self::LinkLost,
        Self::NotDesired,
        Self::ClaimLost,
        Self::SessionLost,
    ];

    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Probed => "probed",
            Self::TakenOver => "taken-over",
            Self::Claimed => "claimed",
            Self::StoodStill => "stood-still",
            Self::LinkLost => "link-lost",
            Self::NotDesired => "not-desired",
            Self::ClaimLost => "claim-lost",
            Self::SessionLost => "session-lost",
        }
    }
}

/// Every address that is held or may be again.
#[derive(Debug, Default)]
pub(super) struct Holding {
    last: Round,
    stages: BTreeMap<IpAddr, Stage>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// `probes` come first when it had been silenced, or had not been proven.
    Held { round: Round, probes: bool },
    /// Silenced by a probe, until this instant of the raw clock.
    Silent { until: Duration },
}

impl Holding {
    fn begin(&mut self, address: IpAddr, probes: bool) {
        self.last.0 += 1;
        self.stages.insert(address, Stage::Held { round: self.last, probes });
    }

    /// What is held, for the rights.
    pub(super) fn rounds(&self) -> impl Iterator<Item = (IpAddr, Round, bool)> {
        self.stages.iter().filter_map(|(address, stage)| match stage {
            Stage::Held { round, probes } => Some((*address, *round, *probes)),
            Stage::Silent { .. } => None,
        })
    }

    pub(super) fn any(&self) -> bool {
        !self.stages.is_empty()
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.stages.contains_key(&address)
    }

    /// Title has come: nothing needs to be held.
    pub(super) fn titled(&mut self, address: IpAddr) {
        self.stages.remove(&address);
    }

    pub(super) fn clear(&mut self) {
        self.stages.clear();
    }
}

impl Claims {
    /// The answering thread noticed something.
    pub fn on_heard(&mut self, heard: Heard, now: Now) {
        self.tick(now);
        match heard {
            Heard::Probed { address, by } if self.announces_elsewhere(by) => {
                self.end_hold(address, HoldEnd::TakenOver);
            }
            Heard::Probed { address, .. } => {
                if let Some(stage) = self.holding.stages.get_mut(&address) {
                    *stage = Stage::Silent { until: now.raw + RESUME };
                    self.tell(Notice::HoldEnded { address, reason: HoldEnd::Probed });
                }
            }
            Heard::Claimed { address, .. } => self.end_hold(address, HoldEnd::Claimed),
            Heard::Quiet(address) => {
                if let Some(hand) = self.hands.get_mut(&address) {
                    hand.unproven = false;
                }
            }
            Heard::Gap => self.end_every_hold(HoldEnd::StoodStill),
            Heard::Conflict(address) => {
                if self.hands.get(&address).is_some_and(|hand| hand.titled()) {
                    self.own.confirm();
                }
            }
        }
    }

    /// Whether this lapse leaves something to hold: the deadline passed while the process was awake, and whatever it
    /// wrote since its newest good renewal failed. Called before the lapse.
    pub(super) fn may_hold(&self, reason: LapseReason, now: Now) -> bool {
        let awake = self.own.deadline(&self.config).is_some_and(|deadline| deadline.over_for(now) <= GAP);
        self.config.on_outage == OnOutage::Hold
            && self.phase == Phase::Running
            && reason == LapseReason::Deadline
            && awake
            && self.own.api_away()
    }

    /// Titles were lost by [`Claims::may_hold`].
    pub(super) fn begin_hold(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            if self.wants.get(address).is_some_and(|want| !want.leaving) {
                let unproven = self.hands.get(address).is_some_and(|hand| hand.unproven);
                self.holding.begin(*address, unproven);
            }
        }
    }

    /// What was silenced by a probe is asked for and held again, if nobody answers.
    pub(super) fn hold_step(&mut self, now: Now) {
        let silent = |stage: &Stage| match stage {
            Stage::Silent { until } => Some(*until),
            Stage::Held { .. } => None,
        };
        let stages = &self.holding.stages;
        let due = stages.iter().filter(|(_, stage)| silent(stage).is_some_and(|until| until <= now.raw));
        let due: Vec<IpAddr> = due.map(|(address, _)| *address).collect();
        for address in due {
            self.holding.begin(address, true);
            self.tell(Notice::HoldResumed { address });
        }
        if let Some(until) = self.holding.stages.values().filter_map(silent).min() {
            self.wake_in(until.saturating_sub(now.raw), now);
        }
    }

    /// What is wanted changes: a held address must stay wanted, on every interface that it was answered on.
    pub(super) fn hold_only(&mut self, wants: &Wants) {
        let over: Vec<(IpAddr, HoldEnd)> = self
            .holding
            .stages
            .keys()
            .filter_map(|address| match (self.wants.get(address), wants.get(address)) {
                (_, None) => Some((*address, HoldEnd::NotDesired)),
                (Some(old), Some(new)) if !old.interfaces.is_subset(&new.interfaces) => {
                    Some((*address, HoldEnd::LinkLost))
                }
                (_, Some(new)) => new.leaving.then_some((*address, HoldEnd::NotDesired)),
            })
            .collect();
        for (address, reason) in over {
            self.end_hold(address, reason);
        }
    }

    /// A version of the claim was seen: only the own session's, ended or not, leaves a held right.
    pub(super) fn hold_against(&mut self, address: IpAddr) {
        if !self.holding.contains(address) {
            return;
        }
        let mine = self.leases.claims.get(&address).and_then(|seen| seen.claim()).is_some_and(|claim| {
            let own = |holder: &Holder| holder.session().is_some_and(|session| self.own.is_mine(session));
            own(&claim.holder) && !claim.touched
        });
        if !mine {
            self.end_hold(address, HoldEnd::ClaimLost);
        }
    }

    pub(super) fn end_hold(&mut self, address: IpAddr, reason: HoldEnd) {
        if self.holding.stages.remove(&address).is_some() {
            self.tell(Notice::HoldEnded { address, reason });
        }
    }

    pub(super) fn end_every_hold(&mut self, reason: HoldEnd) {
        let addresses: Vec<IpAddr> = self.holding.stages.keys().copied().collect();
        for address in addresses {
            self.end_hold(address, reason);
        }
    }

    /// What of it is in the rights, and the probes before resuming.
    pub(super) fn held_rights(&self) -> (Arc<BTreeMap<IpAddr, Round>>, BTreeMap<IpAddr, u8>) {
        if self.phase != Phase::Running {
            return Default::default();
        }
        let rounds = self.holding.rounds().map(|(address, round, _)| (address, round)).collect();
        let probes = self.holding.rounds().filter(|(_, _, probes)| *probes);
        (Arc::new(rounds), probes.map(|(address, ..)| (address, PROBES)).collect())
    }

    /// Whether a session of another node lists a link with this hardware address.
    fn announces_elsewhere(&self, mac: [u8; 6]) -> bool {
        let text = mac.map(|byte| format!("{byte:02x}")).join(":");
        self.leases.sessions.iter().filter(|(node, _)| **node != self.config.node).any(|(_, seen)| {
            let links = seen.record.iter().flat_map(|(_, session)| &session.links);
            links.into_iter().any(|link| link.mac == text)
        })
    }
}
