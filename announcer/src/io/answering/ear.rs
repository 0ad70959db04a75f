// SPDX-License-Identifier: Apache-2.0
//! One socket: a neighbour protocol on an interface, and the addresses that the kernel lets through to it.

use std::{
    collections::BTreeSet,
    io,
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use crate::{
    io::packet::{OpenError, PacketSocket, Received},
    responder::Protocol,
};

/// 5 ms between two filters at the least: a large one takes the kernel a good part of that to translate, and when many
/// addresses change hands, many changes fit into one filter.
const FILTER_PACE: Duration = Duration::from_millis(5);

/// The socket.
pub(super) struct Ear {
    socket: PacketSocket,
    /// What the filter shall let through, and what it does.
    wanted: BTreeSet<IpAddr>,
    listening: BTreeSet<IpAddr>,
    /// When the filter was attached last, on the raw clock.
    attached: Option<Duration>,
}

impl Ear {
    /// Opens the socket; it hears nothing until it is told what about.
    pub(super) fn open(index: u32, protocol: Protocol) -> Result<Self, OpenError> {
        let socket = PacketSocket::open(index, protocol, &BTreeSet::new())?;
        Ok(Self { socket, wanted: BTreeSet::new(), listening: BTreeSet::new(), attached: None })
    }

    /// Hears about exactly these addresses as soon as the pace allows it.
    pub(super) fn want(&mut self, addresses: BTreeSet<IpAddr>) {
        self.wanted = addresses;
    }

    /// Whether the kernel lets frames about the address through.
    pub(super) fn hears(&self, address: IpAddr) -> bool {
        self.listening.contains(&address)
    }

    /// Attaches another filter, if one is due; whether it did.
    pub(super) fn settle(&mut self, now: Duration, interface: &str) -> bool {
        if self.next_deadline().is_none_or(|at| at > now) {
            return false;
        }
        match self.socket.listen_to(&self.wanted) {
            Ok(true) => {}
            Ok(false) => tracing::debug!(interface, "the filter also passes addresses in between"),
            Err(error) => tracing::error!(interface, %error, "packet filter refused"),
        }
        self.attached = Some(now);
        self.listening.clone_from(&self.wanted);
        true
    }

    /// When [`Ear::settle`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let after = |at: Duration| at + FILTER_PACE;
        (self.wanted != self.listening).then(|| self.attached.map_or(Duration::ZERO, after))
    }

    /// One frame; none when the queue is empty. An error of the socket (the link went down) is none of a frame.
    pub(super) fn receive(&self, buffer: &mut [u8], interface: &str) -> Option<Received> {
        loop {
            match self.socket.receive(buffer) {
                Ok(received) => return Some(received),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // recvmsg reports what befell the link once, as an error; netlink tells the same in more detail.
                Err(error) => tracing::debug!(interface, %error, "receive"),
            }
        }
    }

    /// Sends a frame, Ethernet header included.
    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame)
    }
}

impl AsFd for Ear {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
