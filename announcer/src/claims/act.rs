// SPDX-License-Identifier: Apache-2.0
//! What is done about each claim: taken, kept, given up, collected.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use gateherald_model::leases::{Claim, Holder, Key, Record, Version};

use super::hand::Turn;
use super::hand_over::Heir;
use super::judge::{Ground, Me, Verdict};
use super::knowledge::SessionSeen;
use super::observe::{Flight, FlightKind};
use super::time::Now;
use super::{Action, Claims, Notice, Phase, Want, Write, WriteId, rank};

/// So many writes of claims are under way at once; more would only queue in the API server, and freshness is checked
/// when a write is sent.
const IN_FLIGHT: usize = 48;
/// A holder re-writes its claim (rule 5d) for new Services or interfaces this often at the most.
const REWRITE: Duration = Duration::from_secs(1);
/// While a node is being emptied fewer are under way, so that each address is without an owner for one write and its
/// answer, not for the time that all of them take.
const LEAVING_IN_FLIGHT: usize = 8;
/// 10 ms: about as long as one of those takes.
const LEAVING_AGAIN: Duration = Duration::from_millis(10);
/// 500 ms beyond D: what a process needs that has just become old enough to create claims.
const INFANCY: Duration = Duration::from_millis(500);
/// A released claim is deleted by its last holder after D, by any announcer after this many D (rule 9).
const COLLECT_BY_OTHERS: u32 = 10;

impl Claims {
    /// Opens the Lease watch when something is selected here, closes it when nothing is, and opens it anew when no
    /// renewal comes back (rule 2).
    pub(super) fn watch_step(&mut self, now: Now) -> Option<Action> {
        let needed = !self.notes.policies.is_empty() || !self.wants.is_empty() || self.holds_anything();
        if needed != self.watching {
            self.watching = needed;
            if needed {
                return Some(Action::OpenWatch);
            }
            self.forget();
            return Some(Action::CloseWatch);
        }
        match self.own.echo_missing(self.config.renew_period, now) {
            Ok(false) => None,
            Ok(true) => {
                self.silence_from = now;
                self.tell(Notice::WatchStuck);
                self.wake_in(self.config.renew_period, now);
                Some(Action::OpenWatch)
            }
            Err(left) => {
                self.wake_in(left, now);
                None
            }
        }
    }

    /// Looks at every claim that something has changed about, then takes what there is room for, best rank first.
    pub(super) fn claims_step(&mut self, now: Now) {
        while let Some((at, address)) = self.timers.first().copied().filter(|(at, _)| *at <= now.raw) {
            self.timers.remove(&(at, address));
            self.dirty.insert(address);
        }
        self.crowd = u32::try_from(self.dirty.len()).unwrap_or(u32::MAX);
        let mut changed = std::mem::take(&mut self.summary.stale);
        for address in std::mem::take(&mut self.dirty) {
            self.claim_step(address, now);
            changed = true;
        }
        while self.room()
            && let Some(address) = self.releases.pop_first()
        {
            self.claim_step(address, now);
            changed = true;
        }
        while self.room()
            && self.fresh(now)
            && let Some((_, address)) = self.queue.pop_first()
        {
            self.claim_step(address, now);
            changed = true;
        }
        if changed {
            self.summarize();
        }
    }

    fn claim_step(&mut self, address: IpAddr, now: Now) {
        self.releases.remove(&address);
        self.set_timer(address, None, now);
        let hand = self.hands.entry(address).or_default();
        if let Some(rank) = hand.queued.take() {
            self.queue.remove(&(rank, address));
        }
        if self.phase != Phase::Running || hand.in_flight.is_some() {
            return;
        }
        if let Some(left) =
            hand.hold_until.and_then(|at| at.checked_sub(now.raw)).filter(|left| !left.is_zero())
        {
            return self.set_timer(address, Some(left), now);
        }
        hand.sought &= hand.awaits_event();
        let (titled, releasing) = (hand.titled(), hand.releasing.is_some());
        let wants = Arc::clone(&self.wants);
        let want = wants.get(&address).map(Arc::as_ref);
        self.bid(address, want);
        match (titled, want) {
            (true, None) => self.release(address, None),
            (true, Some(want)) if want.leaving => self.leave(address, now),
            (true, Some(want)) => self.keep(address, want, now),
            (false, _) if releasing => self.release(address, None),
            (false, Some(want)) if !want.leaving => self.try_take(address, want, now),
            (false, _) => self.collect(address, now),
        }
    }

    /// A node that is being emptied answers for each address until it is that one's turn, and not all fall silent at once.
    fn leave(&mut self, address: IpAddr, now: Now) {
        if self.flights.len() < LEAVING_IN_FLIGHT {
            self.release(address, None);
        } else {
            self.set_timer(address, Some(LEAVING_AGAIN), now);
        }
    }

    /// Rule 9: whoever un-selects stops first; title is dead from here on. Sent again until something else is seen.
    fn release(&mut self, address: IpAddr, favours: Option<String>) {
        if !self.room() {
            self.releases.insert(address);
            return;
        }
        let nonce = (self.ids)();
        let Some(hand) = self.hands.get_mut(&address) else { return };
        let bound = hand.title().or(hand.releasing);
        let known = self.leases.claims.get(&address).and_then(|seen| seen.record.clone());
        let Some((version, claim)) = known.filter(|(version, _)| Some(version.resource_version) == bound)
        else {
            hand.releasing = None;
            return;
        };
        if hand.titled() {
            hand.release_sent();
            hand.favours.clone_from(&favours);
            self.tell(Notice::Released { address, favours });
        }
        let (node, session) = (self.config.node.clone(), self.own.id.clone());
        let favours = self.hands.get(&address).and_then(|hand| hand.favours.clone());
        let holder = Holder::Released { node, session, favours };
        let unproven = self.hands.get(&address).is_none_or(|hand| hand.unproven);
        self.replace_claim(version, Claim { holder, nonce, unproven, touched: false, ..claim });
    }

    /// The holder hands over to who shall have the address; else it keeps what the claim tells up to date (rule 5d).
    fn keep(&mut self, address: IpAddr, want: &Want, now: Now) {
        match self.heir(address, want, now) {
            Heir::Node(node) if self.room() => {
                if let Some(hand) = self.hands.get_mut(&address) {
                    hand.handed = Some(now);
                }
                self.balance.changed(now);
                return self.release(address, Some(node));
            }
            Heir::Node(_) => self.set_timer(address, Some(REWRITE / 10), now),
            Heir::Later(left) => self.set_timer(address, Some(left), now),
            Heir::None => {}
        }
        let Some((version, claim)) = self.leases.claims.get(&address).and_then(|seen| seen.record.clone())
        else {
            return;
        };
        if claim.services == want.services && claim.interfaces == want.interfaces {
            return;
        }
        let nonce = (self.ids)();
        let room = self.room() && self.fresh(now);
        let Some(hand) = self.hands.get_mut(&address) else { return };
        let left = hand.rewritten.map_or(Duration::ZERO, |at| REWRITE.saturating_sub(now.at_least_since(at)));
        if hand.title() != Some(version.resource_version) {
            return;
        }
        if !left.is_zero() || !room {
            return self.set_timer(address, Some(left.max(REWRITE / 10)), now);
        }
        hand.rewritten = Some(now);
        hand.take_sent(nonce.clone(), false);
        let unproven = hand.unproven;
        let (services, interfaces) = (want.services.clone(), want.interfaces.clone());
        self.replace_claim(version, Claim { nonce, services, interfaces, unproven, touched: false, ..claim });
    }

    fn try_take(&mut self, address: IpAddr, want: &Want, now: Now) {
        if self.hands.get(&address).is_some_and(|hand| hand.awaits_event()) {
            return;
        }
        let me = Me { node: &self.config.node, session: &self.own.id };
        let ground = match self.leases.judge(self.leases.claims.get(&address).map(Box::as_ref), me, now) {
            Verdict::Take(ground) => ground,
            Verdict::Wait(left) => return self.not_free(address, Some(left), now),
            Verdict::Held | Verdict::Unsynced => return self.not_free(address, None, now),
        };
        let (rank, infancy) = match ground {
            Ground::HandedOver => (0, Duration::ZERO),
            ground => self.rank(address, want, ground, now),
        };
        let (crowd, ready) = (self.crowd, self.fresh(now) && self.room());
        let Some(hand) = self.hands.get_mut(&address) else { return };
        let turn = *hand.turn.get_or_insert(Turn { since: now, crowd });
        let step = rank::STEP + rank::CROWD_STEP * turn.crowd.min(rank::LARGEST_CROWD);
        let left = (step * rank).saturating_sub(now.at_least_since(turn.since)).max(infancy);
        if !left.is_zero() {
            return self.set_timer(address, Some(left), now);
        }
        hand.sought = ground.is_new() && self.config.probe_new;
        if ready {
            self.take(address, want, ground, now);
        } else {
            hand.queued = Some(rank);
            self.queue.insert((rank, address));
        }
    }

    /// Rule 1 has been looked at by the caller, rule 5 by the judge.
    fn take(&mut self, address: IpAddr, want: &Want, ground: Ground, now: Now) {
        let nonce = (self.ids)();
        let seen = self.leases.claims.get(&address);
        let version = seen.and_then(|seen| seen.record.as_ref()).map(|(version, _)| version.clone());
        let transitions = seen.and_then(|seen| seen.transitions).map_or(0, |seen| seen.saturating_add(1));
        let unproven = seen.and_then(|seen| seen.claim()).is_none_or(|claim| claim.unproven);
        let own_node = self.leases.last_node(address) == Some(&self.config.node);
        let Some(hand) = self.hands.get_mut(&address) else { return };
        hand.take_sent(nonce.clone(), version.is_none());
        // Whoever shut down promised nothing about a claim that was gone by then.
        let least = u8::from(version.is_none());
        let probes = ground.probes(unproven, own_node).max(least);
        hand.probes = if ground.is_new() && !self.config.probe_new { 0 } else { probes };
        hand.unproven = hand.probes > 0;
        let unproven = hand.unproven;
        hand.ground = Some((ground, hand.turn.take().map_or(now, |turn| turn.since)));
        let claim = Claim {
            address,
            holder: Holder::Session { node: self.config.node.clone(), session: self.own.id.clone() },
            duration_seconds: self.config.duration_seconds,
            transitions,
            nonce,
            services: want.services.clone(),
            interfaces: want.interfaces.clone(),
            unproven,
            touched: false,
        };
        match version {
            Some(version) => self.replace_claim(version, claim),
            None => self.send_claim(Write::Create(Record::Claim(claim.clone())), claim),
        }
    }

    /// Rule 9: a claim that nobody holds and nobody wants is deleted.
    fn collect(&mut self, address: IpAddr, now: Now) {
        let me = Me { node: &self.config.node, session: &self.own.id };
        let Some(seen) = self.leases.claims.get(&address) else { return };
        let Some((version, claim)) = &seen.record else { return };
        let left = match self.leases.judge(Some(seen), me, now) {
            Verdict::Take(_) if self.misread_by_others(claim) => {
                let (version, claim) = (version.clone(), claim.clone());
                return self.disown(version, claim);
            }
            Verdict::Take(_) => self.collection_in(claim, seen.received, now),
            Verdict::Wait(left) => left,
            Verdict::Held | Verdict::Unsynced => return,
        };
        if !left.is_zero() {
            return self.set_timer(address, Some(left), now);
        }
        let (version, key) = (version.clone(), Key::Claim(address));
        let id = self.flight(FlightKind::Collect, None);
        self.writes.push((id, Write::Delete(version, key)));
        self.set_timer(address, Some(self.leases.longest), now);
    }

    /// Whether the claim names a former session of this node, which announcers of another format cannot know to be over as
    /// long as another one of this node lives.
    fn misread_by_others(&self, claim: &Claim) -> bool {
        matches!(&claim.holder, Holder::Session { node, .. } if *node == self.config.node)
            && self.leases.sessions.values().any(SessionSeen::of_other_format)
    }

    /// Rule 5b allows to take it; it is written as given up at once.
    fn disown(&mut self, version: Version, claim: Claim) {
        if !self.room() || !self.hands.contains_key(&claim.address) {
            return;
        }
        let (node, session) = (self.config.node.clone(), self.own.id.clone());
        let holder = Holder::Released { node, session, favours: None };
        let transitions = claim.transitions.saturating_add(1);
        let nonce = (self.ids)();
        self.replace_claim(
            version,
            Claim { holder, nonce, transitions, unproven: true, touched: false, ..claim },
        );
    }

    fn collection_in(&self, claim: &Claim, received: Now, now: Now) -> Duration {
        let last = match &claim.holder {
            Holder::Released { node, .. } | Holder::Session { node, .. } => Some(node),
            Holder::OtherFormat { .. } | Holder::Stranger => None,
        };
        let times = if last == Some(&self.config.node) { 1 } else { COLLECT_BY_OTHERS };
        (self.leases.longest * times).saturating_sub(now.at_least_since(received))
    }

    fn not_free(&mut self, address: IpAddr, left: Option<Duration>, now: Now) {
        if let Some(hand) = self.hands.get_mut(&address) {
            hand.turn = None;
        }
        self.set_timer(address, left, now);
    }

    /// The order of trying, over the living sessions of the nodes that a policy selects for this address, the preferred
    /// one first: how many come before this node, and how long those of them that have just started are waited for.
    ///
    /// A process that has just started may create nothing yet. Whoever started before it would take everything of a new
    /// cluster.
    fn rank(&self, address: IpAddr, want: &Want, ground: Ground, now: Now) -> (u32, Duration) {
        let eligible = self.leases.sessions.iter().filter(|(_, seen)| {
            let session = seen.record.as_ref().map(|(_, session)| session);
            session.is_some_and(|s| {
                s.id.is_some() && s.policies.iter().any(|policy| want.policies.contains(policy))
            })
        });
        let eligible = eligible.map(|(node, seen)| (node.as_str(), seen.alive_since));
        let first = want.preferred_node.as_deref();
        let (mut rank, mut infancy) = (0, Duration::ZERO);
        for (_, since) in rank::ahead(address, &self.config.node, first, eligible) {
            rank += 1;
            if ground == Ground::Unclaimed {
                let grown = self.leases.longest + INFANCY;
                infancy = infancy.max(grown.saturating_sub(now.at_least_since(since)));
            }
        }
        (rank, infancy)
    }

    /// Whether anything of this process is left in a claim that it must see to.
    fn holds_anything(&self) -> bool {
        let mine = |claim: &Claim| match &claim.holder {
            Holder::Session { session, .. } => self.own.is_mine(session),
            Holder::Released { node, .. } => *node == self.config.node,
            Holder::OtherFormat { .. } | Holder::Stranger => false,
        };
        !self.flights.is_empty() || self.leases.claims.values().filter_map(|seen| seen.claim()).any(mine)
    }

    /// Without a watch nothing is known.
    fn forget(&mut self) {
        self.leases = super::Knowledge { longest: self.leases.longest, ..super::Knowledge::default() };
        self.hands.clear();
        self.summary.stale = true;
        self.timers.clear();
        self.queue.clear();
        self.releases.clear();
        self.bids.clear();
    }

    fn room(&self) -> bool {
        self.flights.len() < IN_FLIGHT
    }

    fn replace_claim(&mut self, version: Version, claim: Claim) {
        self.send_claim(Write::Replace(version, Record::Claim(claim.clone())), claim);
    }

    fn send_claim(&mut self, write: Write, claim: Claim) {
        let address = claim.address;
        let id = self.flight(FlightKind::Claim(address), Some(Record::Claim(claim)));
        if let Some(hand) = self.hands.get_mut(&address) {
            hand.in_flight = Some(id);
        }
        self.writes.push((id, write));
    }

    pub(super) fn flight(&mut self, kind: FlightKind, record: Option<Record>) -> WriteId {
        let id = WriteId(self.next_write);
        self.next_write += 1;
        self.flights.insert(id, Flight { kind, record });
        id
    }

    fn set_timer(&mut self, address: IpAddr, left: Option<Duration>, now: Now) {
        let Some(hand) = self.hands.get_mut(&address) else { return };
        let at = left.map(|left| now.raw + left);
        if let Some(old) = std::mem::replace(&mut hand.timer, at) {
            self.timers.remove(&(old, address));
        }
        self.timers.extend(at.map(|at| (at, address)));
    }
}
