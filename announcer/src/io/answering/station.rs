// SPDX-License-Identifier: Apache-2.0
//! What the answering thread knows, and what it does with a frame.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    os::fd::BorrowedFd,
    sync::Arc,
    time::Duration,
};

use gateherald_model::interfaces::Link;
use gateherald_wire::{ArpFrame, MacAddr, NdpFrame, NeighborFrame};
use tokio::sync::{mpsc, watch};

use super::{
    port::{Port, nic},
    standing::{Here, Standing},
};
use crate::{
    claims::{Heard, Rights, time::Now},
    desired::Reach,
    io::{clock, packet::OpenError},
    metrics::{ForStep, Metrics},
    notices,
    responder::{Conflict, Nic, Ownership, Protocol, Refusal, Right, Verdict, respond},
    standoff::{Contests, Step},
};

/// Frames read from one socket before the others, and messages, get their turn.
const BATCH: usize = 64;
/// So many batches of one socket before it is believed that nobody answered a probe: 8,192 frames.
const FLOOD: usize = 128;
/// A neighbour message with whatever a peer pads it with; the rest of a longer frame is of no interest.
const FRAME: usize = 1514;

/// Sockets, rights, and where what may be said.
pub(super) struct Station {
    ports: BTreeMap<u32, Port>,
    standing: Standing,
    links: Arc<[Link]>,
    metrics: Metrics,
    contests: watch::Sender<Arc<Contests>>,
    /// To the claims. What does not fit into it is lost: this thread has acted on it already.
    heard: mpsc::Sender<Heard>,
    buffer: Box<[u8; FRAME]>,
}

impl Station {
    pub(super) fn new(
        metrics: Metrics,
        contests: watch::Sender<Arc<Contests>>,
        heard: mpsc::Sender<Heard>,
    ) -> Self {
        Self {
            ports: BTreeMap::new(),
            standing: Standing::default(),
            links: Arc::default(),
            metrics,
            contests,
            heard,
            buffer: Box::new([0; FRAME]),
        }
    }

    /// Every socket, by interface and protocol.
    pub(super) fn ears(&self) -> impl Iterator<Item = ((u32, Protocol), BorrowedFd<'_>)> {
        self.ports.values().flat_map(Port::ears)
    }

    /// From here on frames are judged by these rights.
    pub(super) fn set_rights(&mut self, rights: Rights, now: Now) -> Result<(), OpenError> {
        let old = self.standing.force.rights();
        let same = rights.titles == old.titles && rights.held == old.held && rights.sought == old.sought;
        let gap = self.standing.force.put(rights, now);
        self.report(gap);
        let steps = self.standing.standoffs.confirm(self.standing.force.rights(), now);
        let stepped = self.step(&steps, now);
        if same && !stepped { Ok(()) } else { self.carry(now) }
    }

    /// From here on these addresses may be spoken for, on these interfaces.
    pub(super) fn set_reach(&mut self, reach: Arc<Reach>, now: Now) -> Result<(), OpenError> {
        self.standing.reach = reach;
        self.open_and_close(now)
    }

    /// From here on these are the links.
    pub(super) fn set_links(&mut self, links: &Arc<[Link]>, now: Now) -> Result<(), OpenError> {
        self.links = Arc::clone(links);
        self.standing.own_macs = links.iter().filter_map(|link| link.mac).map(MacAddr).collect();
        self.open_and_close(now)
    }

    /// From here on these are the links of the other announcers: what they said before that was known is no dispute.
    pub(super) fn set_peers(&mut self, peers: Arc<BTreeSet<MacAddr>>, now: Now) -> Result<(), OpenError> {
        let steps = self.standing.standoffs.drop_those_of(&peers);
        self.standing.peers = peers;
        if self.step(&steps, now) { self.carry(now) } else { Ok(()) }
    }

    /// What the passing of time asks for: disputes go on, filters are attached, addresses announced.
    pub(super) fn turn(&mut self, now: Now) -> Result<(), OpenError> {
        let gap = self.standing.force.ran(now);
        self.report(gap);
        if self.standing.standoffs.next_deadline().is_some_and(|at| at <= now.raw) {
            let titles = Arc::clone(&self.standing.force.rights().titles);
            let steps = self.standing.standoffs.due(now, |address| titles.contains(&address));
            self.step(&steps, now);
            self.carry(now)?;
        }
        for port in self.ports.values_mut() {
            port.settle(now.raw);
        }
        self.probe(now)?;
        self.announce(now);
        Ok(())
    }

    /// When [`Station::turn`] has something to do, on the raw clock.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let ports = self.ports.values().filter_map(Port::next_deadline);
        let others = [self.standing.standoffs.next_deadline(), self.standing.force.next_deadline()];
        ports.chain(others.into_iter().flatten()).min()
    }

    /// Reads and answers what a socket has received, up to a batch; whether there may be more.
    pub(super) fn hear(&mut self, index: u32, protocol: Protocol) -> Result<bool, OpenError> {
        let mut now = clock::now();
        let gap = self.standing.force.ran(now);
        self.report(gap);
        let Some(port) = self.ports.get_mut(&index) else { return Ok(false) };
        let mut steps = Vec::new();
        let mut read = 0;
        while read < BATCH {
            let Some(received) = port.receive(protocol, &mut self.buffer[..]) else { break };
            read += 1;
            port.counters.received.inc();
            let bytes = self.buffer.get(..received.len).unwrap_or_default();
            let here = Here { standing: &self.standing, interface: index, up: port.up, now };
            match respond(protocol, bytes, received.meta, port.nic, &here) {
                Verdict::Reply(frame) => {
                    match speak(&self.standing, port, &frame, Word::Answer, &self.metrics) {
                        Ok(spoken) => {
                            now = spoken.at;
                            port.counters.replied.inc();
                            match spoken.left {
                                Some(left) => self.metrics.freshness_left.observe(left.as_secs_f64()),
                                None => drop(self.metrics.held_replies.inc()),
                            }
                        }
                        Err(refusal) => port.counters.drop_frame(refusal.name()),
                    }
                }
                Verdict::Drop(reason) => port.counters.drop_frame(reason.name()),
                Verdict::Conflict(conflict) => {
                    let (heard, step) = contend(&mut self.standing, conflict);
                    // Who speaks for what is merely held may be its owner.
                    if !matches!(heard, Some(Heard::Probed { .. } | Heard::Claimed { .. })) {
                        port.counters.conflicts.inc();
                    }
                    send(&self.heard, heard);
                    steps.extend(step.map(|step| (conflict.address, step)));
                }
            }
        }
        if !steps.is_empty() {
            let now = clock::now();
            self.step(&steps, now);
            self.carry(now)?;
        }
        Ok(read == BATCH)
    }

    /// Reads what all sockets have received, as far as a flood allows it.
    fn hear_everything(&mut self) -> Result<(), OpenError> {
        let ears: Vec<(u32, Protocol)> = self.ears().map(|(ear, _)| ear).collect();
        for (index, protocol) in ears {
            for _ in 0..FLOOD {
                if !self.hear(index, protocol)? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Does and tells what has begun for disputed addresses; whether anything has.
    fn step(&mut self, steps: &[(IpAddr, Step)], now: Now) -> bool {
        for (address, step) in steps {
            if *step == Step::Resume {
                let quiet = self.standing.force.freed(*address);
                self.report(quiet);
            }
            self.metrics.conflict_steps.get_or_create(&ForStep { step: step.name() }).inc();
            notices::tell_step(*address, *step, self.standing.standoffs.claimant(*address));
            for port in self.ports.values_mut() {
                if !self.standing.reaches(*address, port.index) {
                    continue;
                }
                match step {
                    Step::Defend => port.schedule.defend(*address, now.raw),
                    Step::Ask => probe(port, *address),
                    Step::Suspend | Step::Silence | Step::Resume => {}
                }
            }
        }
        !steps.is_empty()
    }

    /// Asks who else answers, before the first word under a new right.
    fn probe(&mut self, now: Now) -> Result<(), OpenError> {
        if self.standing.force.waits_end(now) {
            // This thread may come late, and an answer lie there unread.
            self.hear_everything()?;
        }
        let (standing, ports) = (&mut self.standing, &self.ports);
        let reach = Arc::clone(&standing.reach);
        let there = |address: &IpAddr| reach.get(address).into_iter().flatten().filter_map(|i| ports.get(i));
        let hears = |address| there(&address).all(|port| port.would_hear(address));
        let due = standing.force.probes_due(now, hears);
        for address in due.send {
            for port in self.ports.values().filter(|port| self.standing.reaches(address, port.index)) {
                probe(port, address);
            }
        }
        let quiet = !due.quiet.is_empty();
        for heard in due.quiet {
            self.report(Some(heard));
        }
        if quiet { self.carry(now) } else { Ok(()) }
    }

    fn report(&self, heard: Option<Heard>) {
        send(&self.heard, heard);
    }

    fn announce(&mut self, now: Now) {
        for port in self.ports.values_mut().filter(|port| port.up) {
            for address in port.schedule.due(now.raw) {
                for frame in announcement(address, port.nic) {
                    match speak(&self.standing, port, &frame, Word::Announcement, &self.metrics) {
                        Ok(_) => {
                            port.counters.announced.inc();
                        }
                        Err(refusal) => port.counters.drop_frame(refusal.name()),
                    }
                }
            }
        }
    }

    /// Attends to every interface that something may be said on, and to no other.
    fn open_and_close(&mut self, now: Now) -> Result<(), OpenError> {
        let wanted: BTreeSet<u32> = self.standing.reach.values().flatten().copied().collect();
        let all = Arc::clone(&self.links);
        let links: BTreeMap<u32, (&Link, Nic)> =
            all.iter().filter_map(|link| Some((link.index, (link, nic(link)?)))).collect();
        let metrics = &self.metrics;
        self.ports.retain(|index, port| {
            // An index is not used again while the system is up, but a link can be renamed, and its series with it.
            let same = links.get(index).is_some_and(|(link, _)| *link.name == *port.name);
            let keep = same && wanted.contains(index);
            if !keep {
                metrics.forget_interface(&port.name);
            }
            keep
        });
        for (link, nic) in wanted.iter().filter_map(|index| links.get(index)) {
            match self.ports.get_mut(&link.index) {
                Some(port) => port.update(link, *nic, now.raw),
                None => drop(self.ports.insert(link.index, Port::new(link, *nic, metrics))),
            }
        }
        self.carry(now)
    }

    /// Tells each interface which addresses it has to hear about, and which of them to announce.
    fn carry(&mut self, now: Now) -> Result<(), OpenError> {
        for port in self.ports.values_mut() {
            let mut addresses = self.standing.heard(port.index);
            port.hear_about(&addresses)?;
            addresses.retain(|address| self.standing.announces(*address));
            port.announce_only(addresses, now.raw);
        }
        let contests: Contests = self.standing.standoffs.iter().collect();
        self.metrics.contested.set(i64::try_from(contests.len()).unwrap_or(i64::MAX));
        self.contests.send_if_modified(|old| {
            let changed = **old != contests;
            if changed {
                *old = Arc::new(contests);
            }
            changed
        });
        Ok(())
    }
}

/// What another host's word for an address means: the end of a held right, or the beginning of a dispute.
fn contend(standing: &mut Standing, conflict: Conflict) -> (Option<Heard>, Option<Step>) {
    let Conflict { address, claimant, probe } = conflict;
    if let Some(heard) = standing.force.other_spoke(address, probe, claimant.0) {
        return (Some(heard), None);
    }
    let now = clock::now();
    let step = if standing.force.probes(address) {
        standing.force.answered(address);
        standing.standoffs.taken(address, claimant, now)
    } else {
        standing.standoffs.conflict(address, claimant, now)
    };
    (Some(Heard::Conflict(address)).filter(|_| step == Some(Step::Suspend)), step)
}

fn send(to: &mpsc::Sender<Heard>, heard: Option<Heard>) {
    if let Some(heard) = heard {
        let _ = to.try_send(heard);
    }
}

/// An announcement of an address: of IPv4 in both gratuitous forms, since Linux counts a reply only with THA = SHA, and
/// some hosts listen to requests alone.
fn announcement(address: IpAddr, nic: Nic) -> Vec<NeighborFrame> {
    match address {
        IpAddr::V4(v4) => vec![
            ArpFrame::gratuitous_request(nic.mac, v4).into(),
            ArpFrame::gratuitous_reply(nic.mac, v4).into(),
        ],
        IpAddr::V6(v6) => vec![NdpFrame::unsolicited(nic.mac, nic.source(v6), v6).into()],
    }
}

/// Asks whether anybody has the address. The question claims nothing, so it needs no right.
fn probe(port: &Port, address: IpAddr) {
    let mut buffer = [0; NeighborFrame::MAX_LEN];
    // A buffer of that length is never too short.
    let Ok(bytes) = NeighborFrame::probe(port.nic.mac, address).emit(&mut buffer) else { return };
    if port.up && port.send(address.into(), bytes) {
        port.counters.probed.inc();
    }
}

/// Why a frame speaks for an address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Somebody asked.
    Answer,
    /// Nobody did: only by the full right.
    Announcement,
}

/// A frame that was sent.
struct Spoken {
    /// What was left of the deadline before; none when it was spoken for under a held right.
    left: Option<Duration>,
    /// The instant after.
    at: Now,
}

/// The one place where frames leave that speak for an address: the right to this one is looked at directly before, and
/// the clock again after.
fn speak(
    standing: &Standing,
    port: &Port,
    frame: &NeighborFrame,
    word: Word,
    metrics: &Metrics,
) -> Result<Spoken, Refusal> {
    let mut buffer = [0; NeighborFrame::MAX_LEN];
    let address = frame.speaks_for().ok_or(Refusal::NotOurs)?;
    // A buffer of that length is never too short.
    let bytes = frame.emit(&mut buffer).map_err(|_| Refusal::NotOurs)?;
    let here = Here { standing, interface: port.index, up: port.up, now: clock::now() };
    let deadline = match here.may_answer(address)? {
        Right::Held if word == Word::Announcement => return Err(Refusal::NotFresh),
        Right::Held => None,
        Right::Fresh => Some(standing.force.rights().deadline.ok_or(Refusal::NotFresh)?),
    };
    let sent = port.send(address.into(), bytes);
    let at = clock::now();
    if sent && deadline.is_some_and(|deadline| deadline.passed(at)) {
        metrics.late.inc();
    }
    Ok(Spoken { left: deadline.map(|deadline| deadline.left(here.now)), at })
}
