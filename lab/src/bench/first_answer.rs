// SPDX-License-Identifier: Apache-2.0
//! From an address in a Service's status to the first answer for it.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context;

use super::cast::Cast;
use super::ground::Ground;
use super::question::MARK;
use super::report::{Report, Sample};
use crate::frame::Frame;
use crate::harness::Lab;
use crate::patience::LONG;
use crate::sniffer::Sniffer;

/// The first address that is used: those before it have long had their owners.
const FIRST: u16 = 1_000;
/// Addresses that are owned before, so that every node has some and renews its session.
const OWNED: u16 = 12;
const ASKING: Duration = Duration::from_millis(1);

/// With the duplicate-address probe and without.
pub(super) async fn measure(lab: &Lab, runs: u16, report: &mut Report) -> anyhow::Result<()> {
    for (octet, args, with, target, peers) in [
        (78, &[][..], "with the probe", "p50 ≤ 45 ms", "MetalLB 4.7/7/25 ms without; kube-vip 0.9 to 1.0 s"),
        (79, &["--duplicate-address-probe", "off"][..], "without the probe", "p50 ≤ 12 ms", "MetalLB 7 ms"),
    ] {
        let ground = Ground::set(lab, octet, &Cast::gateherald(args)).await?;
        ground.serve(OWNED).await?;
        let (mut sent, mut written, mut writes) = (Vec::new(), Vec::new(), Vec::new());
        for number in FIRST..FIRST + runs {
            let one = one(&ground, number).await?;
            sent.push(one.answer.saturating_sub(one.sent));
            written.push(one.answer.saturating_sub(one.written));
            writes.push(one.written.saturating_sub(one.sent));
        }
        let what = format!("address in a status → first answer, {with}, from the API server's answer");
        report.row([&what, &Sample::new(written).millis(), target, peers])?;
        let what = format!("the same, {with}, from when the write was sent");
        report.row([&what, &Sample::new(sent).millis(), "", ""])?;
        report.row(["the write itself", &Sample::new(writes).millis(), "", ""])?;
    }
    Ok(())
}

/// When the status was sent, when the API server had answered, and when the address was first answered for.
struct One {
    sent: Duration,
    written: Duration,
    answer: Duration,
}

async fn one(ground: &Ground<'_>, number: u16) -> anyhow::Result<One> {
    let (client, vip) = (ground.lan.client(), ground.vip(number));
    let service = ground.create(number).await?;
    let wire = client.sniff()?;
    let asking = client.ask_every(ASKING, &[vip]);
    // A request of the client's is an instant that the capture's clock knows.
    let mark = || client.send(&client.request(MARK).bytes());
    mark()?;
    ground.give(&service, number).await?;
    mark()?;
    let answer = wire.wait_for(LONG, |frame| answers(frame, vip)).await?.at;
    drop(asking);
    let marks = marks(&wire);
    let [sent, written] = marks.as_slice() else { anyhow::bail!("{} marks", marks.len()) };
    ground.delete(&service).await.context("delete the Service")?;
    Ok(One { sent: *sent, written: *written, answer })
}

fn answers(frame: &Frame, vip: Ipv4Addr) -> bool {
    frame.arp().is_some_and(|arp| arp.answers(vip) && !arp.announces(vip))
}

fn marks(wire: &Sniffer) -> Vec<Duration> {
    let frames = wire.frames();
    let marks = frames.iter().filter(|f| f.outgoing && f.arp().is_some_and(|arp| arp.target_ip == MARK));
    marks.map(|frame| frame.at).collect()
}
