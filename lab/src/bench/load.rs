// SPDX-License-Identifier: Apache-2.0
//! What the programs cost: memory, and requests to the API server.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::cast::Cast;
use super::gateways::Gateways;
use super::ground::Ground;
use super::report::{Report, Sample};
use super::usage::{CpuTime, Requests, lease_writes, resident, show_resident};
use crate::harness::Lab;
use crate::patience::{self, LONG, Look};
use crate::webhook::Webhook;

/// How long requests and CPU time are counted: every watch is opened anew once in it.
const WINDOW: Duration = Duration::from_secs(65);
/// After a change, before requests are counted: repeated announcements and releases are over by then.
const SETTLED: Duration = Duration::from_secs(8);
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
    let figure = show_resident(resident(webhook.process())?);
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
    let figure = show_resident(resident(webhook.process())?);
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
    report.row([&what, &show_resident(resident(webhook.process())?), "", ""])
}

/// How many Gateways the webhook's cache holds.
async fn cached(webhook: &Webhook) -> anyhow::Result<usize> {
    let metrics = webhook.get("/metrics").await?.body;
    let count =
        metrics.lines().find_map(|line| line.strip_prefix("gateherald_webhook_gateway_cache_objects "));
    count.context("no count of cached Gateways in /metrics")?.parse().context("cached Gateways")
}

/// The announcers with one address and with many.
pub(super) async fn announcers(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let mut ground = Ground::bare(lab, 77).await?;
    let others = lease_writes_per_second(&ground, WINDOW / 3).await?;
    for _ in 0..ground.nodes.len() {
        ground.enter(&Cast::gateherald(&[])).await?;
    }
    for (count, memory, peers, requests) in [
        (1, "≤ 15 MiB", "MetalLB 62, kube-vip 45 MiB", "MetalLB 0, kube-vip 1.1"),
        (100, "", "", "MetalLB 0, kube-vip 112"),
        (1_000, "≤ 25 MiB", "MetalLB 86, kube-vip 180 MiB", "MetalLB 0, kube-vip saturated"),
        (5_000, "≤ 45 MiB", "MetalLB 146 MiB", ""),
        (10_000, "", "", ""),
    ] {
        let start = Instant::now();
        let owners = ground.serve(count).await?;
        let took = start.elapsed();
        let holders = owners.iter().map(|(_, mac)| *mac).collect::<HashSet<_>>().len();
        tokio::time::sleep(SETTLED).await;
        let idle = idle(&ground).await?;
        let sizes: Vec<(f64, f64)> =
            ground.actors.iter().map(|one| resident(one.process())).collect::<anyhow::Result<_>>()?;
        let largest = sizes.into_iter().max_by(|one, other| one.0.total_cmp(&other.0)).unwrap_or_default();
        let size = format!("{count} × VIP on {holders} of 3 nodes");
        let what = format!("RSS of an announcer, {size} (the largest)");
        report.row([&what, &show_resident(largest), memory, peers])?;
        let what = format!("idle CPU of an announcer, {size} (the busiest)");
        let cpu = idle.busiest.as_secs_f64() * 100.0 / WINDOW.as_secs_f64();
        let (target, peers) =
            if count == 1_000 { ("≤ 0.5%", "MetalLB 0.3%, kube-vip 7%") } else { ("", "") };
        report.row([&what, &format!("{cpu:.2}%"), target, peers])?;
        let verbs: Vec<String> =
            idle.verbs.iter().map(|(verb, n)| format!("{verb} {:.2}", per_second(*n))).collect();
        let all = per_second(idle.verbs.values().sum());
        let figure = format!(
            "{all:.2} ({}); Leases written by the API server's metrics {:.2}",
            verbs.join(", "),
            idle.lease_writes - others
        );
        let what = format!("API requests/s of the announcers, {size}");
        report.row([&what, &figure, "≤ 1.1 per holding node, flat", requests])?;
        let what = format!("Services made, addressed and answered for, up to {count}");
        report.row([&what, &format!("{:.1} s", took.as_secs_f64()), "", ""])?;
    }
    Ok(())
}

/// What the announcers use while nothing changes.
struct Idle {
    busiest: Duration,
    verbs: BTreeMap<String, u32>,
    lease_writes: f64,
}

async fn idle(ground: &Ground<'_>) -> anyhow::Result<Idle> {
    let (requests, before) = (Requests::count(ground.lab.control_plane())?, CpuTime::of_all(ground)?);
    let lease_writes = lease_writes_per_second(ground, WINDOW).await?;
    let busiest = CpuTime::of_all(ground)?.most_since(&before);
    Ok(Idle { busiest, verbs: requests.by_verb()?, lease_writes })
}

async fn lease_writes_per_second(ground: &Ground<'_>, window: Duration) -> anyhow::Result<f64> {
    let before = lease_writes(ground.lab.client()).await?;
    tokio::time::sleep(window).await;
    Ok((lease_writes(ground.lab.client()).await? - before) / window.as_secs_f64())
}

fn per_second(count: u32) -> f64 {
    f64::from(count) / WINDOW.as_secs_f64()
}
