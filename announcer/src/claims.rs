// SPDX-License-Identifier: Apache-2.0
//! Who answers for an address: sessions, claims, titles. The whole of the ownership rules, without any I/O.
//!
//! [`Claims`] is told what the Lease watch and the answers to its own writes say, what this node wants, and what time
//! it is; it says which writes to send and publishes [`Rights`]. It never blocks, logs, sleeps or reads a clock.
//! The rules are numbered in `docs/ownership.md`, with the argument why at most one node answers at any instant.
//!
//! Flow: [`Claims::on_watch`], [`Claims::on_answer`], [`Claims::want`] → [`Claims::poll`] → [`Action`]s, in order.
//! The driver must let a [`Action::Publish`] take effect (no frame under the old rights any more) before it sends a
//! [`Action::Write`] that comes after it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use gateherald_model::leases::{Key, Record, Version};

pub mod time;

mod act;
mod config;
mod hand;
mod judge;
mod knowledge;
mod notice;
mod observe;
mod rank;
mod renew;
mod session;

#[cfg(test)]
mod tests;

pub use config::{Config, ConfigError};
pub use judge::Ground;
pub use notice::{LossReason, Notice};
pub use session::{LapseReason, NodeNotes};
use time::{Deadline, Now};

use hand::Hand;
use knowledge::Knowledge;
use session::OwnSession;

/// Where this process runs, and whether it has proof that it is the only announcer there (rule 8).
#[derive(Clone, Debug, Default)]
pub struct Incarnation {
    /// The kernel's boot id.
    pub boot_id: String,
    /// The inode of the network namespace.
    pub network_namespace: u64,
    /// Whether this process bound the abstract socket that only one in this network namespace can have.
    pub socket_bound: bool,
}

/// Why, and on what, this node would announce an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// The policies that select it.
    pub policies: BTreeSet<String>,
    /// The Services that have it, `namespace/name`.
    pub services: BTreeSet<String>,
    /// The links here that it would be announced on.
    pub interfaces: BTreeSet<String>,
}

/// What the one Lease watch says. Events come in the order of the API server's log, without gaps but at a `Listed`.
#[derive(Clone, Debug)]
pub enum LeaseEvent {
    /// A whole list: the first one, or after a gap. `revision` is the list's own resourceVersion.
    Listed {
        /// The Leases.
        leases: Vec<(Version, Record)>,
        /// The list's resourceVersion.
        revision: u64,
    },
    /// A Lease was created or changed.
    Changed(Version, Record),
    /// A Lease was deleted, at this resourceVersion.
    Gone(Key, u64),
    /// The connection broke; the watch goes on from where it was.
    Interrupted,
}

/// Names one write, so that its answer finds its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// One write to the API server. It is sent once: no retries below this layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// POST.
    Create(Record),
    /// PUT with the uid and the resourceVersion of this version.
    Replace(Version, Record),
    /// DELETE with both as preconditions.
    Delete(Version, Key),
}

/// The answer to a [`Write`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done; the version that it made (of a deletion: the version deleted).
    Written(Version),
    /// Not done: another version is there (409), or none (404).
    Conflict,
    /// Not done: the API server refused it (400, 403, 422 …).
    Refused,
    /// Nobody knows: a time-out, a broken connection, a 5xx.
    Unknown,
}

/// What this node may answer for, and until when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Until when; none: nothing at all.
    pub deadline: Option<Deadline>,
    /// The addresses it has title to and wants.
    pub titles: Arc<BTreeSet<IpAddr>>,
}

impl Rights {
    /// Whether a frame may speak for this address now (fresh ∧ title of rule 7).
    pub fn cover(&self, address: IpAddr, now: Now) -> bool {
        self.deadline.is_some_and(|deadline| !deadline.passed(now)) && self.titles.contains(&address)
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

/// What the driver must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell people.
    Tell(Notice),
    /// Put these rights into force, and wait until they are.
    Publish(Rights),
    /// Open the Lease watch: for the first time, or anew from where it was because no event comes.
    OpenWatch,
    /// Close the Lease watch: nothing here is selected.
    CloseWatch,
    /// Send this.
    Write(WriteId, Write),
    /// The session is ended: the process may exit.
    Finished,
}

/// The state of an address, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimState {
    /// The node that the claim names.
    pub holder: Option<String>,
    /// The session that it names.
    pub session: Option<String>,
    /// Whether this process has title to it.
    pub title: bool,
    /// How often the address changed hands.
    pub transitions: u32,
}

/// Whether the process is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Stopped answering; the session's end is to be written so many times at the most.
    Ending {
        tries: u8,
    },
    Finished,
}

/// The one writer of this node's session and claims.
pub struct Claims {
    config: Config,
    me: Incarnation,
    ids: Box<dyn FnMut() -> String + Send>,
    phase: Phase,
    notes: NodeNotes,
    wants: BTreeMap<IpAddr, Want>,
    nodes: Option<BTreeSet<String>>,
    own: OwnSession,
    leases: Knowledge,
    hands: BTreeMap<IpAddr, Hand>,
    /// The highest resourceVersion of the own session Lease that the watch has shown.
    echo: u64,
    watching: bool,
    /// Others' silence counts from here at the earliest (rule 4).
    silence_from: Now,
    /// Addresses whose claim may be written as soon as the session is fresh.
    taking: BTreeSet<IpAddr>,
    /// Another node's session is late, so the own one must be fresh to judge it.
    judging: bool,
    predecessor_told: bool,
    flights: BTreeMap<WriteId, observe::Flight>,
    next_write: u64,
    dirty: BTreeSet<IpAddr>,
    timers: BTreeSet<(Duration, IpAddr)>,
    wake: Option<Duration>,
    published: Rights,
    told: Vec<Notice>,
    writes: Vec<(WriteId, Write)>,
}

impl Claims {
    /// A process that knows nothing yet. `ids` gives ids that are never given twice, on any node.
    pub fn new(config: Config, me: Incarnation, mut ids: Box<dyn FnMut() -> String + Send>) -> Self {
        let own = OwnSession::new(ids());
        let leases = Knowledge { longest: config.duration(), ..Knowledge::default() };
        Self {
            config,
            me,
            ids,
            phase: Phase::Running,
            notes: NodeNotes::default(),
            wants: BTreeMap::new(),
            nodes: None,
            own,
            leases,
            hands: BTreeMap::new(),
            echo: 0,
            watching: false,
            silence_from: Now::default(),
            taking: BTreeSet::new(),
            judging: false,
            predecessor_told: false,
            flights: BTreeMap::new(),
            next_write: 0,
            dirty: BTreeSet::new(),
            timers: BTreeSet::new(),
            wake: None,
            published: Rights::default(),
            told: Vec::new(),
            writes: Vec::new(),
        }
    }

    /// What this node would announce from now on.
    pub fn want(&mut self, wants: BTreeMap<IpAddr, Want>) {
        let changed = |(address, want): &(&IpAddr, &Want)| self.wants.get(address) != Some(want);
        self.dirty.extend(wants.iter().filter(changed).map(|(address, _)| *address));
        self.dirty.extend(self.wants.keys().filter(|address| !wants.contains_key(address)));
        self.wants = wants;
    }

    /// What the own session tells of this node from now on.
    pub fn describe(&mut self, notes: NodeNotes) {
        self.notes = notes;
    }

    /// The nodes that exist.
    pub fn nodes(&mut self, nodes: BTreeSet<String>) {
        self.nodes = Some(nodes);
    }

    /// Stop answering and end the session.
    pub fn shut_down(&mut self) {
        if self.phase == Phase::Running {
            self.phase = Phase::Ending { tries: 3 };
        }
    }

    /// Everything that is due now. Call it after inputs, and when [`Claims::next_deadline`] says so.
    pub fn poll(&mut self, now: Now) -> Vec<Action> {
        if self.phase == Phase::Finished {
            return vec![Action::Finished];
        }
        let mut actions = Vec::new();
        self.wake = None;
        self.judging = false;
        self.tick(now);
        actions.extend(self.watch_step(now));
        self.claims_step(now);
        self.silence_step(now);
        self.session_step(now);
        actions.extend(std::mem::take(&mut self.told).into_iter().map(Action::Tell));
        actions.extend(self.publish().map(Action::Publish));
        actions
            .extend(std::mem::take(&mut self.writes).into_iter().map(|(id, write)| Action::Write(id, write)));
        if self.phase == Phase::Finished {
            actions.push(Action::Finished);
        }
        actions
    }

    /// How long from now until something is due without any input.
    pub fn next_deadline(&self, now: Now) -> Option<Duration> {
        if self.phase == Phase::Finished {
            return None;
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        [timer, self.wake].into_iter().flatten().min().map(|at| at.saturating_sub(now.raw))
    }

    /// The rights that were published last.
    pub fn rights(&self) -> &Rights {
        &self.published
    }

    /// This node's name.
    pub fn node(&self) -> &str {
        &self.config.node
    }

    /// The id of the current session.
    pub fn session(&self) -> &str {
        &self.own.id
    }

    /// Whether rights are fresh (rule 2).
    pub fn fresh(&self, now: Now) -> bool {
        self.own.fresh(&self.config, now)
    }

    /// Whether the Leases are known.
    pub fn synced(&self) -> bool {
        self.leases.synced.is_some()
    }

    /// What is known of the claim on an address.
    pub fn state(&self, address: IpAddr) -> ClaimState {
        let claim = self.leases.claims.get(&address).and_then(|seen| seen.claim());
        let (holder, session) = match claim.map(|claim| &claim.holder) {
            Some(gateherald_model::leases::Holder::Session { node, session }) => {
                (Some(node.clone()), Some(session.clone()))
            }
            _ => (None, None),
        };
        ClaimState {
            holder,
            session,
            title: self.hands.get(&address).is_some_and(Hand::titled),
            transitions: claim.map_or(0, |claim| claim.transitions),
        }
    }

    fn publish(&mut self) -> Option<Rights> {
        let running = self.phase == Phase::Running;
        let deadline = self.own.deadline(&self.config).filter(|_| running);
        let owned =
            || self.hands.iter().filter(|(address, hand)| hand.titled() && self.wants.contains_key(address));
        let same = deadline.is_some() && owned().map(|(address, _)| address).eq(self.published.titles.iter());
        let titles = match deadline {
            Some(_) if same => self.published.titles.clone(),
            Some(_) => Arc::new(owned().map(|(address, _)| *address).collect()),
            None => Arc::default(),
        };
        let rights = Rights { deadline, titles };
        (rights != self.published).then(|| {
            self.published = rights.clone();
            rights
        })
    }

    fn tell(&mut self, notice: Notice) {
        self.told.push(notice);
    }

    fn wake_in(&mut self, after: Duration, now: Now) {
        let at = now.raw + after;
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}
