// SPDX-License-Identifier: Apache-2.0
//! What goes wrong in a world, and how often.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Act, Body, HANDS, Setup, World};

/// How often what goes wrong in one world. Worlds differ, some faults are absent from most: that finds more than every
/// fault in every world.
#[derive(Clone, Debug)]
pub(super) struct Mood {
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
    leave: f64,
    prefer: f64,
    link: f64,
    cut: f64,
    down: f64,
    upgrade: f64,
    /// D of the old and of the new configuration, with the renew period.
    times: [(u32, u64); 2],
    /// Whether a rolling change is one of the format.
    formats: bool,
    /// Whether processes run when something is due, or when chance will have it.
    pub(super) punctual: bool,
    /// Whether probes get lost.
    pub(super) deaf: bool,
}

impl Mood {
    pub(super) fn new(setup: &Setup) -> Self {
        let mut random = StdRng::seed_from_u64(setup.seed ^ 0xabcd);
        let mut often = |base: f64| base * [0.0, 0.0, 1.0, 4.0][random.random_range(0..4)];
        let (lose, toggle, break_watch) = (often(0.1), often(0.03), often(0.02));
        let (freeze, second, crash) = (often(0.02), often(0.008), often(0.02));
        let (stop, hand) = (often(0.01), often(0.06));
        let (leave, prefer, link) = (often(0.004), often(0.006), often(0.005));
        let (cut, down, upgrade) = (often(0.008), often(0.004), often(0.004));
        let times =
            [[(2, 500), (2, 500)], [(2, 500), (3, 900)], [(3, 900), (2, 500)], [(2, 550), (5, 1_000)]];
        Self {
            leave,
            prefer,
            link,
            cut,
            down,
            upgrade,
            times: times[random.random_range(0..4)],
            formats: random.random_bool(0.3),
            punctual: random.random_bool(0.6),
            deaf: random.random_bool(0.3),
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

    /// D and renew period of a process, by how often its node was upgraded; a third differ by chance.
    pub(super) fn times(&self, random: &mut StdRng, generation: u32) -> (u32, u64) {
        let strays = random.random_bool(0.3);
        if strays && generation == 0 { (3, 900) } else { self.times[usize::from(generation % 2 == 1)] }
    }

    pub(super) fn format(&self, generation: u32) -> u8 {
        u8::from(self.formats && generation % 2 == 1)
    }
}

impl World {
    /// Something that could happen now.
    pub(in super::super) fn choose(&self, random: &mut StdRng) -> Act {
        if random.random_bool(self.mood.pass) {
            return Act::Pass(*[1, 20, 60, 250, 700].get(random.random_range(0..5)).unwrap_or(&1));
        }
        let mut acts = Vec::new();
        for n in (0..self.processes.len()).filter(|n| self.processes[*n].alive || self.setup.faults) {
            self.messages(n, random, &mut acts);
            let waits = |sent: &u64| self.now > *sent + self.processes[n].renew;
            if let Some(late) = self.processes[n].waiting.values().position(waits) {
                acts.extend([Act::GiveUp(n, late), Act::GiveUp(n, late)]);
            }
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
        maybe(mood.leave, Act::Leave(n));
        maybe(
            mood.prefer,
            Act::Prefer(n, u8::try_from(self.now % u64::from(self.setup.addresses)).unwrap_or(0)),
        );
        maybe(mood.link, Act::Link(n));
        let process = &self.processes[n];
        maybe(if process.cut { 0.04 } else { mood.cut }, Act::Cut(n, !process.cut));
        maybe(if self.down { 0.04 } else { mood.down }, Act::Down(!self.down));
        maybe(mood.freeze, Act::Freeze(n, 300 + self.now % 4_000));
        maybe(mood.second, Act::Second(n));
        if self.processes.iter().filter(|p| p.alive).count() < self.setup.nodes + 3 {
            maybe(mood.crash, Act::Crash(n));
            maybe(mood.stop, Act::Stop(n));
            maybe(mood.upgrade, Act::Upgrade(n));
        }
        let which = random.random_range(0..8);
        if random.random_bool(mood.hand) {
            acts.push(Act::Hand(HANDS[random.random_range(0..HANDS.len())], which));
        }
    }
}
