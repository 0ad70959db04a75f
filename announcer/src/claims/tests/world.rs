// SPDX-License-Identifier: Apache-2.0
//! A small hostile world for the production rules: a linearizable API server, messages that are lost, late or out of
//! order, a lagging watch per process, processes that crash, freeze and restart, clocks that drift, and people who edit
//! and delete Leases. Everything that happens is an [`Act`], so that a schedule can be replayed and shortened.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use gateherald_model::leases::{Claim, Holder, Key, Record, Version};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::claims::time::Now;
use crate::claims::{
    Action, Answer, Claims, Config, Incarnation, LeaseEvent, NodeNotes, Want, Write, WriteId,
};

/// What a world is made of.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) seed: u64,
    pub(super) nodes: usize,
    pub(super) addresses: u8,
    pub(super) faults: bool,
}

/// How often what goes wrong in one world. Worlds differ, some faults are absent from most: that finds more than every
/// fault in every world.
#[derive(Clone, Debug)]
struct Mood {
    pass: f64,
    lose: f64,
    toggle: f64,
    break_watch: f64,
    freeze: f64,
    second: f64,
    crash: f64,
    stop: f64,
    hand: f64,
    /// The process whose watch lags, the one whose answers are late.
    slow: usize,
    late: usize,
    /// How soon, from one round to the next, a late one comes.
    soon: f64,
}

impl Mood {
    fn new(setup: &Setup) -> Self {
        let mut random = StdRng::seed_from_u64(setup.seed ^ 0xabcd);
        let mut often = |base: f64| base * [0.0, 0.0, 1.0, 4.0][random.random_range(0..4)];
        let (lose, toggle, break_watch) = (often(0.1), often(0.03), often(0.02));
        let (freeze, second, crash) = (often(0.02), often(0.008), often(0.02));
        let (stop, hand) = (often(0.01), often(0.06));
        Self {
            pass: [0.05, 0.12, 0.3][random.random_range(0..3)],
            slow: random.random_range(0..setup.nodes + 2),
            late: random.random_range(0..setup.nodes + 2),
            soon: [0.05, 1.0][random.random_range(0..2)],
            lose,
            toggle,
            break_watch,
            freeze,
            second,
            crash,
            stop,
            hand,
        }
    }
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
    waiting: BTreeSet<WriteId>,
    pub(super) wants: BTreeSet<IpAddr>,
}

struct Message {
    from: usize,
    id: WriteId,
    body: Body,
}

enum Body {
    Request(Write),
    Reply(Answer),
}

type Stored = (Version, Record);

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
            requests: 0,
            mood: Mood::new(&setup),
            setup,
        };
        for n in 0..world.setup.nodes {
            world.start(&format!("n{n}"), 1);
        }
        if world.setup.faults {
            // Most begin with everything owned.
            world.calm(if world.setup.seed.is_multiple_of(8) { 1 } else { 6_000 }, |_| {});
        }
        world
    }

    pub(super) fn address(n: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 168, 99, 128 + n))
    }

    /// Starts a process; what differs between processes follows from the seed and their number.
    fn start(&mut self, node: &str, namespace: u64) {
        let n = self.processes.len();
        let mut random = StdRng::seed_from_u64(self.setup.seed ^ (n as u64) << 40);
        let bound = !self.processes.iter().any(|p| p.alive && p.node == node && p.namespace == namespace);
        let me = Incarnation { boot_id: "boot".into(), network_namespace: namespace, socket_bound: bound };
        let (duration_seconds, renew) = if random.random_bool(0.3) { (3, 900) } else { (2, 500) };
        let config =
            Config { node: node.into(), duration_seconds, renew_period: Duration::from_millis(renew) };
        config.validate().unwrap();
        let mut next = 0;
        let ids = move || {
            next += 1;
            format!("p{n}.{next}")
        };
        let mut claims = Claims::new(config, me, Box::new(ids));
        claims.describe(NodeNotes { policies: ["p".to_owned()].into(), links: Vec::new() });
        self.processes.push(Process {
            node: node.into(),
            claims,
            alive: true,
            namespace,
            frozen_until: 0,
            drift: (random.random_range(-5_000..5_000), random.random_range(-5_000..5_000)),
            position: None,
            lists: false,
            waiting: BTreeSet::new(),
            wants: (0..self.setup.addresses).map(Self::address).collect(),
        });
        self.wish(n);
        self.run(n);
    }

    fn wish(&mut self, n: usize) {
        let want = Want {
            policies: ["p".to_owned()].into(),
            services: ["ns/s".to_owned()].into(),
            ..Want::default()
        };
        let wants = self.processes[n].wants.iter().map(|address| (*address, want.clone())).collect();
        self.processes[n].claims.want(wants);
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
                && process.claims.rights().cover(address, self.clock(*n))
        };
        (0..self.processes.len()).filter(may).collect()
    }

    fn run(&mut self, n: usize) {
        let now = self.clock(n);
        for action in self.processes[n].claims.poll(now) {
            match action {
                Action::Tell(_) | Action::Publish(_) => {}
                Action::OpenWatch => {
                    let process = &mut self.processes[n];
                    process.lists |= process.position.is_none();
                    process.position.get_or_insert(self.log.len());
                }
                Action::CloseWatch => self.processes[n].position = None,
                Action::Write(id, write) => {
                    self.requests += 1;
                    self.processes[n].waiting.insert(id);
                    self.net.push(Message { from: n, id, body: Body::Request(write) });
                }
                Action::Finished => self.processes[n].alive = false,
            }
        }
    }

    fn put(&mut self, key: Key, record: Option<Record>, uid: Option<String>) -> Option<Version> {
        self.revision += 1;
        self.ids += 1;
        let uid = uid.unwrap_or_else(|| format!("u{}", self.ids));
        let stored = record.map(|record| (Version { uid, resource_version: self.revision }, record));
        match &stored {
            Some(stored) => self.store.insert(key.clone(), stored.clone()),
            None => self.store.remove(&key),
        };
        let version = stored.as_ref().map(|(version, _)| version.clone());
        self.log.push((self.revision, key, stored));
        version
    }

    fn serve(&mut self, write: Write) -> Answer {
        let (key, record, expected) = match write {
            Write::Create(record) => (record.key(), Some(record), None),
            Write::Replace(version, record) => (record.key(), Some(record), Some(version)),
            Write::Delete(version, key) => (key, None, Some(version)),
        };
        let stored = self.store.get(&key).map(|(version, _)| version.clone());
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
        match self.put(key, record, uid) {
            Some(version) => Answer::Written(version),
            None => stored.map_or(Answer::Conflict, Answer::Written),
        }
    }

    fn hand(&mut self, hand: Hand, which: usize) -> bool {
        let claims: Vec<IpAddr> = (0..self.setup.addresses).map(Self::address).collect();
        let key = Key::Claim(claims[which % claims.len()]);
        if hand == Hand::DeleteSession {
            let key = Key::Session(format!("n{}", which % self.setup.nodes));
            return self.store.contains_key(&key) && self.put(key, None, None).is_none();
        }
        let Some((version, Record::Claim(claim))) = self.store.get(&key).cloned() else { return false };
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
                    Some((_, Record::Claim(old))) if *k == key => {
                        (old.holder != claim.holder).then(|| old.clone())
                    }
                    _ => None,
                });
                let Some(older) = older else { return false };
                Some(Claim { touched: true, ..older })
            }
        };
        self.put(key, record.map(Record::Claim), Some(version.uid));
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
            Act::Pass(millis) => self.now += millis,
            Act::Serve(from, n) => {
                let Some(at) = self.nth(from, n, Some(false)) else { return false };
                let Message { id, body: Body::Request(write), .. } = self.net.remove(at) else {
                    return false;
                };
                let answer = self.serve(write);
                self.net.push(Message { from, id, body: Body::Reply(answer) });
            }
            Act::Deliver(to, n) => {
                if !self.able(to) {
                    return false;
                }
                let Some(at) = self.nth(to, n, Some(true)) else { return false };
                let Message { id, body: Body::Reply(answer), .. } = self.net.remove(at) else { return false };
                if self.processes[to].waiting.remove(&id) {
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
                let Some(id) = self.processes[from].waiting.iter().nth(n).copied() else { return false };
                self.processes[from].waiting.remove(&id);
                let now = self.clock(from);
                self.processes[from].claims.on_answer(id, Answer::Unknown, now);
                self.run(from);
            }
            Act::Watch(n, events) => return self.able(n) && self.watch(n, events),
            Act::Break(n, gap) => return self.able(n) && self.break_watch(n, gap),
            Act::Run(n) => {
                let due = |p: &Process, now| p.claims.next_deadline(now).is_some_and(|left| left.is_zero());
                if !self.able(n) || !due(&self.processes[n], self.clock(n)) {
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
                let address = Self::address(address);
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

    fn watch(&mut self, n: usize, events: usize) -> bool {
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
            let leases = leases.into_values().collect();
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
                Some((version, record)) => LeaseEvent::Changed(version, record),
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

    /// Something that could happen now.
    pub(super) fn choose(&self, random: &mut StdRng) -> Act {
        if random.random_bool(self.mood.pass) {
            return Act::Pass(*[1, 20, 60, 250, 700].get(random.random_range(0..5)).unwrap_or(&1));
        }
        let mut acts = Vec::new();
        for n in (0..self.processes.len()).filter(|n| self.processes[*n].alive || self.setup.faults) {
            self.messages(n, random, &mut acts);
            if !self.able(n) {
                continue;
            }
            if n != self.mood.slow || random.random_bool(0.1) {
                let events = random.random_range(1..4);
                acts.extend([Act::Watch(n, events), Act::Watch(n, 1), Act::Watch(n, 1)]);
            }
            acts.extend([Act::Run(n), Act::Run(n)]);
            if self.setup.faults {
                self.faults(n, random, &mut acts);
            }
        }
        if acts.is_empty() { Act::Pass(1) } else { acts.swap_remove(random.random_range(0..acts.len())) }
    }

    fn messages(&self, n: usize, random: &mut StdRng, acts: &mut Vec<Act>) {
        for (reply, make) in [(false, Act::Serve as fn(usize, usize) -> Act), (true, Act::Deliver)] {
            let its = self.net.iter().filter(|m| m.from == n && matches!(m.body, Body::Reply(_)) == reply);
            for (kth, message) in its.enumerate() {
                // Every second message to or from one process is late.
                let late = self.setup.faults && n == self.mood.late && message.id.0 % 2 == 1;
                let weight = if late { usize::from(random.random_bool(self.mood.soon)) } else { 5 };
                acts.extend((0..weight).map(|_| make(n, kth)));
            }
        }
        if self.setup.faults && random.random_bool(self.mood.lose) {
            acts.extend([Act::Lose(n, 0), Act::GiveUp(n, random.random_range(0..3))]);
        }
    }

    fn faults(&self, n: usize, random: &mut StdRng, acts: &mut Vec<Act>) {
        let mood = &self.mood;
        let mut maybe = |probability: f64, act: Act| {
            if random.random_bool(probability) {
                acts.push(act);
            }
        };
        maybe(
            mood.toggle,
            Act::Toggle(n, u8::try_from(self.now % u64::from(self.setup.addresses)).unwrap_or(0)),
        );
        maybe(mood.break_watch, Act::Break(n, self.now.is_multiple_of(2)));
        maybe(mood.freeze, Act::Freeze(n, 300 + self.now % 4_000));
        maybe(mood.second, Act::Second(n));
        if self.processes.iter().filter(|p| p.alive).count() < self.setup.nodes + 3 {
            maybe(mood.crash, Act::Crash(n));
            maybe(mood.stop, Act::Stop(n));
        }
        let which = random.random_range(0..8);
        if random.random_bool(mood.hand) {
            acts.push(Act::Hand(HANDS[random.random_range(0..HANDS.len())], which));
        }
    }

    /// Two that may answer for one address, if there are such.
    pub(super) fn violation(&self) -> Option<(IpAddr, Vec<String>)> {
        (0..self.setup.addresses).map(Self::address).find_map(|address| {
            let who = self.answering(address);
            let name = |n: &usize| format!("process {n} on {}", self.processes[*n].node);
            (who.len() > 1).then(|| (address, who.iter().map(name).collect()))
        })
    }

    /// Two announcers on one node are a fault too: only the youngest of each node goes on.
    pub(super) fn one_per_node(&mut self) {
        let mut seen = BTreeSet::new();
        for process in self.processes.iter_mut().rev().filter(|p| p.alive) {
            process.alive = seen.insert(process.node.clone());
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
            self.now += left.clamp(1, 100);
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
            acted |= self.step(&Act::Watch(n, 1));
            acted |= self.step(&Act::Run(n));
            let lost =
                self.able(n) && self.nth(n, 0, None).is_none() && !self.processes[n].waiting.is_empty();
            acted |= lost && self.step(&Act::GiveUp(n, 0));
        }
        acted
    }
}
