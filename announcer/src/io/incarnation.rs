// SPDX-License-Identifier: Apache-2.0
//! What tells this process from every other that may run on the same node: the proof that rule 8 asks for before a
//! successor may end its predecessor at once.

use socket2::{Domain, SockAddr, Socket, Type};
use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

/// Held for the life of the process: while it lives, no other process in this network namespace can bind the name.
#[derive(Debug)]
pub struct Place {
    socket: Option<Socket>,
}

/// Where in a file a fact was looked for, and what went wrong.
#[derive(Debug, thiserror::Error)]
#[error("read {what}")]
pub struct UnknownHost {
    what: &'static str,
    #[source]
    source: io::Error,
}

impl Place {
    /// Binds the abstract socket `@gateherald/<namespace uid>`.
    ///
    /// Abstract names belong to the network namespace and vanish with the process, however it dies, so holding this one
    /// means that the predecessor in this network namespace is dead.
    pub fn take(namespace_uid: &str) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
        let address = SockAddr::unix(Path::new(&format!("\0gateherald/{namespace_uid}")))?;
        match socket.bind(&address) {
            Ok(()) => Ok(Self { socket: Some(socket) }),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => Ok(Self { socket: None }),
            Err(e) => Err(e),
        }
    }

    /// Whether this process is the only one here; false while another still runs.
    pub fn is_taken(&self) -> bool {
        self.socket.is_some()
    }
}

/// The kernel's random id of this boot.
pub fn boot_id() -> Result<String, UnknownHost> {
    let what = "/proc/sys/kernel/random/boot_id";
    fs::read_to_string(what).map(|id| id.trim().to_owned()).map_err(|source| UnknownHost { what, source })
}

/// The inode of this process's network namespace, unique within one boot.
pub fn network_namespace() -> Result<u64, UnknownHost> {
    let what = "/proc/self/ns/net";
    fs::metadata(what).map(|file| file.ino()).map_err(|source| UnknownHost { what, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_process_holds_a_place() {
        let uid = format!("test-{}", std::process::id());
        let first = Place::take(&uid).unwrap();
        assert!(first.is_taken());
        assert!(!Place::take(&uid).unwrap().is_taken());
        drop(first);
        assert!(Place::take(&uid).unwrap().is_taken());
    }

    #[test]
    fn the_host_can_be_told() {
        assert_eq!(boot_id().unwrap().len(), 36);
        assert!(network_namespace().unwrap() > 0);
    }
}
