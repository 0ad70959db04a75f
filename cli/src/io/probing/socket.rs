// SPDX-License-Identifier: Apache-2.0
//! One packet socket on one interface, for one question after another.
#![allow(unsafe_code, reason = "binding a packet socket has no safe wrapper")]

use std::{
    io::{self, ErrorKind, Read},
    mem::size_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd,
    ptr,
    time::{Duration, Instant},
};

use gateherald_wire::{EtherType, NeighborFrame};
use socket2::{Domain, Socket, Type};

use super::{Asking, links::Link};
use crate::probe::{Answer, answerer, question};

/// Anything longer is cut off; what is looked for is far shorter.
const FRAME: usize = 2048;
/// Nothing is sent there: connecting a datagram socket only asks the kernel for a route.
const DISCARD: u16 = 9;

/// Asks on one interface, and listens after each question.
#[allow(clippy::disallowed_methods, reason = "io reads the clock")]
pub(crate) fn ask(link: &Link, asking: &Asking) -> io::Result<Vec<Answer>> {
    let mut socket = open(link, asking.vip)?;
    let frame = question(link.mac, own_address(link, asking.vip), asking.vip);
    let mut buffer = [0; NeighborFrame::MAX_LEN];
    let bytes = frame.emit(&mut buffer).map_err(io::Error::other)?;
    let mut answers = Vec::new();
    for _ in 0..asking.count {
        let sent = Instant::now();
        socket.send(bytes)?;
        while let Some(left) = asking.listen.checked_sub(sent.elapsed()).filter(|left| !left.is_zero()) {
            // Zero would wait for ever.
            socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let mut received = [0; FRAME];
            let length = match socket.read(&mut received) {
                Ok(length) => length,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if let Ok(Some(mac)) = answerer(&received[..length], asking.vip) {
                answers.push(Answer { interface: link.name.clone(), mac, after: sent.elapsed() });
            }
        }
    }
    Ok(answers)
}

/// Made with protocol 0, so that it hears nothing of other interfaces before it is bound.
fn open(link: &Link, vip: IpAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    let protocol = if vip.is_ipv4() { EtherType::ARP } else { EtherType::IPV6 };
    // SAFETY: all-zero bytes are a valid sockaddr_ll, a struct of integers.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::c_ushort::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    address.sll_protocol = protocol.0.to_be();
    address.sll_ifindex = i32::try_from(link.index).map_err(io::Error::other)?;
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    // SAFETY: the address is a live sockaddr_ll of the length given.
    let result = unsafe { libc::bind(socket.as_raw_fd(), ptr::from_ref(&address).cast(), length) };
    if result == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

/// The address by which this machine would speak to the VIP over the interface.
fn own_address(link: &Link, vip: IpAddr) -> Option<IpAddr> {
    let (domain, any): (_, IpAddr) = match vip {
        IpAddr::V4(_) => (Domain::IPV4, Ipv4Addr::UNSPECIFIED.into()),
        IpAddr::V6(_) => (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let socket = Socket::new(domain, Type::DGRAM, None).ok()?;
    socket.bind_device(Some(link.name.as_bytes())).ok()?;
    socket.bind(&SocketAddr::new(any, 0).into()).ok()?;
    socket.connect(&SocketAddr::new(vip, DISCARD).into()).ok()?;
    let own = socket.local_addr().ok()?.as_socket()?.ip();
    (!own.is_unspecified() && !own.is_loopback() && own != vip).then_some(own)
}
