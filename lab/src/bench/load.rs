// SPDX-License-Identifier: Apache-2.0
//! What the programs cost: memory, and requests to the API server.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use tokio::time::Instant;

use super::gateways::Gateways;
use super::ground::Ground;
use super::report::{Report, Sample};
use crate::chart::NAMESPACE;
use crate::node::ANNOUNCER_ACCOUNT;
use crate::patience::{self, LONG, Look};
use crate::process::Process;
use crate::webhook::Webhook;

/// How long requests are counted.
const WINDOW: Duration = Duration::from_secs(20);
/// After a change, before requests are counted: repeated announcements and releases are over by then.
const SETTLED: Duration = Duration::from_secs(6);
const GATEWAYS: usize = 10_000;
const CREATORS: usize = 8;
const COLD_STARTS: usize = 5;
/// Between two looks at /ready: the cold start's figures are as coarse as this.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The webhook's memory with few Gateways in its cache and with many, and its start with many.
pub(super) async fn webhook(
    webhook: &Webhook,
    gateways: &Gateways,
    report: &mut Report,
) -> anyhow::Result<()> {
    let few = cached(webhook).await?;
    let figure = format!("{:.1} MiB", resident(webhook.process())?);
    report.row([&format!("RSS of the webhook, {few} × Gateway"), &figure, "", ""])?;
    stream::iter(few..GATEWAYS)
        .map(|number| gateways.create(format!("g{number}")))
        .buffer_unordered(CREATORS)
        .try_for_each(async |_| Ok(()))
        .await?;
    patience::until("the webhook's cache holds all Gateways", LONG, async || {
        let cached = cached(webhook).await?;
        Ok(if cached == GATEWAYS { Look::Found(()) } else { Look::NotYet(cached.to_string()) })
    })
    .await?;
    let peers = "Go controller-runtime 66 to 73, metadata only 49 to 56 MiB";
    let figure = format!("{:.1} MiB", resident(webhook.process())?);
    report.row([&format!("RSS of the webhook, {GATEWAYS} × Gateway"), &figure, "≤ 25 MiB", peers])?;
    let mut starts = Vec::new();
    for _ in 0..COLD_STARTS {
        webhook.process().kill().await?;
        let start = Instant::now();
        webhook.process().restart().await?;
        while !webhook.get("/ready").await.is_ok_and(|response| response.status == 200) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        starts.push(start.elapsed());
    }
    let what = format!("cold start to ready, {GATEWAYS} × Gateway");
    let peers = "Go controller-runtime 4.2, metadata only 0.9 to 1.6 s";
    report.row([&what, &Sample::new(starts).millis(), "≤ 0.6 s", peers])?;
    let what = format!("RSS right after the start, {GATEWAYS} × Gateway");
    report.row([&what, &format!("{:.1} MiB", resident(webhook.process())?), "", ""])
}

/// How many Gateways the webhook's cache holds.
async fn cached(webhook: &Webhook) -> anyhow::Result<usize> {
    let metrics = webhook.get("/metrics").await?.body;
    let count =
        metrics.lines().find_map(|line| line.strip_prefix("gateherald_webhook_gateway_cache_objects "));
    count.context("no count of cached Gateways in /metrics")?.parse().context("cached Gateways")
}

/// The announcers with one address and with a hundred.
pub(super) async fn announcers(ground: &Ground<'_>, report: &mut Report) -> anyhow::Result<()> {
    for (count, memory, peers, requests) in [
        (1, "≤ 15 MiB", "MetalLB 62, kube-vip 45 MiB", "MetalLB 0, kube-vip 1.1"),
        (100, "≤ 25 MiB at 1,000", "at 1,000: MetalLB 86, kube-vip 180 MiB", "MetalLB 0, kube-vip 112"),
    ] {
        ground.serve(count).await?;
        tokio::time::sleep(SETTLED).await;
        let (rate, holders) = (requests_per_second(ground).await?, holders(ground).await?);
        let sizes: Vec<f64> =
            ground.announcers.iter().map(|one| resident(one.process())).collect::<anyhow::Result<_>>()?;
        let largest = sizes.iter().copied().fold(0.0, f64::max);
        let what = format!("RSS of an announcer, {count} × VIP on 3 nodes (the largest)");
        report.row([&what, &format!("{largest:.1} MiB"), memory, peers])?;
        let what = format!("API requests/s of the announcers, {count} × VIP, held by {holders} of 3 nodes");
        report.row([&what, &format!("{rate:.2}"), "≤ 1.1 per holding node, flat", requests])?;
    }
    Ok(())
}

/// The resident memory of a process, in MiB.
fn resident(process: &Process) -> anyhow::Result<f64> {
    let pid = process.pid().with_context(|| format!("{} is not running", process.name()))?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS")?;
    Ok(kib / 1024.0)
}

/// The CPU time that a process has used, user and system, to the hundredth of a second.
pub(super) fn cpu_time(process: &Process) -> anyhow::Result<Duration> {
    let pid = process.pid().with_context(|| format!("{} is not running", process.name()))?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // proc_pid_stat(5): fields 14 and 15, counted after the command's name in parentheses, in ticks of 10 ms.
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let ticks = fields.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(Duration::from_millis(ticks.sum::<Result<u64, _>>()? * 10))
}

/// How many nodes hold an address, by their announcers' own words.
async fn holders(ground: &Ground<'_>) -> anyhow::Result<usize> {
    let mut holders = BTreeSet::new();
    for announcer in &ground.announcers {
        let vips = announcer.vips().await?;
        let addresses = vips["addresses"].as_array().context("/vips without addresses")?;
        holders.extend(addresses.iter().filter_map(|entry| entry["holder"].as_str().map(str::to_owned)));
    }
    Ok(holders.len())
}

/// The announcers' requests in the API server's audit log during a quiet window. A watch counts when it is opened.
async fn requests_per_second(ground: &Ground<'_>) -> anyhow::Result<f64> {
    let log = ground.lab.control_plane().audit_log();
    let before = usize::try_from(std::fs::metadata(&log)?.len())?;
    tokio::time::sleep(WINDOW).await;
    let bytes = std::fs::read(&log)?;
    let user = format!("system:serviceaccount:{NAMESPACE}:{ANNOUNCER_ACCOUNT}");
    let counts = |line: &&str| {
        serde_json::from_str::<Value>(line).is_ok_and(|event| {
            let stage = if event["verb"] == "watch" { "ResponseStarted" } else { "ResponseComplete" };
            event["user"]["username"] == *user && event["stage"] == stage
        })
    };
    // The log may have been rotated, which the lab does not configure; then nothing would be counted.
    let text = String::from_utf8_lossy(bytes.get(before..).context("the audit log has shrunk")?);
    let count = u32::try_from(text.lines().filter(counts).count())?;
    Ok(f64::from(count) / WINDOW.as_secs_f64())
}
