// SPDX-License-Identifier: Apache-2.0
//! One interface: its socket, its schedule of announcements, its counters.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use gateherald_model::interfaces::Link;
use gateherald_wire::MacAddr;
use prometheus_client::metrics::counter::Counter;
use tokio::io::unix::AsyncFd;

use crate::{
    io::packet::{OpenError, PacketSocket, Received},
    metrics::{Dropped, Metrics, OnInterface},
    schedule::Schedule,
};

/// An interface that addresses are announced on.
pub(super) struct Port {
    pub(super) index: u32,
    pub(super) name: Arc<str>,
    pub(super) mac: MacAddr,
    pub(super) up: bool,
    pub(super) schedule: Schedule,
    pub(super) counters: Counters,
    socket: AsyncFd<PacketSocket>,
    listening: BTreeSet<Ipv4Addr>,
}

/// The interface's counters, looked up once.
pub(super) struct Counters {
    pub(super) received: Counter,
    pub(super) replied: Counter,
    pub(super) announced: Counter,
    pub(super) conflicts: Counter,
    pub(super) send_errors: Counter,
    dropped: BTreeMap<&'static str, Counter>,
}

impl Port {
    /// Opens the interface's socket; it hears nothing until it is told which addresses to listen for.
    pub(super) fn open(link: &Link, mac: MacAddr, metrics: &Metrics) -> Result<Self, OpenError> {
        let index = link.index;
        let socket = PacketSocket::open(index, &BTreeSet::new())?;
        let socket = socket.register().map_err(|source| OpenError::Socket { index, source })?;
        let name: Arc<str> = link.name.as_str().into();
        Ok(Self {
            index,
            mac,
            up: link.up,
            schedule: Schedule::default(),
            counters: Counters::new(metrics, &name),
            name,
            socket,
            listening: BTreeSet::new(),
        })
    }

    /// Whether there may be a frame to read; else the task of `cx` is woken when there is.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> bool {
        matches!(self.socket.poll_read_ready(cx), Poll::Ready(Ok(_)))
    }

    /// One frame; none when the queue is empty. An error of the socket (the link went down) is none of a frame.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Option<Received> {
        loop {
            match self.socket.try_io(tokio::io::Interest::READABLE, |socket| socket.receive(buffer)) {
                Ok(received) => return Some(received),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return None,
                // recvmsg reports what befell the link once, as an error; netlink tells the same in more detail.
                Err(error) => tracing::debug!(interface = &*self.name, %error, "receive"),
            }
        }
    }

    /// Sends a frame; whether the kernel took it.
    pub(super) fn send(&self, frame: &[u8]) -> bool {
        match self.socket.get_ref().send(frame) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(interface = &*self.name, %error, "send");
                self.counters.send_errors.inc();
                false
            }
        }
    }

    /// Hears about exactly these addresses from now on, and announces those that are new.
    pub(super) fn carry(&mut self, addresses: &BTreeSet<Ipv4Addr>, now: Duration) {
        if *addresses != self.listening {
            match self.socket.get_ref().listen_to(addresses) {
                Ok(true) => {}
                Ok(false) => {
                    tracing::debug!(interface = &*self.name, "the filter also passes addresses in between");
                }
                Err(error) => tracing::error!(interface = &*self.name, %error, "packet filter refused"),
            }
            self.listening.clone_from(addresses);
        }
        self.schedule.sync(&addresses.iter().copied().map(IpAddr::V4).collect(), now);
    }

    /// Takes in the link's state: back from being down, or with another hardware address, it announces everything anew.
    pub(super) fn update(&mut self, link: &Link, mac: MacAddr, now: Duration) {
        let anew = (link.up && !self.up) || mac != self.mac;
        (self.up, self.mac) = (link.up, mac);
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
            conflicts: metrics.conflicts.get_or_create_owned(&label),
            send_errors: metrics.send_errors.get_or_create_owned(&label),
            dropped: BTreeMap::new(),
        }
    }

    /// Counts a frame that is not answered.
    pub(super) fn drop_frame(&mut self, reason: &'static str, metrics: &Metrics, interface: &Arc<str>) {
        let label = || Dropped { interface: Arc::clone(interface), reason };
        self.dropped.entry(reason).or_insert_with(|| metrics.dropped.get_or_create_owned(&label())).inc();
    }

    /// The reasons for which frames were dropped.
    pub(super) fn reasons(&self) -> impl Iterator<Item = &'static str> {
        self.dropped.keys().copied()
    }
}
