// SPDX-License-Identifier: Apache-2.0
//! What the programs cost: memory, and requests to the API server.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use super::admission::Gateways;
use super::ground::Ground;
use super::report::Report;
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

/// The webhook with one Gateway in its cache, and with many.
pub(super) async fn webhook(
    webhook: &Webhook,
    gateways: &Gateways,
    report: &mut Report,
) -> anyhow::Result<()> {
    let one = format!("{:.1} MiB", resident(webhook.process())?);
    report.row(["RSS of the webhook, 1 × Gateway", &one, "", ""])?;
    stream::iter(1..GATEWAYS)
        .map(|number| gateways.create(format!("g{number}")))
        .buffer_unordered(CREATORS)
        .try_for_each(async |_| Ok(()))
        .await?;
    patience::until("the webhook's cache holds all Gateways", LONG, async || {
        let metrics = webhook.get("/metrics").await?.body;
        let line = metrics.lines().find(|line| line.starts_with("gateherald_webhook_gateway_cache_objects "));
        let line = line.context("no count of cached Gateways in /metrics")?;
        Ok(if line.ends_with(&format!(" {GATEWAYS}")) {
            Look::Found(())
        } else {
            Look::NotYet(line.to_owned())
        })
    })
    .await?;
    let many = format!("{:.1} MiB", resident(webhook.process())?);
    let what = format!("RSS of the webhook, {GATEWAYS} × Gateway");
    report.row([&what, &many, "≤ 25 MiB", "Go controller-runtime 66 to 73, metadata only 49 to 56 MiB"])
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
