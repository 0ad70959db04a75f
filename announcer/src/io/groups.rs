// SPDX-License-Identifier: Apache-2.0
//! The solicited-node groups of the addresses that an interface hears about, joined as any host joins them: the kernel
//! tells switches by MLD, and its network card lets the group's frames through.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::Ipv6Addr,
};

use socket2::{Domain, Socket, Type};

/// The groups that one interface is a member of.
///
/// A membership is charged to its socket's option memory (`net.core.optmem_max`), so many of them are spread over
/// sockets. They end with the sockets.
#[derive(Debug)]
pub struct Groups {
    index: u32,
    sockets: BTreeMap<usize, Member>,
    /// By group: the socket that joined it.
    joined: BTreeMap<Ipv6Addr, usize>,
    next: usize,
}

/// A socket that is nothing but a member of groups.
#[derive(Debug)]
struct Member {
    socket: Socket,
    groups: usize,
    /// The kernel has not refused it a group since it left one.
    room: bool,
}

impl Groups {
    /// None, on the interface `index`.
    pub fn new(index: u32) -> Self {
        Self { index, sockets: BTreeMap::new(), joined: BTreeMap::new(), next: 0 }
    }

    /// Is a member of exactly these groups from now on, each joined once whatever the number of its addresses.
    ///
    /// # Errors
    /// The first one, after all groups were tried; a group that could not be joined is tried again at the next call.
    pub fn follow(&mut self, wanted: &BTreeSet<Ipv6Addr>) -> io::Result<()> {
        let gone: Vec<Ipv6Addr> =
            self.joined.keys().filter(|group| !wanted.contains(group)).copied().collect();
        for group in gone {
            self.leave(group);
        }
        let new: Vec<Ipv6Addr> =
            wanted.iter().filter(|group| !self.joined.contains_key(group)).copied().collect();
        let mut first_error = Ok(());
        for group in new {
            let joined = self.join(group);
            first_error = first_error.and(joined);
        }
        first_error
    }

    fn join(&mut self, group: Ipv6Addr) -> io::Result<()> {
        for (id, member) in self.sockets.iter_mut().filter(|(_, member)| member.room) {
            match member.socket.join_multicast_v6(&group, self.index) {
                Ok(()) => {
                    member.groups += 1;
                    self.joined.insert(group, *id);
                    return Ok(());
                }
                Err(error) if is_full(&error) => member.room = false,
                Err(error) => return Err(error),
            }
        }
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
        socket.join_multicast_v6(&group, self.index)?;
        self.sockets.insert(self.next, Member { socket, groups: 1, room: true });
        self.joined.insert(group, self.next);
        self.next += 1;
        Ok(())
    }

    fn leave(&mut self, group: Ipv6Addr) {
        let Some(id) = self.joined.remove(&group) else { return };
        let Some(member) = self.sockets.get_mut(&id) else { return };
        // An interface that is gone has taken its memberships with it.
        let _ = member.socket.leave_multicast_v6(&group, self.index);
        member.groups -= 1;
        member.room = true;
        if member.groups == 0 {
            self.sockets.remove(&id);
        }
    }
}

/// The socket's option memory is used up.
fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::ENOBUFS))
}

#[cfg(test)]
mod tests;
