// SPDX-License-Identifier: Apache-2.0
//! A small hostile world for the rules: several replicas with clocks that are five minutes ahead or behind, watches that
//! lag, writes that are overtaken or whose answer is lost, crashes between any two steps, API servers that go by an old
//! bundle, and people with their hands on the Secret. Time is in whole seconds.

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::sightings::Sightings;

/// Whether people touch the Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hands {
    Off,
    On,
}

/// Five minutes ahead or behind.
const SKEW: i64 = 300;
/// How long the world exists, in lives of a CA.
const LIVES: i64 = 5;
/// The longest that a task of a replica sleeps.
const IDLE: i64 = 60;

pub(super) struct World {
    seed: u64,
    hands: Hands,
    random: StdRng,
    now: i64,
    lifetimes: Lifetimes,
    /// Every version of the Secret, and when it was written; `None`: there was none.
    secret: Vec<(i64, Option<Slots<Name>>)>,
    /// Every version of the bundle, and when it was written.
    bundle: Vec<(i64, Vec<Name>)>,
    replicas: Vec<Replica>,
    /// By how many seconds a replica's watch lags at most, and the view of any API server.
    watch_lag: i64,
    api_lag: i64,
    api_clock: i64,
    next_id: u32,
    restored: bool,
    promotions: u32,
}

#[derive(Clone, Default)]
struct Replica {
    clock: i64,
    up: bool,
    acted: i64,
    /// Indexes of the versions that its watches have shown.
    secret: usize,
    bundle: usize,
    /// The own write that the watch has not shown yet, and whether the seen version may be acted on.
    awaited: Option<usize>,
    may_write: bool,
    known: Option<Slots<Name>>,
    served: Option<Served<Name>>,
    sightings: Sightings<Name, i64>,
    /// From when on the API server calls it.
    called: Option<i64>,
}

impl World {
    pub(super) fn new(seed: u64, hands: Hands) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut one_of = |values: &[i64]| values[random.random_range(0..values.len())];
        let leaf = seconds(one_of(&[2_403, 7_200]));
        let mut lifetimes = Lifetimes { leaf, ..LIFETIMES };
        // The shortest that passes the check, or more.
        let shortest = (leaf + lifetimes.settle * 2 + lifetimes.apart()) * 3;
        lifetimes.ca = shortest + seconds(one_of(&[0, 9_000]));
        assert_eq!(lifetimes.check(), Ok(()));
        let (watch_lag, api_lag) = (one_of(&[0, 30, 300]), one_of(&[0, 5, 59]));
        let (count, api_clock) = (one_of(&[2, 2, 3]), one_of(&[-SKEW, 0, SKEW]));
        let clocks: Vec<i64> = (0..count).map(|_| one_of(&[-SKEW, -1, 0, SKEW])).collect();
        let replica = |clock: &i64| Replica { clock: *clock, ..Replica::default() };
        let mut world = Self {
            seed,
            hands,
            now: 0,
            lifetimes,
            secret: Vec::new(),
            bundle: Vec::new(),
            replicas: clocks.iter().map(replica).collect(),
            watch_lag,
            api_lag,
            api_clock,
            next_id: 0,
            restored: false,
            promotions: 0,
            random,
        };
        // A cluster in which it has long been installed.
        let first = world.generate(0);
        world.secret.push((-10_000, Some(slots(first, None))));
        world.bundle.push((-10_000, vec![first]));
        world
    }

    pub(super) fn run(mut self) {
        let life = self.lifetimes.ca.as_secs();
        while self.now < LIVES * life {
            let faults = self.now < (LIVES - 1) * life;
            self.now += self.random.random_range(1..=20);
            self.people(faults);
            for _ in 0..self.random.random_range(1..12) {
                let replica = self.random.random_range(0..self.replicas.len());
                self.act(replica, faults);
                self.check();
            }
            self.catch_up();
            self.check();
        }
        // A backup takes it back to where it was.
        let rotations = if self.restored { 2 } else { 5 };
        assert!(self.promotions >= rotations, "{}: only {} rotations", self.seed, self.promotions);
        if self.hands == Hands::Off {
            let last = self.secret.last().and_then(|(_, slots)| slots.clone()).unwrap();
            let in_use = |name: &Name| {
                *name == last.current || last.second.iter().any(|second| second.authority == *name)
            };
            assert!(self.bundle.last().unwrap().1.iter().all(in_use), "{}: left in the bundle", self.seed);
        }
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }

    fn generate(&mut self, clock: i64) -> Name {
        self.next_id += 1;
        let (life, backdate) = (self.lifetimes.ca, self.lifetimes.backdate());
        Name { id: self.next_id, validity: Validity::starting(at(self.now + clock), life, backdate) }
    }

    /// One thing that one replica does, or that happens to it.
    fn act(&mut self, replica: usize, faults: bool) {
        if !self.replicas[replica].up {
            if self.chance(0.2) {
                self.start(replica);
            }
            return;
        }
        match self.random.random_range(0..100) {
            0 if faults => self.replicas[replica].up = false,
            0..20 => self.show_secret(replica),
            20..40 => self.show_bundle(replica),
            40..60 => self.rotate(replica),
            60..80 => self.sign(replica),
            _ => self.register(replica),
        }
    }

    /// No task sleeps longer than a minute, and no watch lags more than this world allows.
    fn catch_up(&mut self) {
        for replica in 0..self.replicas.len() {
            let idle = self.replicas[replica].acted + IDLE <= self.now;
            if !self.replicas[replica].up {
                if idle {
                    self.start(replica);
                }
                continue;
            }
            let overdue = self.now - self.watch_lag;
            let late = |written: Option<i64>| written.is_some_and(|written| written <= overdue);
            while late(self.secret.get(self.replicas[replica].secret + 1).map(|(written, _)| *written)) {
                self.show_secret(replica);
            }
            while late(self.bundle.get(self.replicas[replica].bundle + 1).map(|(written, _)| *written)) {
                self.show_bundle(replica);
            }
            if idle {
                self.rotate(replica);
                self.sign(replica);
                self.register(replica);
                self.replicas[replica].acted = self.now;
            }
        }
    }

    /// A new process: it lists, which is never older than what was written before.
    fn start(&mut self, replica: usize) {
        let clock = self.replicas[replica].clock;
        let (secret, bundle) = (self.secret.len() - 1, self.bundle.len() - 1);
        self.replicas[replica] =
            Replica { clock, up: true, acted: self.now, secret, bundle, ..Replica::default() };
        self.see_secret(replica);
        self.see_bundle(replica);
    }

    fn show_secret(&mut self, replica: usize) {
        if self.replicas[replica].secret + 1 < self.secret.len() {
            self.replicas[replica].secret += 1;
            self.see_secret(replica);
        }
    }

    fn see_secret(&mut self, replica: usize) {
        let it = &mut self.replicas[replica];
        let slots = &self.secret[it.secret].1;
        if it.awaited.is_some_and(|awaited| awaited != it.secret) && slots.is_some() {
            return;
        }
        it.may_write = true;
        if let Some(slots) = slots {
            it.awaited = None;
            it.known = Some(slots.clone());
        }
    }

    fn show_bundle(&mut self, replica: usize) {
        if self.replicas[replica].bundle + 1 < self.bundle.len() {
            self.replicas[replica].bundle += 1;
            self.see_bundle(replica);
        }
    }

    fn see_bundle(&mut self, replica: usize) {
        let it = &mut self.replicas[replica];
        it.sightings = it.sightings.look(self.bundle[it.bundle].1.iter().copied(), self.now);
    }

    /// The Secret's next step, by compare-and-swap.
    fn rotate(&mut self, replica: usize) {
        let it = &self.replicas[replica];
        if !it.may_write {
            return;
        }
        let (now, clock, lifetimes) = (at(self.now + it.clock), it.clock, self.lifetimes);
        let age = |name: &Name| it.sightings.since(name).map(|since| seconds(self.now - since));
        let seen = self.secret[it.secret].1.clone();
        let (prepares, changed) = match &seen {
            None => (false, recover(it.known.as_ref(), None, now, &lifetimes)),
            Some(slots) => match step(slots, Some(&age), now, &lifetimes) {
                Step::Wait(_) => return,
                Step::Prepare => (true, None),
                Step::Publish => (false, slots.published(now)),
                Step::Promote => (false, slots.promoted(now, &lifetimes)),
                Step::Drop => (false, Some(slots.dropped())),
                Step::StartOver => (false, None),
            },
        };
        let changed = match (changed, &seen) {
            (Some(slots), _) => slots,
            (None, Some(slots)) if prepares => slots.prepared(self.generate(clock)),
            (None, _) => slots(self.generate(clock), None),
        };
        let it = &mut self.replicas[replica];
        it.may_write = false;
        if it.secret + 1 < self.secret.len() {
            // Overtaken; the watch brings what counts.
            return;
        }
        self.promotions += u32::from(seen.is_some_and(|seen| seen.current != changed.current));
        self.secret.push((self.now, Some(changed.clone())));
        // Else the answer is lost.
        if self.random.random_bool(0.9) {
            it.awaited = Some(self.secret.len() - 1);
            it.known = Some(changed);
        }
    }

    fn sign(&mut self, replica: usize) {
        let it = &mut self.replicas[replica];
        let Some(known) = &it.known else { return };
        let now = at(self.now + it.clock);
        let age = |name: &Name| it.sightings.since(name).map(|since| seconds(self.now - since));
        if let Signing::By(authority) = signing(known, it.served.as_ref(), Some(&age), now, &self.lifetimes) {
            let backdate = self.lifetimes.backdate();
            let mut validity = Validity::starting(now, self.lifetimes.leaf, backdate);
            validity.not_after = validity.not_after.min(authority.validity.not_after);
            it.served = Some(Served { authority, validity });
            // A container that restarts is called at once: its endpoint never went.
            if self.hands == Hands::Off {
                it.called.get_or_insert(self.now);
            }
        }
    }

    /// The bundle's merge, by compare-and-swap; and readiness.
    fn register(&mut self, replica: usize) {
        let it = &mut self.replicas[replica];
        let (Some(known), Some(served)) = (&it.known, &it.served) else { return };
        let now = at(self.now + it.clock);
        let Trusted { required, retired } = trust(known, Some(&served.authority), now, &self.lifetimes);
        let live = &self.bundle[it.bundle].1;
        if live.contains(&served.authority) {
            // After people touched the Secret, a new process may need a CA that the API servers do not know yet. It is
            // ready only now, and no endpoint travels faster than a bundle.
            it.called.get_or_insert(self.now + self.api_lag);
        }
        let complete = required.iter().all(|name| live.contains(name));
        if complete && !retired.iter().any(|name| live.contains(name)) {
            return;
        }
        let mut merged = required;
        for name in live {
            if !name.validity.is_over(now) && !retired.contains(name) && !merged.contains(name) {
                merged.push(*name);
            }
        }
        if it.bundle + 1 == self.bundle.len() && merged != *live {
            self.bundle.push((self.now, merged));
        }
    }

    fn people(&mut self, faults: bool) {
        if self.hands == Hands::Off || !faults || !self.chance(0.004) {
            return;
        }
        if self.restored || self.chance(0.8) {
            self.secret.push((self.now, None));
        } else {
            // From a backup.
            self.restored = true;
            let version = self.random.random_range(0..self.secret.len());
            let backup = self.secret[version].1.clone();
            self.secret.push((self.now, backup));
        }
    }

    /// Every replica that is called serves a leaf that verifies at every API server, whichever bundle it goes by.
    fn check(&self) {
        let now = at(self.now + self.api_clock);
        let until = |index: usize| self.bundle.get(index + 1).map_or(i64::MAX, |(written, _)| *written);
        for (index, replica) in self.replicas.iter().enumerate() {
            let called = replica.up && replica.called.is_some_and(|from| from <= self.now);
            let Some(served) = replica.served.as_ref().filter(|_| called) else { continue };
            let valid = served.validity.contains(now) && served.authority.validity.contains(now);
            assert!(valid, "{} at {}: replica {index} serves {served:?}", self.seed, self.now);
            for (version, (_, bundle)) in self.bundle.iter().enumerate().rev() {
                if until(version) <= self.now - self.api_lag {
                    break;
                }
                if !bundle.contains(&served.authority) {
                    self.tell();
                    panic!(
                        "{} at {}: replica {index} serves a leaf of {} that not every API server trusts",
                        self.seed, self.now, served.authority.id
                    );
                }
            }
        }
    }

    /// What led there, for people.
    fn tell(&self) {
        for (written, slots) in self.secret.iter().rev().take(9).rev() {
            let slots = slots.as_ref().map(|slots| {
                (slots.current.id, slots.second.as_ref().map(|second| (second.authority.id, second.role)))
            });
            eprintln!("{written}: Secret {slots:?}");
        }
        for (written, bundle) in self.bundle.iter().rev().take(9).rev() {
            let ids: Vec<_> = bundle.iter().map(|name| name.id).collect();
            eprintln!("{written}: bundle {ids:?}");
        }
    }
}
