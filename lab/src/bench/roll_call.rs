// SPDX-License-Identifier: Apache-2.0
//! Asking for thousands of addresses by a raw socket: the kernel's own neighbour table ends at 1,024.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::Instant;

use crate::frame::{Arp, Mac};
use crate::lan::{HOST_INTERFACE, LanHost};
use crate::packet::PacketSocket;

/// Requests in a row, before the answers to them are read.
const BURST: usize = 256;

/// Asks for all addresses, again and again those that nobody answered for; who did. Blocks its thread.
pub(super) fn roll_call(
    client: &LanHost,
    addresses: &[Ipv4Addr],
    within: Duration,
) -> anyhow::Result<Vec<(Ipv4Addr, Mac)>> {
    let capture = PacketSocket::open(client.netns(), Some(HOST_INTERFACE))?;
    let deadline = Instant::now() + within;
    let mut answered: HashMap<Ipv4Addr, Mac> = HashMap::new();
    let mut buffer = [0; 2048];
    loop {
        let missing: Vec<Ipv4Addr> =
            addresses.iter().filter(|address| !answered.contains_key(address)).copied().collect();
        if missing.is_empty() {
            return Ok(addresses.iter().filter_map(|a| Some((*a, *answered.get(a)?))).collect());
        }
        let (count, all) = (missing.len(), addresses.len());
        anyhow::ensure!(
            Instant::now() < deadline,
            "nobody answered for {count} of {all} addresses: {missing:?}"
        );
        for burst in missing.chunks(BURST) {
            for address in burst {
                client.send(&client.request(*address).bytes())?;
            }
            // Nothing for a moment: all answers to this burst are in.
            while let Some(received) = capture.receive(&mut buffer)? {
                let arp = buffer.get(..received.length).and_then(Arp::parse);
                if let Some(arp) = arp.filter(|arp| arp.operation == 2 && arp.destination == client.mac()) {
                    answered.insert(arp.sender_ip, arp.sender_mac);
                }
            }
        }
    }
}
