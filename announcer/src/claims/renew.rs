// SPDX-License-Identifier: Apache-2.0
//! What is done about sessions: the own one is renewed while it is needed, others' are ended after their silence.

use std::collections::BTreeSet;
use std::time::Duration;

use gateherald_model::leases::{ENDED_KEPT, Ended, EndedBy, Holder, Key, Record, Session, Version};

use super::knowledge::SessionSeen;
use super::observe::FlightKind;
use super::session::Predecessor;
use super::time::Now;
use super::{Claims, Notice, Phase, Write};

/// What a session tells of its node is re-written this often at the most.
const REDESCRIBE: Duration = Duration::from_secs(1);

impl Claims {
    /// Rule 4: ends sessions that stand in the way and have been silent for their D, by one compare-and-swap each.
    pub(super) fn silence_step(&mut self, now: Now) {
        if self.leases.synced.is_none() || self.phase != Phase::Running {
            return;
        }
        let mut ways = self.in_the_way();
        // A former id of this very process: the next own write says that it is over.
        let former = self
            .leases
            .session_id(&self.config.node)
            .is_some_and(|id| id != self.own.id && self.own.is_mine(id));
        self.judging |= former && ways.remove(&self.config.node);
        for node in ways {
            let Some(seen) = self.leases.sessions.get(&node) else { continue };
            let Some((version, session)) = seen.record.clone() else { continue };
            let silent = now.at_least_since(seen.received.or_later(self.silence_from));
            let (late, duration) = (self.config.renew_period * 2, seen.longest);
            if silent < late {
                self.wake_in(late.saturating_sub(silent), now);
                continue;
            }
            self.judging = true;
            if silent < duration {
                self.wake_in(duration.saturating_sub(silent), now);
            } else if (self.fresh(now) || node == self.config.node) && !self.ending(&node) {
                // The own session Lease, while a predecessor has it, cannot be renewed: the swap alone decides.
                self.end_other(version, session, silent);
            }
        }
        self.collect_sessions(now);
    }

    /// Living sessions that a wanted claim names, that occupy the own session Lease, or whose Node is gone.
    fn in_the_way(&self) -> BTreeSet<String> {
        let alive = |(node, session): &(&String, &Option<String>)| match session {
            Some(session) => self.leases.session_id(node) == Some(session),
            None => self.leases.sessions.get(*node).is_some_and(SessionSeen::of_other_format),
        };
        let named = self.summary.named.iter().map(|(node, session)| (node, session)).filter(alive);
        let mut nodes: BTreeSet<String> = named.map(|(node, _)| node.clone()).collect();
        nodes.extend(
            self.gone_nodes().filter(|(_, session)| session.id.is_some()).map(|(node, _)| node.clone()),
        );
        let own = self.leases.sessions.get(&self.config.node);
        match own.and_then(SessionSeen::id) {
            Some(id) if id == self.own.id => _ = nodes.remove(&self.config.node),
            Some(_) if self.own.predecessor(own, &self.me) == Predecessor::Unknown => {
                nodes.insert(self.config.node.clone());
            }
            _ => {}
        }
        nodes
    }

    fn gone_nodes(&self) -> impl Iterator<Item = (&String, &Session)> {
        let sessions =
            self.leases.sessions.iter().filter_map(|(node, seen)| Some((node, &seen.record.as_ref()?.1)));
        sessions.filter(|(node, _)| {
            **node != self.config.node && self.nodes.as_ref().is_some_and(|nodes| !nodes.contains(*node))
        })
    }

    fn ending(&self, node: &str) -> bool {
        self.flights.values().any(|flight| {
            matches!(flight.kind, FlightKind::EndOther)
                && matches!(&flight.record, Some(Record::Session(session)) if session.node == node)
        })
    }

    fn end_other(&mut self, version: Version, session: Session, silent: Duration) {
        let Some(id) = session.id.clone() else { return };
        self.tell(Notice::Ending { node: session.node.clone(), session: id.clone(), silent });
        let mut ended = session.ended.clone();
        ended.push(Ended { id, by: EndedBy::Observer });
        let surplus = ended.len().saturating_sub(ENDED_KEPT);
        let ended = ended.split_off(surplus);
        let nonce = (self.ids)();
        let record = Record::Session(Session { id: None, other_format: false, ended, nonce, ..session });
        let write = self.flight(FlightKind::EndOther, Some(record.clone()));
        self.writes.push((write, Write::Replace(version, record)));
    }

    /// The ended session of a node that no longer exists is deleted once no claim needs its testimony.
    fn collect_sessions(&mut self, now: Now) {
        let longest = self.leases.longest;
        let due: Vec<_> = self
            .gone_nodes()
            .filter(|(node, session)| session.id.is_none() && !self.named_by_a_claim(node))
            .filter_map(|(node, _)| self.leases.sessions.get(node).map(|seen| (node, seen)))
            .filter(|(_, seen)| now.at_least_since(seen.received.or_later(self.silence_from)) >= longest)
            .filter_map(|(node, seen)| Some((node.clone(), seen.record.as_ref()?.0.clone())))
            .collect();
        for (node, version) in due {
            let key = Key::Session(node);
            if !self.flights.values().any(|flight| matches!(flight.kind, FlightKind::Collect)) {
                let id = self.flight(FlightKind::Collect, None);
                self.writes.push((id, Write::Delete(version, key)));
            }
        }
        if self.gone_nodes().next().is_some() {
            self.wake_in(longest, now);
        }
    }

    fn named_by_a_claim(&self, gone: &str) -> bool {
        let holders = self.leases.claims.values().filter_map(|seen| seen.claim()).map(|claim| &claim.holder);
        holders.into_iter().any(
            |holder| matches!(holder, Holder::Session { node, .. } | Holder::OtherFormat { node } if node == gone),
        )
    }

    /// Writes the own session when it is new, told otherwise, needed fresh, or over.
    pub(super) fn session_step(&mut self, now: Now) {
        if let Some(deadline) = self.own.deadline(&self.config) {
            self.wake_in(deadline.left(now), now);
        }
        if matches!(self.phase, Phase::Ending { .. }) {
            return self.end_own_step(now);
        }
        if self.own.in_flight.is_some() || self.leases.synced.is_none() || self.phase == Phase::Finished {
            return;
        }
        if let Some(left) =
            self.own.hold_until.and_then(|at| at.checked_sub(now.raw)).filter(|left| !left.is_zero())
        {
            return self.wake_in(left, now);
        }
        if !self.predecessor_allows() {
            return;
        }
        match self.renewal_due(now) {
            Some(left) if left.is_zero() => self.renew(now),
            Some(left) => self.wake_in(left, now),
            None => {}
        }
    }

    fn predecessor_allows(&mut self) -> bool {
        let seen = self.leases.sessions.get(&self.config.node);
        let session = seen.and_then(|seen| seen.id()).unwrap_or_default().to_owned();
        match self.own.predecessor(seen, &self.me) {
            Predecessor::None => true,
            Predecessor::Dead => {
                self.tell(Notice::Adopting { session });
                true
            }
            Predecessor::Unknown => {
                if !std::mem::replace(&mut self.predecessor_told, true) {
                    self.tell(Notice::PredecessorAlive { session });
                }
                false
            }
        }
    }

    /// In how long the own session is to be written; none: there is no need.
    fn renewal_due(&self, now: Now) -> Option<Duration> {
        let since_attempt = self.own.last_attempt.map(|at| now.at_most_since(at));
        let Some(since_attempt) = since_attempt else { return Some(Duration::ZERO) };
        let period = self.config.renew_period;
        let needed = self.judging || !self.queue.is_empty() || !self.bids.is_empty() || self.holding.any();
        if needed || self.summary.titled {
            let waiting = self.own.echo_pending();
            let paced = (self.fresh(now) && !self.own.hurry) || waiting;
            return Some(if paced { period.saturating_sub(since_attempt) } else { Duration::ZERO });
        }
        let record = self.leases.sessions.get(&self.config.node).and_then(|seen| seen.record.as_ref());
        let told = record.is_some_and(|(_, session)| {
            // Whose last write failed makes sure that the API server takes the next one, and so do people who look at `/ready`:
            // the Lease alone may show what arrived too late to be answered.
            self.own.failures() == 0
                && session.policies == self.notes.policies
                && session.links == self.notes.links
                && session.bids == self.told_bids()
        });
        (!told).then(|| REDESCRIBE.saturating_sub(since_attempt))
    }

    fn renew(&mut self, now: Now) {
        let (record, version) = self.own_record(false);
        let kind = FlightKind::Renew { start: now, session: self.own.id.clone() };
        let id = self.flight(kind, Some(record.clone()));
        self.own.sent(id, now);
        self.writes.push((id, version.map_or(Write::Create(record.clone()), |v| Write::Replace(v, record))));
    }

    /// Rule 9, shutdown: one write ends the own session, after the last one in flight has been answered.
    fn end_own_step(&mut self, now: Now) {
        if self.own.in_flight.is_some() {
            return;
        }
        if let Some(left) =
            self.own.hold_until.and_then(|at| at.checked_sub(now.raw)).filter(|left| !left.is_zero())
        {
            return self.wake_in(left, now);
        }
        let seen = self.leases.sessions.get(&self.config.node);
        let mine = seen.and_then(|seen| seen.id()).is_some_and(|id| self.own.is_mine(id));
        if !mine {
            self.phase = Phase::Finished;
            return;
        }
        let (record, version) = self.own_record(true);
        let id = self.flight(FlightKind::EndOwn, Some(record.clone()));
        self.own.in_flight = Some(id);
        self.writes.extend(version.map(|version| (id, Write::Replace(version, record))));
    }

    fn own_record(&mut self, shutting_down: bool) -> (Record, Option<Version>) {
        let nonce = (self.ids)();
        let seen = self.leases.sessions.get(&self.config.node);
        let version = seen.and_then(|seen| seen.record.as_ref()).map(|(version, _)| version.clone());
        let bids = if shutting_down { BTreeSet::new() } else { self.told_bids() };
        let what = (&self.config, &self.me, &self.notes);
        // Whoever has not made sure that its predecessor is silent cannot promise that its successor need not.
        let unproven = shutting_down && self.hands.values().any(|hand| hand.unproven);
        let end = if unproven { EndedBy::Lapse } else { EndedBy::Shutdown };
        let session = self.own.record(seen, what, nonce, bids, shutting_down.then_some(end));
        (Record::Session(session), version)
    }
}
