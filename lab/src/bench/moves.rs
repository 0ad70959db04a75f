// SPDX-License-Identifier: Apache-2.0
//! A thousand addresses leave one node at SIGTERM.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use super::cast::Cast;
use super::ground::Ground;
use super::question::MARK;
use super::report::{Report, Sample};
use crate::frame::{Arp, Mac};
use crate::harness::Lab;
use crate::lan::{HOST_INTERFACE, LanHost};
use crate::packet::PacketSocket;
use crate::patience::LONG;

const ADDRESSES: u16 = 1_000;
const RUNS: usize = 5;
/// Each address is asked for this often, a few at a time; the new owner's announcement counts as well.
const ROUND: Duration = Duration::from_millis(250);

/// One node takes all, the others come later, and it stops; then the same backwards.
pub(super) async fn measure(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let cast = Cast::gateherald(&[]);
    let mut ground = Ground::bare(lab, 80).await?;
    ground.enter(&cast).await?;
    ground.serve(ADDRESSES).await?;
    let (mut last, mut medians, mut stale, mut exits) = (Vec::new(), Vec::new(), 0, Vec::new());
    ground.enter(&cast).await?;
    for run in 0..RUNS {
        let (from, to) = (run % 2, 1 - run % 2);
        let moved = stop(&ground, from)?;
        anyhow::ensure!(ground.actors[to].process().is_running(), "the heir is gone");
        last.push(moved.after.iter().max().copied().unwrap_or_default());
        medians.push(Sample::new(moved.after).median());
        stale += moved.stale;
        exits.push(moved.exit);
        ground.actors[from].process().restart().await?;
        ground.actors[from].ready().await?;
        // Whoever has just started may not create claims yet, and does not need to.
        ground.call(ADDRESSES)?;
    }
    let what = format!("SIGTERM → the last of {ADDRESSES} addresses is spoken for by another node");
    let peers = "MetalLB 500 in 420 ms";
    report.row([&what, &Sample::new(last).millis(), "≤ 2 s, later ≤ 1 s", peers])?;
    report.row(["the median address of each run", &Sample::new(medians).millis(), "", ""])?;
    report.row(["frames of the former owner after that, in all", &stale.to_string(), "0", ""])?;
    report.row(["SIGTERM → exit", &Sample::new(exits).millis(), "≤ 1 s", ""])
}

struct Moved {
    /// From SIGTERM to the first word of another node, by address.
    after: Vec<Duration>,
    stale: usize,
    exit: Duration,
}

fn stop(ground: &Ground<'_>, from: usize) -> anyhow::Result<Moved> {
    let (client, old) = (ground.lan.client(), ground.nodes[from].mac());
    let vips = ground.vips(ADDRESSES);
    let ready = Arc::new(AtomicBool::new(false));
    let (capture, begun) = (PacketSocket::open(client.netns(), Some(HOST_INTERFACE))?, Arc::clone(&ready));
    std::thread::scope(|scope| {
        let watching = scope.spawn(move || watch(client, &capture, &vips, old, &begun));
        while !ready.load(Ordering::Relaxed) && !watching.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let start = Instant::now();
        client.send(&client.request(MARK).bytes())?;
        let process = ground.actors[from].process();
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(process.terminate()))?;
        let exit = start.elapsed();
        let (after, stale) = watching.join().map_err(|_| anyhow::anyhow!("the capture panicked"))??;
        Ok(Moved { after, stale, exit })
    })
}

/// Asks for all addresses by turns until another host than `old` has spoken for each, and reads everything for another
/// round; `begun` is set once `old` has answered for all.
fn watch(
    client: &LanHost,
    capture: &PacketSocket,
    vips: &[Ipv4Addr],
    old: Mac,
    begun: &AtomicBool,
) -> anyhow::Result<(Vec<Duration>, usize)> {
    let mut seen: HashMap<Ipv4Addr, (bool, Option<Duration>)> =
        vips.iter().map(|vip| (*vip, (false, None))).collect();
    let (mut mark, mut answered, mut moved, mut stale) = (None, 0, 0, 0);
    let mut buffer = [0; 2048];
    let (start, mut asked, mut end) = (Instant::now(), 0_usize, None);
    while end.is_none_or(|end| Instant::now() < end) {
        anyhow::ensure!(start.elapsed() < 3 * LONG, "{moved} of {} addresses moved", vips.len());
        // As many as are due by now.
        let due = start.elapsed().as_micros() * u128::try_from(vips.len())? / ROUND.as_micros();
        while u128::try_from(asked)? < due {
            client.send(&client.request(vips[asked % vips.len()]).bytes())?;
            asked += 1;
        }
        let Some(received) = capture.receive(&mut buffer)? else { continue };
        let Some(arp) = buffer.get(..received.length).and_then(Arp::parse) else { continue };
        if received.outgoing {
            mark = mark.or_else(|| (arp.target_ip == MARK).then_some(received.at));
            continue;
        }
        let Some((by_old, by_new)) = seen.get_mut(&arp.sender_ip) else { continue };
        if arp.source == old {
            answered += usize::from(!std::mem::replace(by_old, true));
            stale += usize::from(by_new.is_some());
            if answered == vips.len() {
                begun.store(true, Ordering::Relaxed);
            }
        } else if by_new.is_none() {
            *by_new = Some(received.at);
            moved += 1;
            if moved == vips.len() {
                end = Some(Instant::now() + 2 * ROUND);
            }
        }
    }
    let mark = mark.context("the capture missed the beginning")?;
    let after = seen.into_values().filter_map(|(_, at)| Some(at?.saturating_sub(mark))).collect();
    Ok((after, stale))
}
