// SPDX-License-Identifier: Apache-2.0
//! Taking in what the watch and the answers say.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use gateherald_model::leases::{Claim, Holder, Key, Record, Session, Version};
use xxhash_rust::xxh3::xxh3_64;

use super::hold::HoldEnd;
use super::knowledge::{SessionChange, SessionSeen, Via};
use super::time::Now;
use super::{Answer, Claims, LapseReason, LeaseEvent, LossReason, Notice, Phase, WriteId};

/// After a conflict the watch tells what is there; only if it does not, a write is tried again after this long.
const CONFLICT_HOLD: Duration = Duration::from_millis(100);

/// A write whose answer is to come.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) kind: FlightKind,
    pub(super) record: Option<Record>,
}

/// What a write is for.
#[derive(Debug)]
pub(super) enum FlightKind {
    /// The own session: alive. The instant before the attempt, and the id that it was made under.
    Renew { start: Now, session: String },
    /// The own session: ended.
    EndOwn,
    /// Another node's session: ended.
    EndOther,
    /// The own claim: taken, kept or given up.
    Claim(IpAddr),
    /// A Lease that nobody needs any more.
    Collect,
}

impl Claims {
    /// The Lease watch says something.
    pub fn on_watch(&mut self, event: LeaseEvent, now: Now) {
        self.tick(now);
        match event {
            LeaseEvent::Listed { leases, revision } => self.on_list(leases, revision, now),
            LeaseEvent::Changed(version, Record::Session(session)) => {
                let node = session.node.clone();
                self.on_session(&node, version.resource_version, Some((version, session)), Via::Watch, now);
            }
            LeaseEvent::Changed(version, Record::Claim(claim)) => {
                self.on_claim(
                    claim.address,
                    version.resource_version,
                    Some((version, claim)),
                    Via::Watch,
                    now,
                );
            }
            LeaseEvent::Gone(Key::Session(node), revision) => {
                self.on_session(&node, revision, None, Via::Watch, now);
            }
            LeaseEvent::Gone(Key::Claim(address), revision) => {
                self.on_claim(address, revision, None, Via::Watch, now);
            }
            LeaseEvent::Interrupted => self.silence_from = now,
        }
    }

    /// A write was answered.
    pub fn on_answer(&mut self, id: WriteId, answer: Answer, now: Now) {
        self.tick(now);
        let Some(flight) = self.flights.remove(&id) else { return };
        let key = flight.record.as_ref().map(Record::key);
        if let (Some(key), Answer::Conflict | Answer::Refused | Answer::Unknown) = (key, &answer) {
            self.tell(Notice::WriteFailed { key, answer: answer.clone() });
        }
        match flight.kind {
            FlightKind::Renew { start, session } => {
                self.on_renewed(flight.record, &answer, (start, &session), now);
            }
            FlightKind::EndOwn => self.on_own_end(&answer, now),
            FlightKind::EndOther | FlightKind::Collect => {}
            FlightKind::Claim(address) => {
                if let Some(hand) = self.hands.get_mut(&address) {
                    hand.in_flight = None;
                    hand.hold_until = hold_after(&answer, self.config.renew_period, now);
                }
                if let (Answer::Written(version), Some(Record::Claim(claim))) = (answer, flight.record) {
                    self.on_claim(
                        address,
                        version.resource_version,
                        Some((version, claim)),
                        Via::Answer,
                        now,
                    );
                }
                self.dirty.insert(address);
            }
        }
    }

    /// Draws the consequences of time (rule 3).
    pub(super) fn tick(&mut self, now: Now) {
        if self.own.overdue(&self.config, now) {
            self.lapse(LapseReason::Deadline, now);
        }
    }

    fn on_list(&mut self, leases: Vec<(Version, Record)>, revision: u64, now: Now) {
        self.leases.synced = Some(now);
        self.silence_from = now;
        self.hands.values_mut().for_each(|hand| hand.gap());
        let listed: BTreeSet<Key> = leases.iter().map(|(_, record)| record.key()).collect();
        let sessions = self.leases.sessions.keys().cloned().map(Key::Session);
        let claims = self.leases.claims.keys().copied().map(Key::Claim);
        let gone: Vec<Key> = sessions.chain(claims).filter(|key| !listed.contains(key)).collect();
        for (version, record) in leases {
            let at = version.resource_version;
            match record {
                Record::Session(session) => {
                    let node = session.node.clone();
                    self.on_session(&node, at, Some((version, session)), Via::List, now);
                }
                Record::Claim(claim) => {
                    self.on_claim(claim.address, at, Some((version, claim)), Via::List, now);
                }
            }
        }
        for key in gone {
            match key {
                Key::Session(node)
                    if self.leases.sessions.get(&node).is_some_and(|seen| seen.record.is_some()) =>
                {
                    self.on_session(&node, revision, None, Via::List, now);
                }
                Key::Claim(address)
                    if self.leases.claims.get(&address).is_some_and(|seen| seen.record.is_some()) =>
                {
                    self.on_claim(address, revision, None, Via::List, now);
                }
                Key::Session(_) | Key::Claim(_) => {}
            }
        }
        self.dirty.extend(self.wants.keys());
    }

    fn on_session(&mut self, node: &str, at: u64, record: Option<(Version, Session)>, via: Via, now: Now) {
        let change = self.leases.observe_session(node, at, record, via, now);
        if change == SessionChange::Changed {
            self.concern(node);
        }
        if node != self.config.node {
            return;
        }
        if change != SessionChange::Stale {
            self.own.hold_until = None;
            self.check_own_lease(now);
        }
        if via != Via::Answer {
            self.echo = self.echo.max(at);
            self.grant();
        }
    }

    /// What a session says bears on the claims that name it, on those that nobody has, and on those that it asks for.
    fn concern(&mut self, node: &str) {
        let (leases, me) = (&self.leases, &self.config.node);
        let other_format = leases.sessions.get(node).is_some_and(SessionSeen::of_other_format);
        let concerned = |address: &&IpAddr| match leases.claims.get(*address) {
            Some(seen) if seen.record.is_some() => {
                leases.last_node(**address).is_some_and(|last| last == node || (other_format && last == me))
            }
            _ => true,
        };
        self.dirty.extend(self.hands.keys().filter(concerned));
        let record = leases.sessions.get(node).and_then(|seen| seen.record.as_ref());
        self.dirty.extend(record.iter().flat_map(|(_, session)| &session.bids));
    }

    /// Rule 3: what the own Lease may not say while anything is held under it.
    fn check_own_lease(&mut self, now: Now) {
        let Some(seen) = self.leases.sessions.get(&self.config.node) else { return };
        if let Some((_, session)) = &seen.record {
            self.own.confirmed(&session.ended);
        }
        let (fresh, id) = (self.own.renewed().is_some(), self.own.id.as_str());
        let reason = if seen.ended(id).is_some() {
            Some(LapseReason::EndedByOther)
        } else if fresh && seen.record.is_none() {
            Some(LapseReason::Missing)
        } else if fresh && seen.id() != Some(id) {
            Some(LapseReason::Foreign)
        } else {
            None
        };
        if seen.id().is_some_and(|id| !self.own.is_mine(id)) {
            self.end_every_hold(HoldEnd::SessionLost);
        }
        if let Some(reason) = reason {
            self.lapse(reason, now);
        }
    }

    fn on_renewed(
        &mut self,
        record: Option<Record>,
        answer: &Answer,
        (start, session): (Now, &str),
        now: Now,
    ) {
        self.own.in_flight = None;
        self.own.hold_until = None;
        let (Answer::Written(version), Some(Record::Session(written))) = (answer, record) else {
            // Rule 4: only while own renewals succeed does others' silence count.
            self.silence_from = now;
            self.own.not_written(answer);
            self.own.hold_until = Some(self.pause_after(answer, now));
            return;
        };
        let (node, at) = (self.config.node.clone(), version.resource_version);
        self.on_session(&node, at, Some((version.clone(), written)), Via::Answer, now);
        if self.own.id == session {
            self.own.answered(start, at, now);
            self.grant();
        }
    }

    fn on_own_end(&mut self, answer: &Answer, now: Now) {
        self.own.in_flight = None;
        self.own.hold_until = hold_after(answer, self.config.renew_period, now);
        self.phase = match (self.phase, answer) {
            (Phase::Ending { tries }, Answer::Conflict) if tries > 1 => Phase::Ending { tries: tries - 1 },
            _ => Phase::Finished,
        };
    }

    /// Until when (raw clock) the own session is not written again: soon after the first failure, then ever later up to a
    /// renew period, each time shortened by up to a third at random, so that nodes do not come all at once.
    fn pause_after(&mut self, answer: &Answer, now: Now) -> Duration {
        let period = self.config.renew_period;
        let pause = match answer {
            Answer::Conflict => return now.raw + CONFLICT_HOLD,
            Answer::Refused => period,
            Answer::Written(_) | Answer::Unknown => {
                (period / 4 * (1 << self.own.failures().min(3)) / 2).min(period)
            }
        };
        let random = xxh3_64((self.ids)().as_bytes()) % 1_000;
        now.raw + pause.mul_f64(1.0 - f64::from(u32::try_from(random).unwrap_or(0)) / 3_000.0)
    }

    /// Rule 2: a renewal counts once it was answered and came back. The deadline has been looked at by `tick`.
    fn grant(&mut self) {
        self.own.echoed(self.echo);
    }

    fn on_claim(&mut self, address: IpAddr, at: u64, record: Option<(Version, Claim)>, via: Via, now: Now) {
        if let Some((_, claim)) = &record {
            self.leases.note_duration(claim.duration_seconds);
        }
        let longest = self.leases.longest;
        let known = self.leases.claim_mut(address, now);
        let hand = self.hands.entry(address).or_default();
        if let (Some((_, claim)), Via::Watch | Via::List) = (&record, via) {
            known.note_holder(&claim.holder, &self.own.id, now);
        }
        let before = hand.titled();
        let holder_before = known.claim().map(|claim| claim.holder.clone());
        let stranger_held = known.last.as_ref().is_some_and(|last| now.at_least_since(last.at) < longest);
        if via == Via::Watch {
            hand.creation_event(at, stranger_held);
        }
        if at > known.revision {
            known.observe(at, record, via, now);
            match known.claim() {
                Some(Claim { holder: Holder::Session { session, .. }, nonce, unproven, .. })
                    if *session == self.own.id =>
                {
                    hand.own_version(nonce, *unproven, at);
                    if via == Via::Watch {
                        hand.creation_event(at, stranger_held);
                    }
                }
                _ => hand.foreign_version(),
            }
        }
        let after = hand.titled();
        let ground = if after { hand.ground.take() } else { None };
        let holder = known.claim().map(|claim| &claim.holder);
        if holder != holder_before.as_ref() {
            self.balance.changed(now);
        }
        if matches!(holder, Some(Holder::Session { node, .. }) if *node != self.config.node) {
            hand.handed = None;
        }
        self.dirty.insert(address);
        if after {
            self.holding.titled(address);
        }
        self.hold_against(address);
        if before && !after {
            self.tell(Notice::Lost { address, reason: self.loss(address) });
        }
        if let Some((ground, since)) = ground.filter(|_| !before) {
            self.tell(Notice::Took { address, ground, after: now.at_most_since(since) });
        }
    }

    fn loss(&self, address: IpAddr) -> LossReason {
        match self.leases.claims.get(&address).and_then(|seen| seen.claim()).map(|claim| &claim.holder) {
            None => LossReason::Deleted,
            Some(Holder::Session { session, .. }) if *session != self.own.id => LossReason::Taken,
            Some(_) => LossReason::Edited,
        }
    }

    /// Rule 3: every title is void, and the process goes on under another id.
    fn lapse(&mut self, reason: LapseReason, now: Now) {
        let session = self.own.id.clone();
        let holds = self.may_hold(reason, now);
        self.own.lapse((self.ids)());
        let titles: Vec<IpAddr> =
            self.hands.iter_mut().filter_map(|(address, hand)| hand.lapse().then_some(*address)).collect();
        if holds {
            self.begin_hold(&titles);
        }
        self.dirty.extend(self.hands.keys());
        if !titles.is_empty() || reason != LapseReason::Deadline {
            let held = titles.iter().filter(|address| self.holding.contains(**address)).count();
            self.tell(Notice::Lapsed { session, reason, titles: titles.len(), held });
        }
    }
}

/// Until when (raw clock) nothing is written again after this answer.
fn hold_after(answer: &Answer, period: Duration, now: Now) -> Option<Duration> {
    match answer {
        Answer::Written(_) => None,
        Answer::Conflict => Some(now.raw + CONFLICT_HOLD),
        Answer::Unknown => Some(now.raw + period / 4),
        Answer::Refused => Some(now.raw + period),
    }
}
