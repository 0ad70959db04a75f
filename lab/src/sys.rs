// SPDX-License-Identifier: Apache-2.0
//! The few system calls for which no safe wrapper exists.
#![allow(unsafe_code, reason = "pre_exec, bind(2) of a packet socket and atexit(3) have no safe wrapper")]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes `command`'s process die with the thread that spawns it, whatever happens to that thread.
///
/// The signal is tied to the spawning *thread*, so only a thread that lives as long as the program may spawn.
pub(crate) fn die_with_spawning_thread(command: &mut Command) {
    let parent = nix::unistd::getpid();
    let hook = move || {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        // The parent may have died before the call above; then nobody would send the signal.
        if nix::unistd::getppid() == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: the hook only makes the system calls prctl and getppid, which are async-signal-safe, and allocates nothing.
    unsafe { command.pre_exec(hook) };
}

/// Binds a packet socket to one interface (0: all) and one EtherType.
pub(crate) fn bind_packet(socket: &OwnedFd, interface: u32, ether_type: u16) -> io::Result<()> {
    let address = link_address(interface, ether_type)?;
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    // SAFETY: `address` is a live sockaddr_ll and `length` is its size; the descriptor is owned by `socket`.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn link_address(interface: u32, ether_type: u16) -> io::Result<libc::sockaddr_ll> {
    Ok(libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?,
        sll_protocol: ether_type.to_be(),
        sll_ifindex: interface.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    })
}

/// Has `hook` called when the process exits in an orderly way (`exit`, or a return from `main`).
pub(crate) fn at_exit(hook: extern "C" fn()) {
    // SAFETY: `hook` is a function without arguments that stays valid for the whole life of the process.
    let _ = unsafe { libc::atexit(hook) };
}
