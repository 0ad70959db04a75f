// SPDX-License-Identifier: Apache-2.0
//! What this process knows of the Leases, from the one watch and from its own successful writes, and since when.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use gateherald_model::leases::{Claim, ENDED_KEPT, Ended, EndedBy, Holder, Session, Version};

use super::time::Now;

/// Where a piece of knowledge comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// The first or a repeated list of the watch: what happened before it is unknown.
    List,
    /// An event of the watch, which has no gaps.
    Watch,
    /// The answer to an own write.
    Answer,
}

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    pub(super) sessions: BTreeMap<String, SessionSeen>,
    pub(super) claims: BTreeMap<IpAddr, Box<ClaimSeen>>,
    /// Since when there is no gap in it; none before the first list.
    pub(super) synced: Option<Now>,
    /// The largest lease duration that any Lease carried, own included.
    pub(super) longest: Duration,
}

/// What is known of a node's session.
#[derive(Debug)]
pub(super) struct SessionSeen {
    /// The newest version; none when the Lease is gone.
    pub(super) record: Option<(Version, Session)>,
    /// The resourceVersion of the newest change, a deletion's too.
    pub(super) revision: u64,
    /// When the newest version was received.
    pub(super) received: Now,
    /// Since when nothing about it can have been missed.
    known_since: Now,
    /// Ids that it named, and when it was seen to name them no longer; newest last.
    named: Vec<(String, Now)>,
    /// The longest D that this node's session Leases carried.
    pub(super) longest: Duration,
    /// Since when the id that it names has been known to be alive.
    pub(super) alive_since: Now,
    /// When it was last seen to name a session of another format.
    other_format_until: Option<Now>,
    /// The id that was ended last, by whom, and when that was seen.
    pub(super) last_ended: Option<(String, EndedBy, Now)>,
}

impl SessionSeen {
    /// The id of the session that its Lease says is alive.
    pub(super) fn id(&self) -> Option<&str> {
        self.record.as_ref().and_then(|(_, session)| session.id.as_deref())
    }

    /// Since when it is known not to name this id.
    pub(super) fn unnamed_since(&self, id: &str) -> Now {
        let named = self.named.iter().rev().find(|(named, _)| named == id);
        named.map_or(self.known_since, |(_, at)| at.or_later(self.known_since))
    }

    /// Whether its Lease names a living session of another format.
    pub(super) fn of_other_format(&self) -> bool {
        self.record.as_ref().is_some_and(|(_, session)| session.other_format && session.id.is_some())
    }

    /// Since when no session of another format is known to live under it.
    pub(super) fn of_own_format_since(&self) -> Now {
        self.other_format_until.map_or(self.known_since, |at| at.or_later(self.known_since))
    }

    /// Whether its Lease lists this id as ended, and who ended it.
    pub(super) fn ended(&self, id: &str) -> Option<EndedBy> {
        let (_, session) = self.record.as_ref()?;
        session.ended.iter().rev().find(|ended| ended.id == id).map(|ended| ended.by)
    }
}

/// What is known of the claim on an address.
#[derive(Debug)]
pub(super) struct ClaimSeen {
    /// The newest version; none when there is no Lease.
    pub(super) record: Option<(Version, Claim)>,
    /// The resourceVersion of the newest change, a deletion's too.
    pub(super) revision: u64,
    /// When the newest version was received.
    pub(super) received: Now,
    /// When it was seen to name the holder, or nobody, that it names now.
    pub(super) holder_since: Now,
    /// The highest leaseTransitions seen.
    pub(super) transitions: Option<u32>,
    /// The newest take has no higher leaseTransitions than was seen before, so a stranger put it there.
    pub(super) odd: bool,
    /// Who held the address last, unless it gave it up itself.
    pub(super) last: Option<LastHolder>,
}

/// A holder that has been replaced, or whose claim vanished.
#[derive(Clone, Debug)]
pub(super) struct LastHolder {
    /// None of an announcer of another format: which of its sessions it was cannot be read.
    pub(super) session: Option<String>,
    pub(super) node: String,
    /// When it was known to hold the address last.
    pub(super) at: Now,
}

/// What an observation of a session changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionChange {
    /// Nothing that was not known.
    Stale,
    /// A renewal: another version of the same.
    Renewed,
    /// Another id, other ended ids, other bids or policies, or the Lease came or went.
    Changed,
}

impl Knowledge {
    /// The largest D that any Lease carried.
    pub(super) fn note_duration(&mut self, seconds: u32) -> Duration {
        let duration = Duration::from_secs(u64::from(seconds));
        self.longest = self.longest.max(duration);
        duration
    }

    /// The session of a node, if anything is known of it.
    pub(super) fn session_id(&self, node: &str) -> Option<&str> {
        self.sessions.get(node).and_then(SessionSeen::id)
    }

    /// The node that an address was held by last, as far as it is known.
    pub(super) fn last_node(&self, address: IpAddr) -> Option<&String> {
        let seen = self.claims.get(&address)?;
        match (seen.claim().map(|claim| &claim.holder), &seen.last) {
            (
                Some(
                    Holder::Session { node, .. }
                    | Holder::OtherFormat { node }
                    | Holder::Released { node, .. },
                ),
                _,
            ) => Some(node),
            (_, Some(last)) => Some(&last.node),
            (_, None) => None,
        }
    }

    /// Takes in a version of a session; `record` is none when it was deleted at `revision`.
    pub(super) fn observe_session(
        &mut self,
        node: &str,
        revision: u64,
        record: Option<(Version, Session)>,
        via: Via,
        now: Now,
    ) -> SessionChange {
        let duration = record.as_ref().map(|(_, session)| self.note_duration(session.duration_seconds));
        let seen = self.sessions.entry(node.to_owned()).or_insert_with(|| SessionSeen {
            record: None,
            revision: 0,
            received: now,
            known_since: now,
            named: Vec::new(),
            longest: Duration::ZERO,
            alive_since: now,
            other_format_until: None,
            last_ended: None,
        });
        if revision <= seen.revision {
            return SessionChange::Stale;
        }
        let told = |record: &Option<(Version, Session)>| {
            record.as_ref().map(|(_, session)| (session.id.clone(), session.ended.clone()))
        };
        let (before, after) = (told(&seen.record), told(&record));
        let id = before.as_ref().and_then(|(id, _)| id.clone());
        if let Some(id) = id.filter(|id| after.as_ref().and_then(|(id, _)| id.as_ref()) != Some(id)) {
            seen.named.push((id, now));
            let surplus = seen.named.len().saturating_sub(ENDED_KEPT);
            if let Some((_, forgotten)) = seen.named.drain(..surplus).next_back() {
                seen.known_since = seen.known_since.or_later(forgotten);
            }
        }
        if seen.of_other_format() {
            seen.other_format_until = Some(now);
        }
        if before.as_ref().and_then(|(id, _)| id.as_ref()) != after.as_ref().and_then(|(id, _)| id.as_ref()) {
            seen.alive_since = now;
        }
        // In a gap it may have named anybody.
        if via == Via::List {
            seen.known_since = now;
        }
        let newest =
            |told: &Option<(_, Vec<Ended>)>| told.as_ref().and_then(|(_, ended)| ended.last().cloned());
        if newest(&after) != newest(&before) {
            seen.last_ended = newest(&after).map(|ended| (ended.id, ended.by, now));
        }
        seen.longest = seen.longest.max(duration.unwrap_or_default());
        let asks = |record: &Option<(Version, Session)>| {
            record.as_ref().map(|(_, session)| (session.bids.clone(), session.policies.clone()))
        };
        let asks_otherwise = asks(&seen.record) != asks(&record);
        (seen.record, seen.revision, seen.received) = (record, revision, now);
        if before == after && !asks_otherwise { SessionChange::Renewed } else { SessionChange::Changed }
    }

    /// What is known of a claim, for writing.
    pub(super) fn claim_mut(&mut self, address: IpAddr, now: Now) -> &mut ClaimSeen {
        self.claims.entry(address).or_insert_with(|| {
            Box::new(ClaimSeen {
                record: None,
                revision: 0,
                received: now,
                holder_since: now,
                transitions: None,
                odd: false,
                last: None,
            })
        })
    }
}

impl LastHolder {
    fn of(holder: &Holder, at: Now) -> Option<Self> {
        match holder {
            Holder::Session { node, session } => {
                Some(Self { session: Some(session.clone()), node: node.clone(), at })
            }
            Holder::OtherFormat { node } => Some(Self { session: None, node: node.clone(), at }),
            Holder::Released { .. } | Holder::Stranger => None,
        }
    }
}

impl ClaimSeen {
    /// Takes in a version of a claim, which must be newer than the known one; `record` is none when it was deleted.
    pub(super) fn observe(&mut self, revision: u64, record: Option<(Version, Claim)>, via: Via, now: Now) {
        let old = std::mem::replace(&mut self.record, record);
        (self.revision, self.received) = (revision, now);
        let old = old.map(|(_, claim)| claim);
        if old.as_ref().map(|claim| &claim.holder) != self.claim().map(|claim| &claim.holder) {
            self.holder_since = now;
        }
        if let Some(last) = old.as_ref().and_then(|old| LastHolder::of(&old.holder, now)) {
            self.last = Some(last);
        }
        let Some((_, new)) = &self.record else { return };
        let same_take = old.as_ref().is_some_and(|old| {
            old.holder == new.holder && old.transitions == new.transitions && via != Via::List
        });
        if !same_take {
            let lower = self.transitions.is_some_and(|seen| new.transitions <= seen);
            self.odd = lower && new.holder.session().is_some();
        }
        self.transitions = self.transitions.max(Some(new.transitions));
        if self.released_by_holder() {
            self.last = None;
        }
    }

    /// Remembers who holds the address by an event of the watch, even by one that an own write has overtaken.
    pub(super) fn note_holder(&mut self, holder: &Holder, own: &str, now: Now) {
        if let Some(last) = LastHolder::of(holder, now).filter(|last| last.session.as_deref() != Some(own)) {
            self.last = Some(last);
        }
    }

    /// The claim, if there is one.
    pub(super) fn claim(&self) -> Option<&Claim> {
        self.record.as_ref().map(|(_, claim)| claim)
    }

    /// Whether it was given up with its holder's own marker.
    pub(super) fn released_by_holder(&self) -> bool {
        self.claim().is_some_and(|claim| matches!(claim.holder, Holder::Released { .. }) && !claim.touched)
    }
}
