// SPDX-License-Identifier: Apache-2.0
//! `AF_PACKET` sockets: one per interface, deaf until their filter is in place.
#![allow(unsafe_code, reason = "binding a packet socket and reading its auxiliary data have no safe wrapper")]

use std::{
    collections::BTreeSet,
    io,
    mem::{size_of, size_of_val},
    net::IpAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    ptr,
};

use gateherald_wire::{EtherType, PacketMeta};
use socket2::{Domain, SockFilter, Socket, Type};
use tokio::io::{Interest, unix::AsyncFd};

use super::filter;
use crate::responder::Protocol;

/// A raw socket that hears one neighbour protocol on one interface, non-blocking.
#[derive(Debug)]
pub struct PacketSocket {
    socket: Socket,
    protocol: Protocol,
}

/// One received frame; its bytes are in the caller's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes of the frame, at most what the buffer holds.
    pub len: usize,
    /// What the kernel tells about it.
    pub meta: PacketMeta,
}

/// Why a packet socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The process lacks `CAP_NET_RAW`.
    #[error("packet sockets need the capability NET_RAW")]
    NotPermitted(#[source] io::Error),
    /// The kernel refused to make a socket.
    #[error("packet socket for interface {index}")]
    Socket {
        /// The interface.
        index: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// No filter program was accepted.
    #[error("packet filter for interface {index}")]
    Filter {
        /// The interface.
        index: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The interface is gone, or not Ethernet.
    #[error("bind to interface {index}")]
    Bind {
        /// The interface.
        index: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Whether this process may open packet sockets at all.
pub fn permitted() -> Result<(), OpenError> {
    new_socket(0).map(drop)
}

impl PacketSocket {
    /// Opens a socket that hears `protocol` about `addresses` on the interface `index`.
    ///
    /// It is made with protocol 0, hears nothing before its filter is attached, and only then is bound.
    pub fn open(index: u32, protocol: Protocol, addresses: &BTreeSet<IpAddr>) -> Result<Self, OpenError> {
        let this = Self { socket: new_socket(index)?, protocol };
        this.listen_to(addresses).map_err(|source| OpenError::Filter { index, source })?;
        this.enable_auxdata().map_err(|source| OpenError::Socket { index, source })?;
        this.bind(index).map_err(|source| OpenError::Bind { index, source })?;
        Ok(this)
    }

    /// Replaces the filter, atomically; true when it passes exactly these addresses, false when some in between pass too.
    ///
    /// The kernel charges a filter to the socket's option memory (`net.core.optmem_max`, 20 KiB before Linux 6.9), so a
    /// program that is refused for its size is tried again at half the weight.
    pub fn listen_to(&self, addresses: &BTreeSet<IpAddr>) -> io::Result<bool> {
        let mut limit = filter::MAX_WEIGHT;
        loop {
            let (groups, exact) = filter::fold(addresses, limit);
            let program = filter::program(self.protocol, &groups);
            let program: Vec<SockFilter> =
                program.iter().map(|i| SockFilter::new(i.code, i.jt, i.jf, i.k)).collect();
            match self.socket.attach_filter(&program) {
                Ok(()) => return Ok(exact),
                Err(e) if e.raw_os_error() == Some(libc::ENOMEM) && limit > 1 => limit /= 2,
                Err(e) => return Err(e),
            }
        }
    }

    /// Takes one frame off the queue; `WouldBlock` when there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        // SAFETY: all-zero bytes are a valid sockaddr_ll, a struct of integers.
        let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        // u64s, so that control messages are aligned; one auxdata message takes 40 bytes.
        let mut control = [0u64; 8];
        let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: all-zero bytes are a valid msghdr: null pointers and zero lengths.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_name = ptr::from_mut(&mut from).cast();
        header.msg_namelen = size_of_socklen(&from);
        header.msg_iov = &raw mut iov;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        // SAFETY: every pointer in the header is to a live local (or the caller's buffer) of the length beside it.
        let len = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut header, 0) };
        let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
        Ok(Received {
            len: len.min(buffer.len()),
            meta: PacketMeta { packet_type: from.sll_pkttype.into(), vlan_tci: vlan_tag(&header) },
        })
    }

    /// Registers the socket with the current runtime, for reading only: whoever asks now and then waits for it there. The
    /// answering thread waits by itself.
    pub(crate) fn register(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor is owned, open, and never exchanged while the socket lives.
        Ok(unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) }?)
    }

    /// Sends one frame, Ethernet header included.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(drop)
    }

    fn enable_auxdata(&self) -> io::Result<()> {
        let on: libc::c_int = 1;
        // SAFETY: the option's value is a live c_int of the length given.
        let result = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_AUXDATA,
                ptr::from_ref(&on).cast(),
                size_of_socklen(&on),
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn bind(&self, index: u32) -> io::Result<()> {
        // SAFETY: all-zero bytes are a valid sockaddr_ll, a struct of integers.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::c_ushort::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
        address.sll_protocol = ethertype(self.protocol).0.to_be();
        address.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
        // SAFETY: the address is a live sockaddr_ll of the length given.
        let result = unsafe {
            libc::bind(self.socket.as_raw_fd(), ptr::from_ref(&address).cast(), size_of_socklen(&address))
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn new_socket(index: u32) -> Result<Socket, OpenError> {
    // socket2 sets CLOEXEC by itself.
    let no_protocol = Some(socket2::Protocol::from(0));
    Socket::new(Domain::PACKET, Type::RAW.nonblocking(), no_protocol).map_err(|source| {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => OpenError::NotPermitted(source),
            _ => OpenError::Socket { index, source },
        }
    })
}

fn ethertype(protocol: Protocol) -> EtherType {
    match protocol {
        Protocol::Arp => EtherType::ARP,
        Protocol::Ndp => EtherType::IPV6,
    }
}

/// The 802.1Q tag in a received message's auxiliary data.
fn vlan_tag(header: &libc::msghdr) -> Option<u16> {
    // SAFETY: the kernel filled the header; CMSG_FIRSTHDR yields null or a message inside the control buffer.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: not null, hence a whole, aligned control header inside the buffer.
        let head = unsafe { message.read() };
        if head.cmsg_level == libc::SOL_PACKET && head.cmsg_type == libc::PACKET_AUXDATA {
            // SAFETY: a message of this type carries a tpacket_auxdata, maybe unaligned.
            let aux = unsafe { libc::CMSG_DATA(message).cast::<libc::tpacket_auxdata>().read_unaligned() };
            return (aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0).then_some(aux.tp_vlan_tci);
        }
        // SAFETY: both pointers are to the live header and a message inside its control buffer.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    None
}

fn size_of_socklen<T>(_: &T) -> libc::socklen_t {
    // The structures here are a few dozen bytes.
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(libc::socklen_t::MAX)
}
