// SPDX-License-Identifier: Apache-2.0
//! What requests cost that are for somebody else: most of what a network asks for.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::Instant;

use super::ground::Ground;
use super::report::Report;
use super::usage::CpuTime;
use crate::lan::LanHost;

const SECONDS: u32 = 5;
const PER_SECOND: u32 = 50_000;
/// A frame to everybody is carried to every port by who sends it, which keeps one core busy at about 30,000 a second.
const SENDERS: u32 = 2;
/// Requests in a row; the pause after them keeps the rate.
const BURST: usize = 50;

/// The announcers' CPU time under a flood of requests for addresses that nobody has, and without it.
pub(super) async fn measure(ground: &Ground<'_>, report: &mut Report) -> anyhow::Result<()> {
    let before = CpuTime::of_all(ground)?;
    tokio::time::sleep(Duration::from_secs(SECONDS.into())).await;
    let quiet = CpuTime::of_all(ground)?;
    let sent = tokio::task::block_in_place(|| flood(ground.lan.client()))?;
    let flooded = CpuTime::of_all(ground)?;
    let each = u32::try_from(ground.actors.len())?;
    let idle = quiet.sum_since(&before) / each;
    let busy = flooded.sum_since(&quiet) / each;
    let per_request = busy.saturating_sub(idle).as_secs_f64() * 1e6 / f64::from(sent);
    let rate = sent / SECONDS;
    let figure = format!("{per_request:.3} µs ({rate} requests/s for {SECONDS} s)");
    report.row(["CPU of an announcer per foreign ARP request", &figure, "0", "MetalLB 10 µs, kube-vip 0"])
}

/// As many as there is time for; how many.
fn flood(client: &LanHost) -> anyhow::Result<u32> {
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(|| send(client))).collect();
        let mut sent = 0;
        for sender in senders {
            sent += sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??;
        }
        Ok(sent)
    })
}

/// One sender's share.
fn send(client: &LanHost) -> anyhow::Result<u32> {
    let start = Instant::now();
    let requests: Vec<Vec<u8>> =
        (0..=255).map(|last| client.request(Ipv4Addr::new(198, 19, 0, last)).bytes()).collect();
    let rate = PER_SECOND / SENDERS;
    let (all, mut sent) = (SECONDS * rate, 0);
    let mut each = requests.iter().cycle();
    while sent < all && start.elapsed() < Duration::from_secs(SECONDS.into()) {
        for request in each.by_ref().take(BURST) {
            client.send(request)?;
            sent += 1;
        }
        let due = start + Duration::from_secs(1) * sent / rate;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(sent)
}
