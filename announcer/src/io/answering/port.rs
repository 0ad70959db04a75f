// SPDX-License-Identifier: Apache-2.0
//! One interface: its sockets and groups, its schedule of announcements, its counters.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Duration,
};

use gateherald_model::interfaces::Link;
use gateherald_wire::{MacAddr, solicited_node};
use prometheus_client::metrics::counter::Counter;

use super::ear::Ear;
use crate::{
    io::{
        groups::Groups,
        packet::{OpenError, Received},
    },
    metrics::{Dropped, Metrics, OnInterface},
    responder::{DropReason, Nic, Protocol},
    schedule::Schedule,
};

/// An interface that addresses are announced on.
pub(super) struct Port {
    pub(super) index: u32,
    pub(super) name: Arc<str>,
    pub(super) nic: Nic,
    pub(super) up: bool,
    pub(super) schedule: Schedule,
    pub(super) counters: Counters,
    ears: BTreeMap<Protocol, Ear>,
    groups: Groups,
    /// Some group could not be joined, and people know.
    groups_failed: bool,
    /// What is to be announced, once it can be heard about.
    said: BTreeSet<IpAddr>,
}

/// The interface's counters, looked up once.
pub(super) struct Counters {
    pub(super) received: Counter,
    pub(super) replied: Counter,
    pub(super) announced: Counter,
    pub(super) probed: Counter,
    pub(super) conflicts: Counter,
    pub(super) send_errors: Counter,
    dropped: BTreeMap<&'static str, Counter>,
}

/// The interface as its network sees it; none if it is not Ethernet.
pub(super) fn nic(link: &Link) -> Option<Nic> {
    Some(Nic { mac: MacAddr(link.mac?), link_local: link.link_local })
}

impl Port {
    /// The interface, without a socket until it has something to hear about.
    pub(super) fn new(link: &Link, nic: Nic, metrics: &Metrics) -> Self {
        let name: Arc<str> = link.name.as_str().into();
        Self {
            index: link.index,
            nic,
            up: link.up,
            schedule: Schedule::default(),
            counters: Counters::new(metrics, &name),
            name,
            ears: BTreeMap::new(),
            groups: Groups::new(link.index),
            groups_failed: false,
            said: BTreeSet::new(),
        }
    }

    /// Hears about exactly these addresses: those of a family need a socket of their own.
    ///
    /// # Errors
    /// When the capability was taken away.
    pub(super) fn hear_about(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<(), OpenError> {
        let groups = addresses.iter().filter_map(|address| match address {
            IpAddr::V6(v6) => Some(solicited_node(*v6)),
            IpAddr::V4(_) => None,
        });
        // Without IPv6 on the link there is no group to join; without memory for one, others may still be heard.
        let failed = self.groups.follow(&groups.collect()).err();
        if let Some(error) = failed.as_ref().filter(|_| !self.groups_failed) {
            tracing::warn!(interface = &*self.name, %error, "cannot join a solicited-node group");
        }
        self.groups_failed = failed.is_some();
        for protocol in [Protocol::Arp, Protocol::Ndp] {
            let of_family: BTreeSet<IpAddr> =
                addresses.iter().copied().filter(|address| Protocol::from(*address) == protocol).collect();
            if of_family.is_empty() && !self.ears.contains_key(&protocol) {
                continue;
            }
            if let Some(ear) = self.ear(protocol)? {
                ear.want(of_family);
            }
        }
        Ok(())
    }

    fn ear(&mut self, protocol: Protocol) -> Result<Option<&mut Ear>, OpenError> {
        if !self.ears.contains_key(&protocol) {
            match Ear::open(self.index, protocol) {
                Ok(ear) => {
                    let name = protocol.name();
                    tracing::info!(interface = &*self.name, protocol = name, mac = %self.nic.mac, "listening");
                    self.ears.insert(protocol, ear);
                }
                Err(denied @ OpenError::NotPermitted(_)) => return Err(denied),
                // The link went away meanwhile; the event that says so is on its way.
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::from(error));
                    tracing::warn!(interface = &*self.name, error, "cannot listen");
                }
            }
        }
        Ok(self.ears.get_mut(&protocol))
    }

    /// Announces exactly these addresses: what it did not announce before, from the start.
    pub(super) fn announce_only(&mut self, addresses: BTreeSet<IpAddr>, now: Duration) {
        self.said = addresses;
        self.sync(now);
    }

    /// Attaches the filters that are due, and announces what they now let through.
    pub(super) fn settle(&mut self, now: Duration) {
        let mut attached = false;
        for ear in self.ears.values_mut() {
            attached |= ear.settle(now, &self.name);
        }
        if attached {
            self.sync(now);
        }
    }

    /// Who hears an announcement may ask at once, so nothing is announced that would not be heard about.
    fn sync(&mut self, now: Duration) {
        let heard = |address: &&IpAddr| {
            self.ears.get(&Protocol::from(**address)).is_some_and(|ear| ear.hears(**address))
        };
        self.schedule.sync(&self.said.iter().filter(heard).copied().collect(), now);
    }

    /// Whether an answer to a probe for the address would be heard here, if the address's family can be heard here at all.
    pub(super) fn would_hear(&self, address: IpAddr) -> bool {
        self.ears.get(&Protocol::from(address)).is_none_or(|ear| ear.hears(address))
    }

    /// When there is something to announce or a filter to attach. A link that is down has nothing to say.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let filter = self.ears.values().filter_map(Ear::next_deadline).min();
        let announcement = self.schedule.next_deadline().filter(|_| self.up);
        filter.into_iter().chain(announcement).min()
    }

    /// The sockets, by interface and protocol.
    pub(super) fn ears(&self) -> impl Iterator<Item = ((u32, Protocol), BorrowedFd<'_>)> {
        self.ears.iter().map(|(protocol, ear)| ((self.index, *protocol), ear.as_fd()))
    }

    /// One frame; none when the queue is empty.
    pub(super) fn receive(&self, protocol: Protocol, buffer: &mut [u8]) -> Option<Received> {
        self.ears.get(&protocol)?.receive(buffer, &self.name)
    }

    /// Sends a frame; whether the kernel took it.
    pub(super) fn send(&self, protocol: Protocol, frame: &[u8]) -> bool {
        let Some(ear) = self.ears.get(&protocol) else { return false };
        match ear.send(frame) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(interface = &*self.name, %error, "send");
                self.counters.send_errors.inc();
                false
            }
        }
    }

    /// Takes in the link's state: back from being down, or with other addresses of its own, it announces everything anew.
    pub(super) fn update(&mut self, link: &Link, nic: Nic, now: Duration) {
        let anew = (link.up && !self.up) || nic.mac != self.nic.mac;
        (self.up, self.nic) = (link.up, nic);
        if anew {
            self.schedule.restart(now);
        }
    }
}

impl Counters {
    fn new(metrics: &Metrics, name: &Arc<str>) -> Self {
        let label = OnInterface { interface: Arc::clone(name) };
        Self {
            received: metrics.received.get_or_create_owned(&label),
            replied: metrics.replied.get_or_create_owned(&label),
            announced: metrics.announced.get_or_create_owned(&label),
            probed: metrics.probed.get_or_create_owned(&label),
            conflicts: metrics.conflicts.get_or_create_owned(&label),
            send_errors: metrics.send_errors.get_or_create_owned(&label),
            dropped: DropReason::NAMES
                .into_iter()
                .map(|reason| {
                    let label = Dropped { interface: Arc::clone(name), reason };
                    (reason, metrics.dropped.get_or_create_owned(&label))
                })
                .collect(),
        }
    }

    /// Counts a frame that is not answered.
    pub(super) fn drop_frame(&self, reason: &'static str) {
        if let Some(counter) = self.dropped.get(reason) {
            counter.inc();
        }
    }
}
