// SPDX-License-Identifier: Apache-2.0
//! What a client on the LAN sees, by the kernel's timestamps of the frames.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context;

use super::ground::Ground;
use super::report::{Report, Sample};
use crate::frame::{Frame, Mac, tenures};
use crate::patience::LONG;
use crate::sniffer::Sniffer;

const PAIRS: usize = 3_000;
const MOVES: usize = 20;
const CRASHES: usize = 5;
const ASKING: Duration = Duration::from_millis(5);
const STEADY: usize = 40;

/// An address of ours and the node's own, asked for by turns.
pub(super) async fn latency(ground: &Ground<'_>, report: &mut Report) -> anyhow::Result<()> {
    let (vip, (node, _)) = (ground.vip(0), ground.holder().await?);
    let wire = ground.lan.client().sniff()?;
    let asking = ground.lan.client().ask_every(Duration::from_millis(2), &[vip, node.ip()]);
    answers(&wire, node.ip(), PAIRS, |_| true).await?;
    drop(asking);
    let frames = wire.frames();
    let (ours, kernel) = (latencies(&frames, vip), latencies(&frames, node.ip()));
    report.row("ARP reply, the announcer", &ours.micros(), "≤ 2 × the kernel");
    report.row("ARP reply, the kernel on the same node in the same run", &kernel.micros(), "");
    let ratio = ours.median().as_secs_f64() / kernel.median().as_secs_f64();
    report.row("ratio of the medians", &format!("{ratio:.2}"), "≤ 2, later 1.5");
    Ok(())
}

fn latencies(frames: &[Frame], address: Ipv4Addr) -> Sample {
    let (mut asked, mut values) = (None, Vec::new());
    for frame in frames {
        let Some(arp) = frame.arp() else { continue };
        if frame.outgoing && arp.operation == 1 && arp.target_ip == address {
            asked = Some(frame.at);
        } else if arp.answers(address) && !arp.announces(address) {
            values.extend(asked.take().and_then(|at: Duration| frame.at.checked_sub(at)));
        }
    }
    Sample::new(values)
}

/// The holder is told to stop.
pub(super) async fn planned_moves(ground: &Ground<'_>, report: &mut Report) -> anyhow::Result<()> {
    let (mut gaps, mut overlaps) = (Vec::new(), 0);
    for _ in 0..MOVES {
        let (node, announcer) = ground.holder().await?;
        let (vip, mac) = (ground.vip(0), node.mac());
        let wire = ground.lan.sniff()?;
        let asking = ground.lan.client().ask_every(ASKING, &[vip]);
        answers(&wire, vip, STEADY, |who| who == mac).await?;
        announcer.process().terminate().await?;
        answers(&wire, vip, STEADY, |who| who != mac).await?;
        drop(asking);
        let seen = tenures(&wire.frames(), vip);
        let (first, last) = (seen.first().context("no answer")?, seen.last().context("no answer")?);
        overlaps += usize::from(seen.len() != 2);
        gaps.push(last.first.saturating_sub(first.last));
        announcer.process().restart().await?;
        announcer.wait_ready().await?;
    }
    let sample = Sample::new(gaps);
    report.row("planned stop → next owner answers", &sample.millis(), "p99 ≤ 100 ms, later ≤ 50 ms");
    report.row("two owners in those moves", &overlaps.to_string(), "0");
    Ok(())
}

/// The process is killed and started again at once.
pub(super) async fn restarts(ground: &Ground<'_>, report: &mut Report) -> anyhow::Result<()> {
    let (mut gaps, mut others) = (Vec::new(), 0);
    for _ in 0..CRASHES {
        let (node, announcer) = ground.holder().await?;
        let (vip, mac) = (ground.vip(0), node.mac());
        let wire = ground.lan.sniff()?;
        let asking = ground.lan.client().ask_every(ASKING, &[vip]);
        answers(&wire, vip, STEADY, |_| true).await?;
        announcer.process().kill().await?;
        let before = replies(&wire.frames(), vip).len();
        announcer.process().restart().await?;
        answers(&wire, vip, before + STEADY, |_| true).await?;
        drop(asking);
        let frames = wire.frames();
        gaps.push(longest(&replies(&frames, vip)));
        others += usize::from(tenures(&frames, vip).iter().any(|tenure| tenure.mac != mac));
        announcer.wait_ready().await?;
    }
    report.row("SIGKILL, started again at once → answers", &Sample::new(gaps).millis(), "≤ restart + 200 ms");
    report.row("of those, taken by another node", &others.to_string(), "");
    Ok(())
}

/// The process stands still, as a dead node does, and comes back when another has the address.
pub(super) async fn freezes(ground: &Ground<'_>, report: &mut Report) -> anyhow::Result<()> {
    let (mut gaps, mut stale) = (Vec::new(), 0);
    for _ in 0..CRASHES {
        let (node, announcer) = ground.holder().await?;
        let (vip, mac) = (ground.vip(0), node.mac());
        let wire = ground.lan.sniff()?;
        let asking = ground.lan.client().ask_every(ASKING, &[vip]);
        answers(&wire, vip, STEADY, |who| who == mac).await?;
        announcer.process().freeze()?;
        answers(&wire, vip, STEADY, |who| who != mac).await?;
        announcer.process().thaw()?;
        answers(&wire, vip, STEADY * 10, |who| who != mac).await?;
        drop(asking);
        let seen = tenures(&wire.frames(), vip);
        let first = seen.first().context("no answer")?;
        let next = seen.get(1).context("nobody took over")?;
        gaps.push(next.first.saturating_sub(first.last));
        stale += seen.iter().skip(1).filter(|tenure| tenure.mac == mac).map(|t| t.answers).sum::<usize>();
        announcer.wait_ready().await?;
    }
    report.row(
        "holder frozen (as a dead node) → next owner answers",
        &Sample::new(gaps).millis(),
        "≤ D + 300 ms = 4,300 ms",
    );
    report.row("answers of the frozen one after it was resumed", &stale.to_string(), "0");
    Ok(())
}

/// Waits for so many answers of hosts that `whose` accepts.
async fn answers(
    wire: &Sniffer,
    address: Ipv4Addr,
    count: usize,
    whose: impl Fn(Mac) -> bool,
) -> anyhow::Result<()> {
    let seen = Cell::new(0);
    wire.wait_for(LONG, |frame| {
        let counts = frame
            .arp()
            .is_some_and(|arp| arp.answers(address) && !arp.announces(address) && whose(arp.source));
        seen.set(seen.get() + usize::from(counts));
        seen.get() >= count
    })
    .await
    .map(drop)
}

fn replies(frames: &[Frame], address: Ipv4Addr) -> Vec<Duration> {
    let answers =
        |frame: &&Frame| frame.arp().is_some_and(|arp| arp.answers(address) && !arp.announces(address));
    frames.iter().filter(answers).map(|frame| frame.at).collect()
}

fn longest(times: &[Duration]) -> Duration {
    times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default()
}
