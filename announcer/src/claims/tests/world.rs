// SPDX-License-Identifier: Apache-2.0
//! A small hostile world for the production rules: a linearizable API server, messages that are lost, late or out of
//! order, a lagging watch per process, processes that crash, freeze and restart, clocks that drift, and people who edit
//! and delete Leases. Everything that happens is an [`Act`], so that a schedule can be replayed and shortened.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use gateherald_model::leases::{Claim, Holder, Key, Record, Session, Version};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::claims::time::Now;
use crate::claims::{
    Action, Answer, Claims, Config, Cover, InForce, Incarnation, LeaseEvent, NodeNotes, OnOutage, Rebalance,
    Want, Write, WriteId,
};
use crate::standoff::Standoffs;

use lan::Frame;
use mood::Mood;

mod lan;
mod mood;

/// Events that a process takes in at once while nothing goes wrong, as the program does.
const BATCH: usize = 256;

/// What a world is made of.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a circumstance of its own")]
pub(super) struct Setup {
    pub(super) seed: u64,
    pub(super) nodes: usize,
    pub(super) addresses: u16,
    pub(super) faults: bool,
    pub(super) hold: bool,
    pub(super) slow_balance: bool,
    /// Milliseconds from one node's start to the next one's.
    pub(super) stagger: u64,
    /// Nobody asks whether a new address is used.
    pub(super) unprobed: bool,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Time passes, in milliseconds.
    Pass(u64),
    /// The API server takes the nth message under way that process `.0` sent.
    Serve(usize, usize),
    /// Process `.0` gets the nth answer that is under way to it.
    Deliver(usize, usize),
    /// The nth message or answer of process `.0` is lost.
    Lose(usize, usize),
    /// Process `.0` stops waiting for its nth write.
    GiveUp(usize, usize),
    /// Process `.0` sees the next events of its watch, so many.
    Watch(usize, usize),
    /// The watch of process `.0` breaks; with a gap, so that it must list again, or without.
    Break(usize, bool),
    /// Process `.0` runs because one of its deadlines has passed.
    Run(usize),
    /// Process `.0` stands still for so many milliseconds.
    Freeze(usize, u64),
    /// Process `.0` dies; another starts on its node.
    Crash(usize),
    /// A second process starts on the node of process `.0`, in another network namespace.
    Second(usize),
    /// Process `.0` is told to shut down; another starts on its node.
    Stop(usize),
    /// Process `.0` wants an address, or no longer.
    Toggle(usize, u8),
    /// The node of process `.0` is emptied, or no longer.
    Leave(usize),
    /// The address is to be on the node of process `.0`, or on any.
    Prefer(usize, u8),
    /// One of the two links of process `.0` goes, or comes back.
    Link(usize),
    /// Process `.0` does not reach the API server, or does again.
    Cut(usize, bool),
    /// The API server is down, or up again.
    Down(bool),
    /// Process `.0` stops, and its node goes on with another D or another format.
    Upgrade(usize),
    /// A person edits.
    Hand(Hand, usize),
}

/// What people do to Leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hand {
    DeleteClaim,
    DeleteSession,
    NameStranger,
    NameUnknownSession,
    Empty,
    RestoreOlder,
}

const HANDS: [Hand; 6] = [
    Hand::DeleteClaim,
    Hand::DeleteSession,
    Hand::NameStranger,
    Hand::NameUnknownSession,
    Hand::Empty,
    Hand::RestoreOlder,
];

/// One announcer process.
#[allow(clippy::struct_excessive_bools, reason = "each is a fault or a wish of its own")]
pub(super) struct Process {
    pub(super) node: String,
    pub(super) claims: Claims,
    pub(super) alive: bool,
    namespace: u64,
    frozen_until: u64,
    /// Parts per million that its two clocks run wrong.
    drift: (i64, i64),
    /// How far its watch has come in the log; none while it is closed.
    position: Option<usize>,
    /// Its next event is a list.
    lists: bool,
    waiting: BTreeMap<WriteId, u64>,
    pub(super) wants: BTreeSet<IpAddr>,
    pub(super) leaving: bool,
    links: u8,
    /// Cannot reach the API server.
    cut: bool,
    /// The version of the Leases' format that it writes and reads.
    format: u8,
    renew: u64,
    /// The answering thread's part of it.
    pub(super) force: InForce,
    /// Its disputes with hosts that are no announcers.
    standoffs: Standoffs,
    /// Frames that came while it stood still.
    unread: Vec<Frame>,
    /// When a stranger's answers to its probes come, and about what.
    answers: Vec<(u64, IpAddr)>,
    announced: BTreeSet<IpAddr>,
    /// It has heard something since it ran last.
    stirred: bool,
}

struct Message {
    from: usize,
    id: WriteId,
    body: Body,
}

#[allow(clippy::large_enum_variant, reason = "a test's")]
enum Body {
    Request(Write),
    Reply(Answer),
}

/// With the format of its writer.
type Stored = (Version, Record, u8);

/// The world.
pub(super) struct World {
    pub(super) setup: Setup,
    mood: Mood,
    pub(super) now: u64,
    revision: u64,
    store: BTreeMap<Key, Stored>,
    log: Vec<(u64, Key, Option<Stored>)>,
    net: Vec<Message>,
    pub(super) processes: Vec<Process>,
    ids: u64,
    down: bool,
    preferred: BTreeMap<IpAddr, String>,
    /// The address that a host uses which is no announcer.
    pub(super) squatted: Option<IpAddr>,
    /// How many processes a node has had, for rolling changes.
    generations: BTreeMap<String, u32>,
    /// Writes that the API server has been sent.
    pub(super) requests: usize,
}

impl World {
    pub(super) fn new(setup: Setup) -> Self {
        let mut world = Self {
            now: 1_000,
            revision: 1,
            store: BTreeMap::new(),
            log: Vec::new(),
            net: Vec::new(),
            processes: Vec::new(),
            ids: 0,
            down: false,
            preferred: BTreeMap::new(),
            generations: BTreeMap::new(),
            requests: 0,
            squatted: (setup.faults && setup.seed % 5 == 1).then(|| Self::address(setup.addresses - 1)),
            mood: Mood::new(&setup),
            setup,
        };
        for n in 0..world.setup.nodes {
            world.start(&format!("n{n}"), 1);
            world.calm(world.setup.stagger, |_| {});
        }
        if world.setup.faults {
            // Most begin with everything owned.
            world.calm(if world.setup.seed.is_multiple_of(8) { 1 } else { 6_000 }, |_| {});
        }
        world
    }

    pub(super) fn address(n: u16) -> IpAddr {
        let [high, low] = n.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(10, 9, high, low))
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        (0..self.setup.addresses).map(Self::address)
    }

    /// Starts a process; what differs between processes follows from the seed and their number.
    fn start(&mut self, node: &str, namespace: u64) {
        let n = self.processes.len();
        let mut random = StdRng::seed_from_u64(self.setup.seed ^ (n as u64) << 40);
        let bound = !self.processes.iter().any(|p| p.alive && p.node == node && p.namespace == namespace);
        let me = Incarnation { boot_id: "boot".into(), network_namespace: namespace, socket_bound: bound };
        let generation = *self.generations.entry(node.to_owned()).or_default();
        let (duration_seconds, renew) = self.mood.times(&mut random, generation);
        let on_outage =
            if self.setup.hold && random.random_bool(0.8) { OnOutage::Hold } else { OnOutage::Fence };
        let rebalance = if self.setup.slow_balance { Rebalance::Slow } else { Rebalance::Off };
        let renew_period = Duration::from_millis(renew);
        let config = Config {
            node: node.into(),
            duration_seconds,
            renew_period,
            on_outage,
            rebalance,
            // Without, nobody finds out in time that a stranger uses an address.
            probe_new: !self.setup.unprobed
                && (self.squatted.is_some() || !self.setup.seed.is_multiple_of(3)),
        };
        config.validate().unwrap();
        let mut next = 0;
        let ids = move || {
            next += 1;
            format!("p{n}.{next}")
        };
        let mut claims = Claims::new(config, me, Box::new(ids));
        claims.describe(NodeNotes { policies: ["p".to_owned()].into(), links: vec![lan::note(n)] });
        self.processes.push(Process {
            node: node.into(),
            claims,
            alive: true,
            namespace,
            frozen_until: 0,
            drift: (random.random_range(-5_000..5_000), random.random_range(-5_000..5_000)),
            position: None,
            lists: false,
            waiting: BTreeMap::new(),
            wants: (0..self.setup.addresses).map(Self::address).collect(),
            leaving: false,
            links: 2,
            cut: false,
            format: self.mood.format(generation),
            renew,
            force: InForce::default(),
            standoffs: Standoffs::default(),
            unread: Vec::new(),
            answers: Vec::new(),
            announced: BTreeSet::new(),
            stirred: false,
        });
        self.wish(n);
        self.run(n);
    }

    fn wish(&mut self, n: usize) {
        let process = &self.processes[n];
        let want = |address: &IpAddr| Want {
            policies: ["p".to_owned()].into(),
            services: ["ns/s".to_owned()].into(),
            interfaces: ["a", "b"][..usize::from(process.links)]
                .iter()
                .map(|&name| name.to_owned())
                .collect(),
            preferred_node: self.preferred.get(address).cloned(),
            leaving: process.leaving,
        };
        let wants = process.wants.iter().map(|address| (*address, Arc::new(want(address)))).collect();
        self.processes[n].claims.want(Arc::new(wants));
    }

    /// What a process's clocks say.
    fn clock(&self, n: usize) -> Now {
        let (boot, raw) = self.processes[n].drift;
        let at = |drift: i64| {
            let micros = i128::from(self.now) * (1_000_000 + i128::from(drift)) / 1_000;
            Duration::from_micros(u64::try_from(micros).unwrap())
        };
        Now { boot: at(boot), raw: at(raw) }
    }

    fn frozen(&self, n: usize) -> bool {
        self.now < self.processes[n].frozen_until
    }

    fn able(&self, n: usize) -> bool {
        self.processes.get(n).is_some_and(|p| p.alive) && !self.frozen(n)
    }

    /// The processes that may answer for an address at this instant.
    pub(super) fn answering(&self, address: IpAddr) -> Vec<usize> {
        let may = |n: &usize| {
            let process = &self.processes[*n];
            self.able(*n)
                && process.wants.contains(&address)
                && process.standoffs.refusal(address).is_none()
                && matches!(process.force.cover(address, self.clock(*n)), Cover::Fresh(_) | Cover::Held)
        };
        (0..self.processes.len()).filter(may).collect()
    }

    fn due(&self, n: usize) -> bool {
        let process = &self.processes[n];
        process.stirred || process.claims.next_deadline(self.clock(n)).is_some_and(|left| left.is_zero())
    }

    fn run(&mut self, n: usize) {
        let now = self.clock(n);
        self.processes[n].stirred = false;
        for action in self.processes[n].claims.poll(now) {
            match action {
                Action::Tell(_) => {}
                Action::Publish(rights) => {
                    let process = &mut self.processes[n];
                    let heard = process.force.put(rights, now);
                    process.standoffs.confirm(process.force.rights(), now);
                    self.hear(n, heard);
                    self.turn(n);
                }
                Action::OpenWatch => {
                    let process = &mut self.processes[n];
                    process.lists |= process.position.is_none();
                    process.position.get_or_insert(self.log.len());
                }
                Action::CloseWatch => self.processes[n].position = None,
                Action::Write(id, write) => {
                    self.requests += 1;
                    let sent = self.now;
                    self.processes[n].waiting.insert(id, sent);
                    self.net.push(Message { from: n, id, body: Body::Request(write) });
                }
                Action::Finished => self.processes[n].alive = false,
            }
        }
    }

    fn put(&mut self, key: Key, record: Option<(Record, u8)>, uid: Option<String>) -> Option<Version> {
        self.revision += 1;
        self.ids += 1;
        let uid = uid.unwrap_or_else(|| format!("u{}", self.ids));
        let version = Version { uid, resource_version: self.revision };
        let stored = record.map(|(record, format)| (version.clone(), record, format));
        match &stored {
            Some(stored) => self.store.insert(key.clone(), stored.clone()),
            None => self.store.remove(&key),
        };
        let version = stored.is_some().then_some(version);
        self.log.push((self.revision, key, stored));
        version
    }

    fn serve(&mut self, write: Write, format: u8) -> Answer {
        let (key, record, expected) = match write {
            Write::Create(record) => (record.key(), Some(record), None),
            Write::Replace(version, record) => (record.key(), Some(record), Some(version)),
            Write::Delete(version, key) => (key, None, Some(version)),
        };
        let stored = self.store.get(&key).map(|(version, ..)| version.clone());
        // A PUT that names a uid never re-creates; one that names none does (seen on 1.36.3).
        let fits = match (&stored, &expected) {
            (None, Some(expected)) => expected.uid.is_empty(),
            (Some(stored), Some(expected)) if expected.uid.is_empty() => {
                stored.resource_version == expected.resource_version
            }
            (stored, expected) => stored == expected,
        };
        if !fits {
            return Answer::Conflict;
        }
        let uid = stored.as_ref().map(|version| version.uid.clone());
        match self.put(key, record.map(|record| (record, format)), uid) {
            Some(version) => Answer::Written(version),
            None => stored.map_or(Answer::Conflict, Answer::Written),
        }
    }

    /// What a process reads that knows another format than the writer's: `gateherald_model::leases::read`, in short.
    fn read((version, record, written): Stored, read: u8) -> (Version, Record) {
        let record = match record {
            _ if written == read => record,
            Record::Session(Session { node, id, duration_seconds, .. }) => {
                let id = id.map(|id| format!("{node}_{id}"));
                Record::Session(Session {
                    node,
                    id,
                    other_format: true,
                    duration_seconds,
                    ..Session::default()
                })
            }
            Record::Claim(claim) => {
                let holder = match claim.holder {
                    Holder::Session { node, .. } | Holder::OtherFormat { node } => {
                        Holder::OtherFormat { node }
                    }
                    Holder::Released { .. } | Holder::Stranger => Holder::Stranger,
                };
                Record::Claim(Claim { holder, unproven: false, ..claim })
            }
        };
        (version, record)
    }

    fn hand(&mut self, hand: Hand, which: usize) -> bool {
        let claims: Vec<IpAddr> = self.addresses().collect();
        let key = Key::Claim(claims[which % claims.len()]);
        if hand == Hand::DeleteSession {
            let key = Key::Session(format!("n{}", which % self.setup.nodes));
            return self.store.contains_key(&key) && self.put(key, None, None).is_none();
        }
        let Some((version, Record::Claim(claim), format)) = self.store.get(&key).cloned() else {
            return false;
        };
        let edited = |holder| Claim { holder, nonce: "hand".into(), touched: true, ..claim.clone() };
        let session =
            |node: &str, session: &str| Holder::Session { node: node.into(), session: session.into() };
        let record = match hand {
            Hand::DeleteClaim | Hand::DeleteSession => None,
            Hand::NameStranger => Some(edited(session("x", "x1"))),
            Hand::NameUnknownSession => Some(edited(session("n0", "p0.0"))),
            Hand::Empty => Some(edited(Holder::Stranger)),
            Hand::RestoreOlder => {
                let older = self.log.iter().rev().find_map(|(_, k, stored)| match stored {
                    Some((_, Record::Claim(old), _)) if *k == key => {
                        (old.holder != claim.holder).then(|| old.clone())
                    }
                    _ => None,
                });
                let Some(older) = older else { return false };
                Some(Claim { touched: true, ..older })
            }
        };
        self.put(key, record.map(|claim| (Record::Claim(claim), format)), Some(version.uid));
        true
    }

    fn nth(&self, from: usize, n: usize, reply: Option<bool>) -> Option<usize> {
        let fits = |(_, m): &(usize, &Message)| {
            m.from == from && reply.is_none_or(|reply| reply == matches!(m.body, Body::Reply(_)))
        };
        self.net.iter().enumerate().filter(fits).nth(n).map(|(at, _)| at)
    }

    /// Lets something happen; says whether it could.
    pub(super) fn step(&mut self, act: &Act) -> bool {
        match *act {
            Act::Pass(millis) => self.pass(millis),
            Act::Serve(from, n) => {
                if self.down || self.processes.get(from).is_some_and(|p| p.cut) {
                    return false;
                }
                let Some(at) = self.nth(from, n, Some(false)) else { return false };
                let Message { id, body: Body::Request(write), .. } = self.net.remove(at) else {
                    return false;
                };
                let answer = self.serve(write, self.processes[from].format);
                self.net.push(Message { from, id, body: Body::Reply(answer) });
            }
            Act::Deliver(to, n) => {
                if !self.able(to) || self.down || self.processes[to].cut {
                    return false;
                }
                let Some(at) = self.nth(to, n, Some(true)) else { return false };
                let Message { id, body: Body::Reply(answer), .. } = self.net.remove(at) else { return false };
                if self.processes[to].waiting.remove(&id).is_some() {
                    let now = self.clock(to);
                    self.processes[to].claims.on_answer(id, answer, now);
                    self.run(to);
                }
            }
            Act::Lose(from, n) => {
                let Some(at) = self.nth(from, n, None) else { return false };
                self.net.remove(at);
            }
            Act::GiveUp(from, n) => {
                if !self.able(from) {
                    return false;
                }
                let Some(id) = self.processes[from].waiting.keys().nth(n).copied() else { return false };
                self.processes[from].waiting.remove(&id);
                let now = self.clock(from);
                self.processes[from].claims.on_answer(id, Answer::Unknown, now);
                self.run(from);
            }
            Act::Watch(n, events) => return self.able(n) && self.watch(n, events),
            Act::Break(n, gap) => return self.able(n) && self.break_watch(n, gap),
            Act::Run(n) => {
                if !self.able(n) || !self.due(n) {
                    return false;
                }
                self.run(n);
            }
            Act::Freeze(n, millis) => {
                if !self.able(n) {
                    return false;
                }
                self.processes[n].frozen_until = self.now + millis;
            }
            Act::Leave(_) | Act::Prefer(..) | Act::Link(_) | Act::Cut(..) | Act::Down(_) => {
                return self.circumstance(act);
            }
            Act::Upgrade(n) => return self.upgrade(n),
            Act::Crash(n) => {
                if !self.processes.get(n).is_some_and(|p| p.alive) {
                    return false;
                }
                self.processes[n].alive = false;
                let (node, namespace) = (self.processes[n].node.clone(), self.processes[n].namespace);
                self.start(&node, namespace);
            }
            Act::Second(n) => {
                if self.processes.iter().any(|p| p.namespace != 1) || n >= self.processes.len() {
                    return false;
                }
                let node = self.processes[n].node.clone();
                self.start(&node, 2);
            }
            Act::Stop(n) => {
                if !self.able(n) {
                    return false;
                }
                self.processes[n].claims.shut_down();
                self.run(n);
                let (node, namespace) = (self.processes[n].node.clone(), self.processes[n].namespace);
                self.start(&node, namespace);
            }
            Act::Toggle(n, address) => {
                if !self.able(n) {
                    return false;
                }
                let address = Self::address(address.into());
                let wants = &mut self.processes[n].wants;
                if !wants.remove(&address) {
                    wants.insert(address);
                }
                self.wish(n);
                self.run(n);
            }
            Act::Hand(hand, which) => return self.hand(hand, which),
        }
        true
    }

    fn upgrade(&mut self, n: usize) -> bool {
        if !self.able(n) {
            return false;
        }
        *self.generations.entry(self.processes[n].node.clone()).or_default() += 1;
        self.step(&Act::Stop(n))
    }

    /// What people and machines around the processes do.
    fn circumstance(&mut self, act: &Act) -> bool {
        let of = match *act {
            Act::Down(down) => return std::mem::replace(&mut self.down, down) != down,
            Act::Cut(n, _) | Act::Leave(n) | Act::Link(n) | Act::Prefer(n, _) => n,
            _ => return false,
        };
        if self.processes.get(of).is_none_or(|p| !p.alive) {
            return false;
        }
        let process = &mut self.processes[of];
        match *act {
            Act::Cut(_, cut) => return std::mem::replace(&mut process.cut, cut) != cut,
            Act::Leave(_) => process.leaving = !process.leaving,
            Act::Link(_) => process.links = 3 - process.links,
            Act::Prefer(_, address) => {
                let (address, node) = (Self::address(address.into()), process.node.clone());
                if self.preferred.remove(&address).is_none() {
                    self.preferred.insert(address, node);
                }
            }
            _ => {}
        }
        for n in (0..self.processes.len()).filter(|n| self.able(*n)).collect::<Vec<_>>() {
            self.wish(n);
            self.run(n);
        }
        true
    }

    fn watch(&mut self, n: usize, events: usize) -> bool {
        if self.down || self.processes[n].cut {
            return false;
        }
        let format = self.processes[n].format;
        let Some(position) = self.processes[n].position else { return false };
        let now = self.clock(n);
        if std::mem::take(&mut self.processes[n].lists) {
            // The list is what was there at that point of the log.
            let mut leases = BTreeMap::new();
            for (_, key, stored) in &self.log[..position] {
                match stored {
                    Some(stored) => leases.insert(key.clone(), stored.clone()),
                    None => leases.remove(key),
                };
            }
            let revision = self.log[..position].last().map_or(1, |(revision, ..)| *revision);
            let leases = leases.into_values().map(|stored| Self::read(stored, format)).collect();
            self.processes[n].claims.on_watch(LeaseEvent::Listed { leases, revision }, now);
            self.run(n);
            return true;
        }
        let upto = (position + events).min(self.log.len());
        if upto == position {
            return false;
        }
        let events = self.log[position..upto].to_vec();
        for (revision, key, stored) in events {
            let event = match stored {
                Some(stored) => {
                    let (version, record) = Self::read(stored, format);
                    LeaseEvent::Changed(version, record)
                }
                None => LeaseEvent::Gone(key, revision),
            };
            self.processes[n].claims.on_watch(event, now);
        }
        self.processes[n].position = Some(upto);
        self.run(n);
        true
    }

    fn break_watch(&mut self, n: usize, gap: bool) -> bool {
        if self.processes[n].position.is_none() || self.processes[n].lists {
            return false;
        }
        let now = self.clock(n);
        self.processes[n].claims.on_watch(LeaseEvent::Interrupted, now);
        if gap {
            self.processes[n].position = Some(self.log.len());
            self.processes[n].lists = true;
        }
        self.run(n);
        true
    }

    /// Two that may answer for one address, if there are such.
    pub(super) fn violation(&self) -> Option<(IpAddr, Vec<String>)> {
        self.addresses().find_map(|address| {
            let who = self.answering(address);
            let name = |n: &usize| format!("process {n} on {}", self.processes[*n].node);
            let stranger = (self.squatted == Some(address)).then(|| "a stranger".to_owned());
            let who: Vec<String> = stranger.into_iter().chain(who.iter().map(name)).collect();
            (who.len() > 1).then_some((address, who))
        })
    }

    /// As [`World::violation`], for worlds with many addresses: looks at what processes have, not at what there is.
    pub(super) fn two_owners(&self) -> Option<IpAddr> {
        let mut owned = BTreeSet::new();
        for n in (0..self.processes.len()).filter(|n| self.able(*n)) {
            let (force, now) = (&self.processes[n].force, self.clock(n));
            let speaks =
                |address: &IpAddr| matches!(force.cover(*address, now), Cover::Fresh(_) | Cover::Held);
            let twice = force.listens_to().filter(speaks).find(|address| !owned.insert(*address));
            if twice.is_some() {
                return twice;
            }
        }
        None
    }

    /// How many addresses each process answers for.
    pub(super) fn shares(&self) -> Vec<usize> {
        let count = |n: usize| {
            let (force, now) = (&self.processes[n].force, self.clock(n));
            let fresh = |address: &IpAddr| matches!(force.cover(*address, now), Cover::Fresh(_));
            if self.able(n) { force.listens_to().filter(fresh).count() } else { 0 }
        };
        (0..self.processes.len()).map(count).collect()
    }

    /// How many addresses are answered for under a held right.
    pub(super) fn held(&self) -> usize {
        let held = |n: &usize| {
            let (force, now) = (&self.processes[*n].force, self.clock(*n));
            self.able(*n) && self.addresses().any(|address| force.cover(address, now) == Cover::Held)
        };
        (0..self.processes.len()).filter(held).count()
    }

    /// Two announcers on one node are a fault too: only the youngest of each node goes on.
    pub(super) fn one_per_node(&mut self) {
        self.down = false;
        let mut seen = BTreeSet::new();
        for process in self.processes.iter_mut().rev().filter(|p| p.alive) {
            process.alive = seen.insert(process.node.clone());
            process.cut = false;
        }
    }

    /// Nothing is late or lost any more, for so many milliseconds. Calls `check` after each thing that happens.
    pub(super) fn calm(&mut self, millis: u64, mut check: impl FnMut(&Self)) {
        let end = self.now + millis;
        while self.now < end {
            let mut rounds = 0;
            while self.settle() {
                check(self);
                rounds += 1;
                assert!(rounds < 2_000, "seed {}: a busy loop\n{}", self.setup.seed, self.picture());
            }
            let next = (0..self.processes.len()).filter(|n| self.able(*n)).filter_map(|n| {
                self.processes[n].claims.next_deadline(self.clock(n)).map(|left| left.as_millis())
            });
            let left = next.min().and_then(|left| u64::try_from(left).ok()).unwrap_or(100);
            self.pass(left.clamp(1, 100));
            check(self);
        }
    }

    /// The Leases and the processes, for a failure's message.
    pub(super) fn picture(&self) -> String {
        let leases = self.store.iter().map(|(key, stored)| format!("{key:?}: {stored:?}"));
        let processes = self.processes.iter().enumerate().filter(|(_, p)| p.alive).map(|(n, p)| {
            let (own, hands, seen) = (&p.claims.own, &p.claims.hands, &p.claims.leases);
            format!(
                "process {n} on {} at {:?} wants {:?}\n  {own:?}\n  {hands:?}\n  {seen:?}",
                p.node,
                self.clock(n),
                p.wants
            )
        });
        leases.chain(processes).collect::<Vec<_>>().join("\n")
    }

    fn settle(&mut self) -> bool {
        let mut acted = false;
        for n in 0..self.processes.len() {
            acted |= self.step(&Act::Serve(n, 0));
            acted |= if self.processes[n].alive {
                self.step(&Act::Deliver(n, 0))
            } else {
                self.step(&Act::Lose(n, 0))
            };
            acted |= self.step(&Act::Watch(n, BATCH));
            acted |= self.step(&Act::Run(n));
            let lost =
                self.able(n) && self.nth(n, 0, None).is_none() && !self.processes[n].waiting.is_empty();
            acted |= lost && self.step(&Act::GiveUp(n, 0));
        }
        acted
    }
}
