// SPDX-License-Identifier: Apache-2.0
//! How long an answer takes, against the kernel's own on the same node.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::Instant;

use super::ground::Ground;
use super::report::{Report, Sample};
use crate::frame::Arp;
use crate::lan::{HOST_INTERFACE, LanHost};
use crate::packet::PacketSocket;

const PAIRS: usize = 3_000;
/// Pairs before those that count: caches and clock rates settle.
const WARM_UP: usize = 200;
/// Between two requests: both sides sleep again, as on a LAN that asks now and then.
const PAUSE: Duration = Duration::from_micros(500);
/// A request without an answer for that long counts as unanswered.
const LOST: Duration = Duration::from_millis(200);

/// An address of ours and the holder's own: one request at a time, by turns.
pub(super) async fn measure(ground: &Ground<'_>, report: &mut Report) -> anyhow::Result<()> {
    let addresses = [ground.vip(0), ground.holder().await?.0.ip()];
    let client = ground.lan.client();
    let [ours, kernel] = tokio::task::block_in_place(|| by_turns(client, addresses))?;
    let unanswered = 2 * PAIRS - ours.len() - kernel.len();
    let (ours, kernel) = (Sample::new(ours), Sample::new(kernel));
    let peers = "MetalLB p50 53 µs (kernel's 13)";
    report.row(["ARP answer of the announcer", &ours.micros(), "≤ 2 × the kernel's, later 1.5", peers])?;
    report.row(["ARP answer of the kernel on the same node, by turns", &kernel.micros(), "", ""])?;
    let ratio = ours.median().as_secs_f64() / kernel.median().as_secs_f64();
    report.row(["ratio of the medians", &format!("{ratio:.2}"), "≤ 2, later 1.5", "MetalLB 4.1"])?;
    report.row(["unanswered requests of both", &unanswered.to_string(), "0", ""])
}

fn by_turns(client: &LanHost, addresses: [Ipv4Addr; 2]) -> anyhow::Result<[Vec<Duration>; 2]> {
    let capture = PacketSocket::open(client.netns(), Some(HOST_INTERFACE))?;
    let mut values = [Vec::new(), Vec::new()];
    for pair in 0..WARM_UP + PAIRS {
        // Each goes first as often as the other.
        for which in [pair % 2, 1 - pair % 2] {
            let value = round_trip(client, &capture, addresses[which])?;
            values[which].extend(value.filter(|_| pair >= WARM_UP));
            std::thread::sleep(PAUSE);
        }
    }
    Ok(values)
}

/// From the request's time stamp to the answer's, both by the kernel on the client's interface.
fn round_trip(
    client: &LanHost,
    capture: &PacketSocket,
    address: Ipv4Addr,
) -> anyhow::Result<Option<Duration>> {
    let mut buffer = [0; 2048];
    let mut asked = None;
    let deadline = Instant::now() + LOST;
    client.send(&client.request(address).bytes())?;
    while Instant::now() < deadline {
        let Some(received) = capture.receive(&mut buffer)? else { continue };
        let Some(arp) = buffer.get(..received.length).and_then(Arp::parse) else { continue };
        if received.outgoing && arp.operation == 1 && arp.target_ip == address {
            asked = Some(received.at);
        } else if arp.answers(address) && arp.destination == client.mac() {
            // A request that the capture missed has no time: it counts as unanswered.
            return Ok(asked.and_then(|at| received.at.checked_sub(at)));
        }
    }
    Ok(None)
}
