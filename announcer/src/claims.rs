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

use gateherald_model::few::Few;
use gateherald_model::leases::{Key, Record, Version};

pub mod time;

mod act;
mod balance;
mod config;
mod hand;
mod hand_over;
mod hold;
mod judge;
mod knowledge;
mod notice;
mod observe;
mod rank;
mod renew;
mod rights;
mod session;
mod summary;

#[cfg(test)]
mod tests;

pub use balance::Rebalance;
pub use config::{Config, ConfigError};
pub use hold::{HoldEnd, OnOutage};
pub use judge::Ground;
pub use notice::{LossReason, Notice};
pub use rights::{Cover, Heard, InForce, ProbesDue, Rights, Round};
pub use session::{LapseReason, NodeNotes};
use time::Now;

use balance::Balance;
use hand::Hand;
use hold::Holding;
use knowledge::Knowledge;
use session::OwnSession;
use summary::Summary;

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
    pub policies: Few<String>,
    /// The Services that have it, `namespace/name`.
    pub services: Few<String>,
    /// The links here that it would be announced on.
    pub interfaces: Few<String>,
    /// The node that shall have it whenever it can.
    pub preferred_node: Option<String>,
    /// It is announced here only until another node has it: this one is being emptied.
    pub leaving: bool,
}

/// What this node would announce.
pub type Wants = BTreeMap<IpAddr, Arc<Want>>;

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
    /// Whether this process answers for it without title, or will again: the API server is away.
    pub held: bool,
    /// How often the address changed hands.
    pub transitions: u32,
    /// When it was seen to have this holder, or none; none if its claim was never seen.
    pub since: Option<Now>,
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
    wants: Arc<Wants>,
    nodes: Option<BTreeSet<String>>,
    own: OwnSession,
    leases: Knowledge,
    /// Boxed, as everything large by address is: half of a node of the tree is room for more.
    hands: BTreeMap<IpAddr, Box<Hand>>,
    /// The highest resourceVersion of the own session Lease that the watch has shown.
    echo: u64,
    watching: bool,
    /// Others' silence counts from here at the earliest (rule 4).
    silence_from: Now,
    /// Addresses whose claim may be taken as soon as the session is fresh and there is room, by their rank here.
    queue: BTreeSet<(u32, IpAddr)>,
    /// Addresses to give up as soon as there is room.
    releases: BTreeSet<IpAddr>,
    /// How many claims are being looked at together.
    crowd: u32,
    /// Addresses that this node asks their holders for.
    bids: BTreeSet<IpAddr>,
    balance: Balance,
    holding: Holding,
    /// Another node's session is late, so the own one must be fresh to judge it.
    judging: bool,
    predecessor_told: bool,
    flights: BTreeMap<WriteId, observe::Flight>,
    next_write: u64,
    dirty: BTreeSet<IpAddr>,
    summary: Summary,
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
            wants: Arc::default(),
            nodes: None,
            own,
            leases,
            hands: BTreeMap::new(),
            echo: 0,
            watching: false,
            silence_from: Now::default(),
            queue: BTreeSet::new(),
            releases: BTreeSet::new(),
            crowd: 0,
            bids: BTreeSet::new(),
            balance: Balance::default(),
            holding: Holding::default(),
            judging: false,
            predecessor_told: false,
            flights: BTreeMap::new(),
            next_write: 0,
            dirty: BTreeSet::new(),
            summary: Summary::default(),
            timers: BTreeSet::new(),
            wake: None,
            published: Rights::default(),
            told: Vec::new(),
            writes: Vec::new(),
        }
    }

    /// What this node would announce from now on.
    pub fn want(&mut self, wants: Arc<Wants>) {
        if Arc::ptr_eq(&self.wants, &wants) {
            return;
        }
        let changed = |(address, want): &(&IpAddr, &Arc<Want>)| self.wants.get(address) != Some(want);
        self.dirty.extend(wants.iter().filter(changed).map(|(address, _)| *address));
        self.dirty.extend(self.wants.keys().filter(|address| !wants.contains_key(address)));
        self.hold_only(&wants);
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
            self.holding.clear();
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
        self.hold_step(now);
        self.balance_step(now);
        self.claims_step(now);
        self.silence_step(now);
        self.session_step(now);
        actions.extend(std::mem::take(&mut self.told).into_iter().map(Action::Tell));
        actions.extend(self.publish(now).map(Action::Publish));
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
        let seen = self.leases.claims.get(&address);
        let claim = seen.and_then(|seen| seen.claim());
        let (holder, session) = match claim.map(|claim| &claim.holder) {
            Some(gateherald_model::leases::Holder::Session { node, session }) => {
                (Some(node.clone()), Some(session.clone()))
            }
            _ => (None, None),
        };
        ClaimState {
            holder,
            session,
            title: self.hands.get(&address).is_some_and(|hand| hand.titled()),
            held: self.holding.contains(address),
            transitions: claim.map_or(0, |claim| claim.transitions),
            since: seen.map(|seen| seen.holder_since),
        }
    }

    fn publish(&mut self, now: Now) -> Option<Rights> {
        let running = self.phase == Phase::Running;
        let deadline = self.own.deadline(&self.config).filter(|_| running);
        let (held, mut probes) = self.held_rights();
        let titles = deadline.map(|_| {
            probes.extend(&self.summary.probes);
            Arc::clone(&self.summary.titles)
        });
        let rights = Rights {
            deadline,
            titles: titles.unwrap_or_default(),
            held,
            probes: Arc::new(probes),
            sought: if running { Arc::clone(&self.summary.sought) } else { Arc::default() },
            as_of: now,
        };
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
