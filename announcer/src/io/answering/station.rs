// SPDX-License-Identifier: Apache-2.0
//! What the answering thread knows, and what it does with a frame.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use gateherald_model::interfaces::Link;
use gateherald_wire::{ArpFrame, MacAddr};

use super::port::Port;
use crate::{
    claims::{Rights, time::Now},
    desired::Reach,
    io::{clock, packet::OpenError},
    metrics::Metrics,
    responder::{Ownership, Refusal, Verdict, respond},
};

/// Frames read from one interface before the others, and messages, get their turn.
const BATCH: usize = 64;
/// An ARP packet with whatever a peer pads it with; the rest of a longer frame is of no interest.
const FRAME: usize = 1514;
/// 10 s between two lines about one address that another host uses.
const CONFLICT_PACE: Duration = Duration::from_secs(10);

/// Sockets, rights, and where what may be said.
pub(super) struct Station {
    ports: BTreeMap<u32, Port>,
    claims: Standing,
    links: Arc<[Link]>,
    metrics: Metrics,
    conflicts: BTreeMap<Ipv4Addr, Now>,
    buffer: Box<[u8; FRAME]>,
}

/// What a frame is judged by, besides the clock.
#[derive(Default)]
struct Standing {
    rights: Rights,
    reach: Arc<Reach>,
    own_macs: BTreeSet<MacAddr>,
}

/// [`Standing`] on one interface at one instant.
struct Here<'a> {
    standing: &'a Standing,
    interface: u32,
    up: bool,
    now: Now,
}

impl Ownership for Here<'_> {
    fn may_answer(&self, address: IpAddr) -> Result<(), Refusal> {
        let rights = &self.standing.rights;
        let titled = rights.titles.contains(&address);
        let Some(interfaces) = self.standing.reach.get(&address) else {
            return Err(if titled { Refusal::NotDesired } else { Refusal::NotOurs });
        };
        if !interfaces.contains(&self.interface) {
            Err(Refusal::OtherInterface)
        } else if !self.up {
            Err(Refusal::LinkDown)
        } else if rights.cover(address, self.now) {
            Ok(())
        } else {
            Err(if titled { Refusal::NotFresh } else { Refusal::NotOwner })
        }
    }

    fn is_own_mac(&self, mac: MacAddr) -> bool {
        self.standing.own_macs.contains(&mac)
    }
}

impl Station {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            ports: BTreeMap::new(),
            claims: Standing::default(),
            links: Arc::default(),
            metrics,
            conflicts: BTreeMap::new(),
            buffer: Box::new([0; FRAME]),
        }
    }

    pub(super) fn ports(&self) -> &BTreeMap<u32, Port> {
        &self.ports
    }

    /// From here on frames are judged by these rights.
    pub(super) fn set_rights(&mut self, rights: Rights, now: Now) {
        let same = rights.titles == self.claims.rights.titles;
        self.claims.rights = rights;
        if !same {
            self.carry(now);
        }
    }

    /// From here on these addresses may be spoken for, on these interfaces.
    pub(super) fn set_reach(&mut self, reach: Arc<Reach>, now: Now) -> Result<(), OpenError> {
        self.claims.reach = reach;
        self.open_and_close(now)
    }

    /// From here on these are the links.
    pub(super) fn set_links(&mut self, links: &Arc<[Link]>, now: Now) -> Result<(), OpenError> {
        self.links = Arc::clone(links);
        self.claims.own_macs = links.iter().filter_map(|link| link.mac).map(MacAddr).collect();
        self.open_and_close(now)
    }

    /// How long until something is to be announced.
    pub(super) fn next_announcement(&self, now: Now) -> Option<Duration> {
        let next =
            self.ports.values().filter(|port| port.up).filter_map(|port| port.schedule.next_deadline()).min();
        next.map(|at| at.saturating_sub(now.raw))
    }

    /// Announces what is due, in both gratuitous forms: Linux counts a reply only with THA = SHA, and some hosts listen
    /// to requests alone.
    pub(super) fn announce(&mut self, now: Now) {
        for port in self.ports.values_mut().filter(|port| port.up) {
            for address in port.schedule.due(now.raw) {
                let IpAddr::V4(address) = address else { continue };
                for frame in [
                    ArpFrame::gratuitous_request(port.mac, address),
                    ArpFrame::gratuitous_reply(port.mac, address),
                ] {
                    match speak(&self.claims, port, &frame, &self.metrics) {
                        Ok(_) => {
                            port.counters.announced.inc();
                        }
                        Err(refusal) => port.counters.drop_frame(refusal.name(), &self.metrics, &port.name),
                    }
                }
            }
        }
    }

    /// Reads and answers what an interface has received, up to a batch.
    pub(super) fn hear(&mut self, index: u32) {
        let Some(port) = self.ports.get_mut(&index) else { return };
        for _ in 0..BATCH {
            let Some(received) = port.receive(&mut self.buffer[..]) else { return };
            port.counters.received.inc();
            let bytes = self.buffer.get(..received.len).unwrap_or_default();
            let here = Here { standing: &self.claims, interface: index, up: port.up, now: clock::now() };
            match respond(bytes, received.meta, port.mac, &here) {
                Verdict::Reply(frame) => match speak(&self.claims, port, &frame, &self.metrics) {
                    Ok(left) => {
                        port.counters.replied.inc();
                        self.metrics.freshness_left.observe(left.as_secs_f64());
                    }
                    Err(refusal) => port.counters.drop_frame(refusal.name(), &self.metrics, &port.name),
                },
                Verdict::Drop(reason) => port.counters.drop_frame(reason.name(), &self.metrics, &port.name),
                Verdict::Conflict { address, claimant } => {
                    port.counters.conflicts.inc();
                    note_conflict(&mut self.conflicts, address, claimant, &port.name);
                }
            }
        }
    }

    /// Has a socket on every interface that something may be said on, and on no other.
    fn open_and_close(&mut self, now: Now) -> Result<(), OpenError> {
        let wanted: BTreeSet<u32> = self.claims.reach.values().flatten().copied().collect();
        let all = Arc::clone(&self.links);
        let links: BTreeMap<u32, (&Link, MacAddr)> =
            all.iter().filter_map(|link| link.mac.map(|mac| (link.index, (link, MacAddr(mac))))).collect();
        let metrics = &self.metrics;
        self.ports.retain(|index, port| {
            // An index is not used again while the system is up, but a link can be renamed, and its series with it.
            let same = links.get(index).is_some_and(|(link, _)| *link.name == *port.name);
            let keep = same && wanted.contains(index);
            if !keep {
                metrics.forget_interface(&port.name, port.counters.reasons());
            }
            keep
        });
        for (link, mac) in wanted.iter().filter_map(|index| links.get(index)) {
            match self.ports.get_mut(&link.index) {
                Some(port) => port.update(link, *mac, now.raw),
                None => self.open(link, *mac)?,
            }
        }
        self.carry(now);
        Ok(())
    }

    fn open(&mut self, link: &Link, mac: MacAddr) -> Result<(), OpenError> {
        match Port::open(link, mac, &self.metrics) {
            Ok(port) => {
                tracing::info!(interface = link.name, mac = %mac, "listening");
                self.ports.insert(link.index, port);
                Ok(())
            }
            Err(denied @ OpenError::NotPermitted(_)) => Err(denied),
            // The link went away meanwhile; the event that says so is on its way.
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::warn!(interface = link.name, error, "cannot listen");
                Ok(())
            }
        }
    }

    /// Tells each interface which addresses it has to hear about and to announce: those with title.
    fn carry(&mut self, now: Now) {
        for port in self.ports.values_mut() {
            let titled = self.claims.rights.titles.iter().filter_map(|address| match address {
                IpAddr::V4(v4) => Some(*v4),
                IpAddr::V6(_) => None,
            });
            let reach = &self.claims.reach;
            let here = |address: &Ipv4Addr| {
                reach.get(&IpAddr::V4(*address)).is_some_and(|interfaces| interfaces.contains(&port.index))
            };
            port.carry(&titled.filter(here).collect(), now.raw);
        }
        self.conflicts.retain(|address, _| self.claims.rights.titles.contains(&IpAddr::V4(*address)));
    }
}

/// The one place where frames leave: the right to this one is looked at directly before, and the clock again after.
///
/// Says how much of the deadline was left.
fn speak(standing: &Standing, port: &Port, frame: &ArpFrame, metrics: &Metrics) -> Result<Duration, Refusal> {
    let mut bytes = [0; ArpFrame::LEN];
    // A buffer of exactly that length is never too short.
    let _ = frame.emit(&mut bytes);
    let here = Here { standing, interface: port.index, up: port.up, now: clock::now() };
    here.may_answer(frame.arp.spa.into())?;
    let deadline = standing.rights.deadline.ok_or(Refusal::NotFresh)?;
    if port.send(&bytes) && deadline.passed(clock::now()) {
        metrics.late.inc();
    }
    Ok(deadline.left(here.now))
}

fn note_conflict(told: &mut BTreeMap<Ipv4Addr, Now>, address: Ipv4Addr, claimant: MacAddr, interface: &str) {
    let now = clock::now();
    if told.get(&address).is_none_or(|last| now.at_most_since(*last) >= CONFLICT_PACE) {
        told.insert(address, now);
        tracing::warn!(%address, %claimant, interface, "another host uses an address that this node owns");
    }
}
