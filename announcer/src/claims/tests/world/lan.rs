// SPDX-License-Identifier: Apache-2.0
//! The broadcast domain of a world: every frame reaches everybody, at once, but who stands still, who reads it later.

use std::net::IpAddr;
use std::time::Duration;

use gateherald_model::leases::LinkNote;

use super::World;
use crate::claims::{Cover, Heard};

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
            claims.into_iter().chain(thread).chain(thaw.map(Duration::from_millis)).min()
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
        let due = self.processes[n].force.probes_due(now);
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
        let owned = owned
            .into_iter()
            .filter(|a| process.wants.contains(a) && matches!(process.force.cover(*a, now), Cover::Fresh(_)));
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

    fn broadcast(&mut self, frame: Frame) {
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
