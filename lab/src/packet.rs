// SPDX-License-Identifier: Apache-2.0
//! A packet socket that captures with the kernel's time stamps and sends raw frames.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::socket::{
    self, AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, sockopt,
};
use nix::sys::time::TimeVal;

use crate::netns::Netns;
use crate::sys;

/// All EtherTypes (`ETH_P_ALL`).
const EVERYTHING: u16 = 3;
/// `PACKET_OUTGOING` of `linux/if_packet.h`.
const OUTGOING: u8 = 4;
/// Room for a burst that the reading thread comes late for.
const BUFFER: usize = 16 << 20;
/// How often a reading thread looks whether it shall end.
const POLL: TimeVal = TimeVal::new(0, 50_000);

/// A frame and where it was seen.
pub(crate) struct Received {
    pub(crate) at: Duration,
    pub(crate) interface: u32,
    pub(crate) outgoing: bool,
    pub(crate) length: usize,
}

/// An `AF_PACKET` socket in some namespace.
#[derive(Debug)]
pub(crate) struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// One that sees everything on `interface` (`None`: on all of the namespace).
    pub(crate) fn open(netns: &Netns, interface: Option<&str>) -> anyhow::Result<Self> {
        netns.enter(|| {
            let index = match interface {
                Some(name) => {
                    nix::net::if_::if_nametoindex(name).with_context(|| format!("no interface {name}"))?
                }
                None => 0,
            };
            // Without a protocol until it is bound, so that no frame of another interface slips in.
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket::socket(AddressFamily::Packet, SockType::Raw, flags, None::<SockProtocol>)?;
            socket::setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
            socket::setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
            socket::setsockopt(&socket, sockopt::ReceiveTimeout, &POLL)?;
            sys::bind_packet(&socket, index, EVERYTHING).context("cannot bind a packet socket")?;
            Ok(Self(socket))
        })
    }

    /// The next frame; `None` when none came for a moment.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> anyhow::Result<Option<Received>> {
        let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::empty();
        let message =
            match socket::recvmsg::<LinkAddr>(self.0.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                Ok(message) => message,
                Err(nix::Error::EAGAIN | nix::Error::EINTR | nix::Error::ENETDOWN) => return Ok(None),
                Err(error) => bail!("cannot read from a packet socket: {error}"),
            };
        let at = message
            .cmsgs()?
            .find_map(|part| match part {
                ControlMessageOwned::ScmTimestampns(time) => Some(Duration::from(time)),
                _ => None,
            })
            .context("a frame without a time stamp")?;
        let address = message.address.context("a frame without an address")?;
        let interface = u32::try_from(address.ifindex()).unwrap_or_default();
        Ok(Some(Received { at, interface, outgoing: address.pkttype() == OUTGOING, length: message.bytes }))
    }

    /// Sends one frame as it is.
    pub(crate) fn send(&self, frame: &[u8]) -> anyhow::Result<()> {
        let parts = [IoSlice::new(frame)];
        socket::sendmsg::<LinkAddr>(self.0.as_raw_fd(), &parts, &[], MsgFlags::empty(), None)
            .context("cannot send a frame")?;
        Ok(())
    }
}
