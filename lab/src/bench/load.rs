// SPDX-License-Identifier: Apache-2.0
//! What the programs cost: memory, and requests to the API server.

use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::ground::Ground;
use super::report::Report;
use crate::patience::LONG;
use crate::process::Process;

const WINDOW: Duration = Duration::from_secs(20);
const ANNOUNCER: &str = "system:serviceaccount:gateherald-system:gateherald-announcer";

/// Announcers with one address and with a hundred.
pub(super) async fn announcers(ground: &Ground<'_>, report: &mut Report) -> anyhow::Result<()> {
    for (count, target) in [(1, "≤ 15 MiB"), (100, "≤ 25 MiB at 1,000")] {
        if count > 1 {
            ground.serve(1..count).await?;
            for n in 1..count {
                ground.lan.client().ask(ground.vip(n), LONG).await?;
            }
        }
        let sizes =
            ground.announcers.iter().map(|a| resident(a.process())).collect::<anyhow::Result<Vec<_>>>()?;
        report.row(&format!("RSS of the three announcers at {count} VIPs"), &sizes.join(", "), target);
        let rate = requests(ground).await?;
        report.row(
            &format!("API requests a second of all three at {count} VIPs"),
            &format!("{rate:.2}"),
            "≤ 1.1 per node that holds VIPs, flat",
        );
    }
    Ok(())
}

/// The resident memory of a process.
pub(super) fn resident(process: &Process) -> anyhow::Result<String> {
    let pid = process.pid().context("the process is running")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(format!("{:.1} MiB", kib / 1024.0))
}

/// Requests of announcers in the API server's audit log during a quiet window.
async fn requests(ground: &Ground<'_>) -> anyhow::Result<f64> {
    let path = ground.lab.control_plane().audit_log();
    let before = std::fs::metadata(&path)?.len();
    tokio::time::sleep(WINDOW).await;
    let bytes = std::fs::read(&path)?;
    let text =
        String::from_utf8_lossy(bytes.get(usize::try_from(before)?..).unwrap_or_default()).into_owned();
    let complete = |line: &&str| {
        serde_json::from_str::<Value>(line).is_ok_and(|event| {
            event["user"]["username"] == ANNOUNCER
                && event["stage"] == "ResponseComplete"
                && event["verb"] != "watch"
        })
    };
    let count = u32::try_from(text.lines().filter(complete).count())?;
    Ok(f64::from(count) / WINDOW.as_secs_f64())
}
