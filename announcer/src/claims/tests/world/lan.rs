// SPDX-License-Identifier: Apache-2.0
//! The broadcast domain of a world: every frame reaches everybody, at once, but who stands still, who reads it later.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use gateherald_model::leases::LinkNote;
use gateherald_wire::MacAddr;

use super::{Process, World};
use crate::claims::{Cover, Heard};
use crate::standoff::Step;

/// A host that is no announcer.
const STRANGER: MacAddr = MacAddr([2, 0, 0, 0, 1, 0]);
/// Milliseconds that such a host takes to answer a probe at the most: three probes are 20 ms apart, and one is waited for
/// longer.
const LATEST_ANSWER: u64 = 19;

/// A frame that bears on who answers for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    from: usize,
    address: IpAddr,
    probe: bool,
}

/// What the session of process `n` tells of its link.
pub(super) fn note(n: usize) -> LinkNote {
    let mac = mac(n).map(|byte| format!("{byte:02x}")).join(":");
    LinkNote { name: "a".into(), mac, up: true }
}

fn mac(n: usize) -> [u8; 6] {
    [2, 0, 0, 0, 0, u8::try_from(n).unwrap_or(u8::MAX)]
}

impl World {
    /// Time passes; the answering threads go on with what they do by themselves, and in most worlds the processes do.
    pub(super) fn pass(&mut self, millis: u64) {
        let end = self.now + millis;
        while self.now < end {
            self.now = (self.now + self.until_next()).min(end);
            for n in 0..self.processes.len() {
                self.turn(n);
                if self.runs_by_itself() && self.able(n) && self.due(n) {
                    self.run(n);
                }
            }
        }
    }

    fn runs_by_itself(&self) -> bool {
        self.mood.punctual && self.setup.faults
    }

    /// Milliseconds until something happens without anybody's doing.
    fn until_next(&self) -> u64 {
        let of = |n: usize| {
            let (process, now) = (&self.processes[n], self.clock(n));
            let claims = process.claims.next_deadline(now).filter(|_| self.runs_by_itself());
            let thread = process.force.next_deadline().map(|at| at.saturating_sub(now.raw));
            let thaw = process.frozen_until.checked_sub(self.now).filter(|left| *left > 0);
            let answer = process.answers.iter().map(|(at, _)| at.saturating_sub(self.now)).min();
            let others = [thaw, answer].into_iter().flatten().map(Duration::from_millis);
            claims.into_iter().chain(thread).chain(others).min()
        };
        let alive = (0..self.processes.len()).filter(|n| self.processes[*n].alive);
        let next = alive.filter_map(of).min().unwrap_or(Duration::MAX);
        u64::try_from(next.as_millis()).unwrap_or(u64::MAX / 2).clamp(1, u64::MAX / 2)
    }

    /// One turn of the answering thread of a process.
    pub(super) fn turn(&mut self, n: usize) {
        if !self.able(n) {
            return;
        }
        let now = self.clock(n);
        let gap = self.processes[n].force.ran(now);
        self.hear(n, gap);
        for frame in std::mem::take(&mut self.processes[n].unread) {
            self.receive(n, frame);
        }
        let due_at = self.now;
        let mut answers = std::mem::take(&mut self.processes[n].answers);
        for (_, address) in answers.extract_if(.., |(at, _)| *at <= due_at) {
            self.stranger_answers(n, address);
        }
        self.processes[n].answers.extend(answers);
        self.dispute(n);
        let due = self.processes[n].force.probes_due(now, |_| true);
        for address in due.send {
            // Two of three probes may be lost.
            let left = self.mood.deaf
                && !self.now.is_multiple_of(3)
                && self.processes[n].force.probing_more(address);
            if !left {
                self.broadcast(Frame { from: n, address, probe: true });
            }
        }
        for quiet in due.quiet {
            self.hear(n, Some(quiet));
        }
        let process = &self.processes[n];
        let owned: Vec<IpAddr> = process.force.rights().titles.iter().copied().collect();
        let owned = owned.into_iter().filter(|a| {
            process.wants.contains(a)
                && process.standoffs.refusal(*a).is_none()
                && matches!(process.force.cover(*a, now), Cover::Fresh(_))
        });
        let owned: std::collections::BTreeSet<IpAddr> = owned.collect();
        let new: Vec<IpAddr> = owned.difference(&process.announced).copied().collect();
        self.processes[n].announced = owned;
        for address in new {
            self.broadcast(Frame { from: n, address, probe: false });
        }
    }

    pub(super) fn hear(&mut self, n: usize, heard: Option<Heard>) {
        if let Some(heard) = heard {
            let now = self.clock(n);
            self.processes[n].claims.on_heard(heard, now);
            self.processes[n].stirred = true;
        }
    }

    /// The host that uses an address without being an announcer says so to process `n`.
    fn stranger_answers(&mut self, n: usize, address: IpAddr) {
        let now = self.clock(n);
        let Process { force, standoffs, .. } = &mut self.processes[n];
        let heard = force.other_spoke(address, false, STRANGER.0);
        if heard.is_none() && force.probes(address) {
            force.answered(address);
            standoffs.taken(address, STRANGER, now);
        } else if heard.is_none() {
            standoffs.conflict(address, STRANGER, now);
        }
        self.hear(n, heard);
    }

    /// The disputes of process `n` go on.
    fn dispute(&mut self, n: usize) {
        let now = self.clock(n);
        let Process { force, standoffs, .. } = &mut self.processes[n];
        let titles = Arc::clone(&force.rights().titles);
        for (address, step) in standoffs.due(now, |address| titles.contains(&address)) {
            match step {
                Step::Ask => self.broadcast(Frame { from: n, address, probe: true }),
                Step::Resume => {
                    let quiet = self.processes[n].force.freed(address);
                    self.hear(n, quiet);
                }
                Step::Suspend | Step::Defend | Step::Silence => {}
            }
        }
    }

    fn broadcast(&mut self, frame: Frame) {
        if frame.probe && self.squatted == Some(frame.address) {
            // A host answers at once, or as late as it may.
            let at = self.now + self.now % LATEST_ANSWER;
            self.processes[frame.from].answers.push((at, frame.address));
        }
        for n in (0..self.processes.len()).filter(|n| *n != frame.from) {
            if self.able(n) {
                self.receive(n, frame);
            } else if self.processes[n].alive && self.setup.hold {
                self.processes[n].unread.push(frame);
            }
        }
    }

    fn receive(&mut self, n: usize, frame: Frame) {
        let now = self.clock(n);
        let process = &mut self.processes[n];
        if frame.probe && matches!(process.force.cover(frame.address, now), Cover::Fresh(_)) {
            // Answers, to the one who asked.
            if self.able(frame.from) {
                let heard = self.processes[frame.from].force.other_spoke(frame.address, false, mac(n));
                self.hear(frame.from, heard);
            }
        } else {
            let heard = process.force.other_spoke(frame.address, frame.probe, mac(frame.from));
            self.hear(n, heard);
        }
    }
}
