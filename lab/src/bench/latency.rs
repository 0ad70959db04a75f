// SPDX-License-Identifier: Apache-2.0
//! Answers, against the kernel's own on the same node: how long one takes, how many a second, and what they cost.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use super::ground::Ground;
use super::question::Question;
use super::report::{Report, Sample};
use super::usage::{CpuTime, per_thousand};
use crate::lan::{HOST_INTERFACE, LanHost};
use crate::packet::PacketSocket;

const PAIRS: usize = 3_000;
/// Pairs before those that count: caches and clock rates settle.
const WARM_UP: usize = 200;
/// Between two requests: both sides sleep again, as on a LAN that asks now and then.
const PAUSE: Duration = Duration::from_micros(500);
/// A request without an answer for that long counts as unanswered.
const LOST: Duration = Duration::from_millis(200);
/// Answers per round of the throughput, and rounds of each side.
const FLOOD: u32 = 20_000;
const ROUNDS: usize = 3;
/// Requests under way at once.
const WINDOW: u32 = 32;

/// An address of ours and the holder's own, in both families.
pub(super) async fn measure(ground: &Ground<'_>, report: &mut Report) -> anyhow::Result<()> {
    let (node, _) = ground.holder().await?;
    one_family("ARP", [ground.vip(0).into(), node.ip().into()], ground, report)?;
    let vip6 = ground.serve6().await?;
    let node = ground.holder6(vip6).await?;
    one_family("NDP", [vip6.into(), node.ip6().into()], ground, report)
}

fn one_family(
    protocol: &str,
    addresses: [IpAddr; 2],
    ground: &Ground<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let client = ground.lan.client();
    let questions = addresses.map(|address| Question::new(client, address));
    let [ours, kernel] = tokio::task::block_in_place(|| by_turns(client, &questions))?;
    let unanswered = 2 * PAIRS - ours.len() - kernel.len();
    let (ours, kernel) = (Sample::new(ours), Sample::new(kernel));
    let (peers, ratios) = match protocol {
        "ARP" => ("MetalLB p50 53 µs (kernel's 13)", "MetalLB 4.1"),
        _ => ("", ""),
    };
    let what = format!("{protocol} answer of the announcer");
    report.row([&what, &ours.micros(), "≤ 2 × the kernel's, later 1.5", peers])?;
    let what = format!("{protocol} answer of the kernel on the same node, by turns");
    report.row([&what, &kernel.micros(), "", ""])?;
    let ratio = ours.median().as_secs_f64() / kernel.median().as_secs_f64();
    report.row([
        &format!("{protocol}, ratio of the medians"),
        &format!("{ratio:.2}"),
        "≤ 2, later 1.5",
        ratios,
    ])?;
    report.row([&format!("{protocol}, unanswered requests of both"), &unanswered.to_string(), "0", ""])?;
    throughput(protocol, &questions, ground, report)
}

/// Answers a second with [`WINDOW`] requests under way, by turns, and the announcer's CPU time for them.
fn throughput(
    protocol: &str,
    questions: &[Question; 2],
    ground: &Ground<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let client = ground.lan.client();
    let (mut took, mut cpu) = ([Vec::new(), Vec::new()], Duration::ZERO);
    for _ in 0..ROUNDS {
        for (which, question) in questions.iter().enumerate() {
            let before = CpuTime::of_all(ground)?;
            took[which].push(tokio::task::block_in_place(|| flood(client, question))?);
            if which == 0 {
                cpu += CpuTime::of_all(ground)?.sum_since(&before);
            }
        }
    }
    let rate = |took: &[Duration]| f64::from(FLOOD) / Sample::new(took.to_vec()).median().as_secs_f64();
    let (ours, kernel) = (rate(&took[0]), rate(&took[1]));
    let what = format!("{protocol} answers a second, {WINDOW} requests under way: announcer, kernel, ratio");
    report.row([&what, &format!("{ours:.0}, {kernel:.0}, {:.2}", ours / kernel), "", ""])?;
    let answers = FLOOD * u32::try_from(ROUNDS)?;
    let what = format!("{protocol}, CPU of the announcers per 1,000 answers");
    report.row([&what, &per_thousand(cpu, answers), "≤ 10 ms", "MetalLB 16 to 28 ms, the kernel 0"])
}

fn by_turns(client: &LanHost, questions: &[Question; 2]) -> anyhow::Result<[Vec<Duration>; 2]> {
    let capture = PacketSocket::open(client.netns(), Some(HOST_INTERFACE))?;
    let mut values = [Vec::new(), Vec::new()];
    for pair in 0..WARM_UP + PAIRS {
        // Each goes first as often as the other.
        for which in [pair % 2, 1 - pair % 2] {
            let value = round_trip(client, &capture, &questions[which])?;
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
    question: &Question,
) -> anyhow::Result<Option<Duration>> {
    let mut buffer = [0; 2048];
    let mut asked = None;
    let deadline = Instant::now() + LOST;
    client.send(&question.frame)?;
    while Instant::now() < deadline {
        let Some(received) = capture.receive(&mut buffer)? else { continue };
        let Some(bytes) = buffer.get(..received.length) else { continue };
        if received.outgoing && question.is(bytes) {
            asked = Some(received.at);
        } else if question.is_answered_by(bytes) {
            // A request that the capture missed has no time: it counts as unanswered.
            return Ok(asked.and_then(|at| received.at.checked_sub(at)));
        }
    }
    Ok(None)
}

/// How long [`FLOOD`] answers take, with so many requests under way that nobody ever waits for the client.
fn flood(client: &LanHost, question: &Question) -> anyhow::Result<Duration> {
    let capture = PacketSocket::open(client.netns(), Some(HOST_INTERFACE))?;
    let mut buffer = [0; 2048];
    let (mut asked, mut answered, mut first, mut last) = (0, 0, None, None);
    let deadline = Instant::now() + Duration::from_mins(1);
    while answered < FLOOD {
        anyhow::ensure!(Instant::now() < deadline, "{answered} answers to {asked} requests in a minute");
        while asked < answered + WINDOW {
            client.send(&question.frame)?;
            asked += 1;
        }
        match capture.receive(&mut buffer)? {
            Some(received) if question.is_answered_by(buffer.get(..received.length).unwrap_or_default()) => {
                answered += 1;
                first.get_or_insert(received.at);
                last = Some(received.at);
            }
            Some(_) => {}
            // Lost ones are asked again.
            None => asked = answered,
        }
    }
    let span = last.zip(first).and_then(|(last, first)| last.checked_sub(first));
    span.context("no two answers")
}
