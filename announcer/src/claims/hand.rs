// SPDX-License-Identifier: Apache-2.0
//! This process's own hand in the claim on one address: its title and its writes (rule 6).

use std::time::Duration;

use super::time::Now;
use super::{Ground, WriteId};

/// A write of a claim that makes it ours, known by its nonce.
#[derive(Debug)]
struct Sent {
    nonce: String,
    /// It creates the Lease: then only its watch event counts.
    creates: bool,
}

/// An address that has become free.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// Since when.
    pub(super) since: Now,
    /// How many became free with it.
    pub(super) crowd: u32,
}

/// What this process holds of, and does about, one address.
#[derive(Debug, Default)]
pub(super) struct Hand {
    /// The resourceVersion of the claim that gives title.
    title: Option<u64>,
    sent: Vec<Sent>,
    /// The resourceVersion of a claim that this process created and whose watch event is to come.
    created: Option<u64>,
    pub(super) in_flight: Option<WriteId>,
    /// A release of this version was sent and must be sent again until something else is seen.
    pub(super) releasing: Option<u64>,
    /// No write before this instant of the raw clock (after a failure).
    pub(super) hold_until: Option<Duration>,
    /// Since when the address may be taken, for the order of trying.
    pub(super) turn: Option<Turn>,
    /// In the queue of those to take, at this rank.
    pub(super) queued: Option<u32>,
    /// How many probes come before the first word under this title.
    pub(super) probes: u8,
    /// A claim on it may name the own session, of which nobody has made sure that nobody else answers: those probes have not
    /// been sent, or not gone unanswered yet. Title does not matter.
    pub(super) unproven: bool,
    /// It is being taken, and whether another host uses it is asked meanwhile.
    pub(super) sought: bool,
    /// The node that the release is in favour of.
    pub(super) favours: Option<String>,
    /// When it was given up in favour of a node that has not been seen to take it.
    pub(super) handed: Option<Now>,
    /// What entitled the last take, and since when it did, until people were told.
    pub(super) ground: Option<(Ground, Now)>,
    /// When the claim was last re-written by its holder, for pacing.
    pub(super) rewritten: Option<Now>,
    /// The timer that is set for it.
    pub(super) timer: Option<Duration>,
}

impl Hand {
    /// Whether this process holds title.
    pub(super) fn titled(&self) -> bool {
        self.title.is_some()
    }

    /// The version that title is bound to.
    pub(super) fn title(&self) -> Option<u64> {
        self.title
    }

    /// Whether an own creation waits for its watch event.
    pub(super) fn awaits_event(&self) -> bool {
        self.created.is_some()
    }

    /// A write that makes the claim ours is about to be sent.
    pub(super) fn take_sent(&mut self, nonce: String, creates: bool) {
        self.sent.push(Sent { nonce, creates });
    }

    /// A release is about to be sent: title is dead whatever the answer, and nothing sent before can revive it.
    pub(super) fn release_sent(&mut self) {
        self.releasing = self.title.take();
        self.sent = Vec::new();
        self.created = None;
    }

    /// Every right is void (rule 3). The flight of a write is not: its answer only counts for nothing.
    pub(super) fn lapse(&mut self) -> bool {
        self.sent = Vec::new();
        self.created = None;
        self.releasing = None;
        self.ground = None;
        self.title.take().is_some()
    }

    /// The first watch event of a claim that this process created. Gives title unless a stranger held it within D.
    pub(super) fn creation_event(&mut self, revision: u64, stranger_held: bool) -> bool {
        if self.created != Some(revision) {
            return false;
        }
        self.created = None;
        if !stranger_held {
            self.title = Some(revision);
        }
        !stranger_held
    }

    /// A new version that names the own session, marked as `unproven` or not.
    pub(super) fn own_version(&mut self, nonce: &str, unproven: bool, revision: u64) {
        let Some(at) = self.sent.iter().position(|sent| sent.nonce == nonce) else {
            self.title = None;
            self.unproven |= unproven;
            return;
        };
        let sent = self.sent.remove(at);
        self.sent.shrink_to_fit();
        self.releasing = None;
        if sent.creates {
            self.created = Some(revision);
        } else {
            self.title = Some(revision);
        }
    }

    /// A new version that does not name the own session.
    pub(super) fn foreign_version(&mut self) {
        self.title = None;
        self.releasing = None;
        self.created = None;
        self.sent = Vec::new();
        self.unproven = false;
    }

    /// The watch has a gap: an event that was waited for may be in it, and what else happened there is unknown.
    pub(super) fn gap(&mut self) {
        self.created = None;
    }
}
