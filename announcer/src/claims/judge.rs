// SPDX-License-Identifier: Apache-2.0
//! Rule 5: when the claim on an address may be written, and what speaks against it. Pure reading of [`Knowledge`].

use std::time::Duration;

use gateherald_model::leases::{EndedBy, Holder};

use super::knowledge::{ClaimSeen, Knowledge, LastHolder};
use super::rights::PROBES;
use super::time::Now;

/// Rule 8: so long other nodes leave the claims of a session that its own node ended to that node, and a claim that was
/// given up in favour of one node to that one.
const COURTESY: Duration = Duration::from_secs(1);

/// Whether an address may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// At once.
    Take(Ground),
    /// Not before so long from now, if nothing changes.
    Wait(Duration),
    /// Not while its holder's session is alive.
    Held,
    /// Not before the Leases are known.
    Unsynced,
}

/// What entitles to a take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ground {
    /// Its holder gave it up (rule 5a).
    Released,
    /// Its holder gave it up for this node.
    HandedOver,
    /// Its holder's session is ended (rule 5b).
    Ended(EndedBy),
    /// Nobody can answer for it any more, by time alone (rule 5c).
    WaitedOut,
    /// It has no claim, and had none for long enough (rule 5).
    Unclaimed,
}

impl Ground {
    /// How many probes come before the first word. Where silence is a matter of time alone, or of a holder that did not make
    /// sure of it (`unproven`) before it went, somebody may be holding on; where there was no holder, a stranger may use
    /// the address.
    pub(super) fn probes(self, unproven: bool, own_node: bool) -> u8 {
        match self {
            Self::Ended(EndedBy::Shutdown) => 0,
            Self::Ended(EndedBy::Lapse) if own_node && !unproven => 0,
            Self::Released | Self::HandedOver | Self::Ended(EndedBy::Successor) if !unproven => 0,
            Self::Unclaimed => 1,
            _ => PROBES,
        }
    }

    /// Whether no announcer has had the address, so that its one probe claims nothing that another one may be answering for.
    pub(super) fn is_new(self) -> bool {
        self == Self::Unclaimed
    }

    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::HandedOver => "handed-over",
            Self::Ended(EndedBy::Shutdown) => "shutdown",
            Self::Ended(EndedBy::Lapse) => "lapse",
            Self::Ended(EndedBy::Successor) => "successor",
            Self::Ended(EndedBy::Observer) => "silence",
            Self::WaitedOut => "waited-out",
            Self::Unclaimed => "unclaimed",
        }
    }
}

/// Who judges: this node, under this session id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Me<'a> {
    pub(super) node: &'a str,
    pub(super) session: &'a str,
}

impl Knowledge {
    /// Judges the claim on an address that `me` has no title to.
    pub(super) fn judge(&self, seen: Option<&ClaimSeen>, me: Me<'_>, now: Now) -> Verdict {
        let Some(synced) = self.synced else { return Verdict::Unsynced };
        let Some(seen) = seen else { return self.after(synced, Ground::Unclaimed, now) };
        match seen.claim().map(|claim| &claim.holder) {
            None => self.judge_missing(seen, synced, me, now),
            Some(Holder::Released { favours, .. }) if seen.released_by_holder() => match favours.as_deref() {
                None => Verdict::Take(Ground::Released),
                Some(node) if node == me.node => Verdict::Take(Ground::HandedOver),
                Some(_) => wait(seen.received, COURTESY, now).unwrap_or(Verdict::Take(Ground::Released)),
            },
            Some(Holder::OtherFormat { node }) => self.judge_other_format(node, seen.received, synced, now),
            Some(Holder::Released { .. } | Holder::Stranger) => {
                self.after(seen.received, Ground::WaitedOut, now)
            }
            Some(Holder::Session { session, .. }) if session == me.session => {
                self.after(seen.received, Ground::WaitedOut, now)
            }
            Some(Holder::Session { node, session }) => {
                let trusted = !seen.odd && seen.claim().is_some_and(|claim| !claim.touched);
                self.judge_holder(node, session, seen.received, trusted, me, now)
            }
        }
    }

    /// Which session of the node holds it cannot be read; none can be fresh whose Lease has not named one of that format
    /// for D.
    fn judge_other_format(&self, node: &str, since: Now, synced: Now, now: Now) -> Verdict {
        let since = since.or_later(synced);
        match self.sessions.get(node) {
            Some(seen) if seen.of_other_format() => Verdict::Held,
            Some(seen) => self.after(since.or_later(seen.of_own_format_since()), Ground::WaitedOut, now),
            None => self.after(since, Ground::WaitedOut, now),
        }
    }

    /// A missing claim: the last holder seen still counts, and nothing is created before the watch is old enough.
    ///
    /// Its title went with the claim, if it has seen that; a holder that has not seen it for D is not fresh, alive or not.
    fn judge_missing(&self, seen: &ClaimSeen, synced: Now, me: Me<'_>, now: Now) -> Verdict {
        let holder = match &seen.last {
            None => Verdict::Take(Ground::Unclaimed),
            Some(LastHolder { session, node, at }) => {
                let other = session.as_deref().filter(|session| *session != me.session && !seen.odd);
                other
                    .and_then(|session| self.judge_ended(node, session, me, now))
                    .unwrap_or_else(|| self.after(at.or_later(synced), Ground::WaitedOut, now))
            }
        };
        match (holder, self.after(synced, Ground::Unclaimed, now)) {
            (Verdict::Take(_), Verdict::Wait(left)) => Verdict::Wait(left),
            (Verdict::Wait(one), Verdict::Wait(other)) => Verdict::Wait(one.max(other)),
            (holder, _) => holder,
        }
    }

    fn judge_holder(
        &self,
        node: &str,
        session: &str,
        since: Now,
        trusted: bool,
        me: Me<'_>,
        now: Now,
    ) -> Verdict {
        let Some(synced) = self.synced else { return Verdict::Unsynced };
        let Some(seen) = self.sessions.get(node) else {
            return self.after(since.or_later(synced), Ground::WaitedOut, now);
        };
        if let Some(verdict) = self.judge_ended(node, session, me, now).filter(|_| trusted) {
            return verdict;
        }
        if seen.id() == Some(session) {
            return Verdict::Held;
        }
        self.after(since.or_later(synced).or_later(seen.unnamed_since(session)), Ground::WaitedOut, now)
    }

    /// Rule 5b: none if the session is not listed as ended.
    fn judge_ended(&self, node: &str, session: &str, me: Me<'_>, now: Now) -> Option<Verdict> {
        let seen = self.sessions.get(node)?;
        let take = Verdict::Take(Ground::Ended(seen.ended(session)?));
        Some(match &seen.last_ended {
            Some((id, EndedBy::Lapse | EndedBy::Successor, at)) if id == session && node != me.node => {
                wait(*at, COURTESY, now).unwrap_or(take)
            }
            _ => take,
        })
    }

    /// Rule 5c: D after `since`, with the largest D that anybody may be trusting in.
    fn after(&self, since: Now, ground: Ground, now: Now) -> Verdict {
        wait(since, self.longest, now).unwrap_or(Verdict::Take(ground))
    }
}

fn wait(since: Now, length: Duration, now: Now) -> Option<Verdict> {
    let left = length.saturating_sub(now.at_least_since(since));
    (!left.is_zero()).then_some(Verdict::Wait(left))
}
