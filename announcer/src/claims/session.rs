// SPDX-License-Identifier: Apache-2.0
//! The own session: its id, its freshness (rules 2 and 3), and what its next write says.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use gateherald_model::leases::{ENDED_KEPT, Ended, EndedBy, LinkNote, Session};

use super::knowledge::SessionSeen;
use super::time::{Deadline, Now};
use super::{Answer, Config, Incarnation, WriteId};

/// What the session Lease tells others of this node beside its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeNotes {
    /// The policies that this node is among the nodes of.
    pub policies: BTreeSet<String>,
    /// The links that they select here.
    pub links: Vec<LinkNote>,
}

/// Why a session ended without being asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LapseReason {
    /// No renewal came back in time.
    Deadline,
    /// The own session Lease is gone.
    Missing,
    /// The own session Lease names another session.
    Foreign,
    /// The own session Lease lists the own id as ended.
    EndedByOther,
}

impl LapseReason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Deadline, Self::Missing, Self::Foreign, Self::EndedByOther];

    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Missing => "missing",
            Self::Foreign => "foreign",
            Self::EndedByOther => "ended-by-other",
        }
    }
}

/// A process that outlives so many sessions of its own knows the older ones by their Leases alone.
const FORMER_KEPT: usize = 64;

/// Who stands in the way of the first write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Predecessor {
    /// Nobody, or a former id of this very process.
    None,
    /// Another process, of which there is proof that it is dead: rule 8.
    Dead,
    /// Another process that may be alive.
    Unknown,
}

/// An own renewal that was answered and has not yet come back in the watch.
#[derive(Debug)]
struct Unechoed {
    start: Now,
    revision: u64,
    answered: Now,
}

/// The own session.
#[derive(Debug)]
pub(super) struct OwnSession {
    pub(super) id: String,
    /// Ids that this process had, and that its Lease may name.
    past: Vec<String>,
    /// Ids that this process had, newest last.
    former: Vec<String>,
    /// Attempts that got no answer since the newest one that did.
    unanswered: u32,
    /// Somebody else wrote the own Lease since the newest good renewal.
    conflicted: bool,
    /// The start of the newest renewal that counts.
    fresh_since: Option<Now>,
    unechoed: Vec<Unechoed>,
    /// Whether anything was ever written under the current id.
    written: bool,
    pub(super) in_flight: Option<WriteId>,
    /// When the last attempt began, for pacing.
    pub(super) last_attempt: Option<Now>,
    /// No write before this instant of the raw clock (after a failure).
    pub(super) hold_until: Option<Duration>,
    /// When the last new watch was asked for because an echo was missing.
    asked_watch: Option<Now>,
    /// The next renewal is wanted early.
    pub(super) hurry: bool,
}

impl OwnSession {
    pub(super) fn new(id: String) -> Self {
        Self {
            id,
            past: Vec::new(),
            former: Vec::new(),
            unanswered: 0,
            conflicted: false,
            fresh_since: None,
            unechoed: Vec::new(),
            written: false,
            in_flight: None,
            last_attempt: None,
            hold_until: None,
            asked_watch: None,
            hurry: false,
        }
    }

    /// Until when every right lasts; none while not fresh.
    pub(super) fn deadline(&self, config: &Config) -> Option<Deadline> {
        self.fresh_since.map(|since| Deadline::after(since, config.freshness()))
    }

    /// Rule 2.
    pub(super) fn fresh(&self, config: &Config, now: Now) -> bool {
        self.deadline(config).is_some_and(|deadline| !deadline.passed(now))
    }

    /// Whether the deadline passed that was granted: a lapse that nobody has drawn the consequences of yet.
    pub(super) fn overdue(&self, config: &Config, now: Now) -> bool {
        self.deadline(config).is_some_and(|deadline| deadline.passed(now))
    }

    /// When the newest renewal that counts began.
    pub(super) fn renewed(&self) -> Option<Now> {
        self.fresh_since
    }

    /// Rule 3: goes on under another id.
    pub(super) fn lapse(&mut self, id: String) {
        let old = std::mem::replace(&mut self.id, id);
        self.former.push(old.clone());
        let surplus = self.former.len().saturating_sub(FORMER_KEPT);
        self.former.drain(..surplus);
        if std::mem::take(&mut self.written) {
            self.past.push(old);
        }
        self.fresh_since = None;
        self.unechoed.clear();
    }

    /// A renewal is about to be sent.
    pub(super) fn sent(&mut self, id: WriteId, now: Now) {
        self.written = true;
        self.in_flight = Some(id);
        self.hurry = false;
        self.last_attempt = Some(now);
    }

    /// A renewal under the current id was answered 200.
    pub(super) fn answered(&mut self, start: Now, revision: u64, now: Now) {
        self.unanswered = 0;
        self.unechoed.push(Unechoed { start, revision, answered: now });
    }

    /// The watch has come as far as `revision` of the own session Lease. Says whether a right begins or grows; the caller
    /// has made sure that the deadline has not passed.
    pub(super) fn echoed(&mut self, revision: u64) -> bool {
        let newest = self.unechoed.iter().filter(|r| r.revision <= revision).map(|r| r.start).max();
        self.unechoed.retain(|r| r.revision > revision);
        let grows = newest > self.fresh_since;
        if grows {
            self.fresh_since = newest;
            self.asked_watch = None;
            self.conflicted = false;
        }
        grows
    }

    /// Whether a renewal was answered that has not come back yet.
    pub(super) fn echo_pending(&self) -> bool {
        !self.unechoed.is_empty()
    }

    /// Rule 2: no echo for one renewPeriod. `Err` says how long to wait before that is so.
    pub(super) fn echo_missing(&mut self, period: Duration, now: Now) -> Result<bool, Duration> {
        let Some(oldest) = self.unechoed.iter().map(|r| r.answered).min() else { return Ok(false) };
        let since = self.asked_watch.map_or(oldest, |asked| asked.or_later(oldest));
        let left = period.saturating_sub(now.at_most_since(since));
        if !left.is_zero() {
            return Err(left);
        }
        self.asked_watch = Some(now);
        Ok(true)
    }

    /// A renewal was answered, but not by being written.
    pub(super) fn not_written(&mut self, answer: &Answer) {
        self.unanswered = self.unanswered.saturating_add(1);
        self.conflicted |= *answer == Answer::Conflict;
    }

    /// How many attempts in a row have failed.
    pub(super) fn failures(&self) -> u32 {
        self.unanswered
    }

    /// Whether whatever was written since the newest good renewal failed, and nobody else is known to have written.
    pub(super) fn api_away(&self) -> bool {
        self.unanswered > 0 && !self.conflicted && self.unechoed.is_empty()
    }

    /// The next renewal need not wait for its turn: somebody waits for it to come back.
    pub(super) fn confirm(&mut self) {
        self.hurry = true;
    }

    /// Whether this id is, or was, this process's own.
    pub(super) fn is_mine(&self, id: &str) -> bool {
        self.id == id || self.former.iter().any(|former| former == id)
    }

    /// The own session Lease was seen to list these ids as ended: those need not be told again.
    pub(super) fn confirmed(&mut self, ended: &[Ended]) {
        self.past.retain(|past| !ended.iter().any(|ended| ended.id == *past));
    }

    /// Who the own session Lease names, and what may be done about it.
    pub(super) fn predecessor(&self, seen: Option<&SessionSeen>, me: &Incarnation) -> Predecessor {
        let Some((_, session)) = seen.and_then(|seen| seen.record.as_ref()) else { return Predecessor::None };
        let Some(id) = session.id.as_deref() else { return Predecessor::None };
        if self.is_mine(id) {
            return Predecessor::None;
        }
        let same_place = session.boot_id == me.boot_id
            && session.network_namespace == me.network_namespace
            && !me.boot_id.is_empty();
        if me.socket_bound && same_place { Predecessor::Dead } else { Predecessor::Unknown }
    }

    /// What the next write says: alive under the own id, or ended.
    pub(super) fn record(
        &self,
        seen: Option<&SessionSeen>,
        (config, me, notes): (&Config, &Incarnation, &NodeNotes),
        nonce: String,
        bids: BTreeSet<IpAddr>,
        shutting_down: Option<EndedBy>,
    ) -> Session {
        let known = seen.and_then(|seen| seen.record.as_ref()).map(|(_, session)| session);
        let mut ended = known.map(|session| session.ended.clone()).unwrap_or_default();
        let mut end = |id: &str, by| {
            if !ended.iter().any(|known| known.id == id) {
                ended.push(Ended { id: id.to_owned(), by });
            }
        };
        if let Some(foreign) = known.and_then(|session| session.id.as_deref()).filter(|id| !self.is_mine(id))
        {
            end(foreign, EndedBy::Successor);
        }
        for past in &self.past {
            end(past, EndedBy::Lapse);
        }
        if let Some(by) = shutting_down {
            end(&self.id, by);
        }
        let surplus = ended.len().saturating_sub(ENDED_KEPT);
        Session {
            node: config.node.clone(),
            id: shutting_down.is_none().then(|| self.id.clone()),
            ended: ended.split_off(surplus),
            duration_seconds: config.duration_seconds,
            nonce,
            policies: notes.policies.clone(),
            links: notes.links.clone(),
            bids,
            other_format: false,
            boot_id: me.boot_id.clone(),
            network_namespace: me.network_namespace,
        }
    }
}
