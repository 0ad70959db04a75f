// SPDX-License-Identifier: Apache-2.0
//! What a process uses: memory, CPU time, requests to the API server.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::ground::Ground;
use crate::chart::NAMESPACE;
use crate::control_plane::ControlPlane;
use crate::node::ANNOUNCER_ACCOUNT;
use crate::process::Process;

/// The resident memory of a process in MiB, and how much of it is its own (the rest is pages of its program).
pub(super) fn resident(process: &Process) -> anyhow::Result<(f64, f64)> {
    let status = std::fs::read_to_string(proc(process, "status")?)?;
    let field = |name: &str| -> anyhow::Result<f64> {
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
        let kib: f64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().context("kB")?;
        Ok(kib / 1024.0)
    };
    Ok((field("VmRSS")?, field("RssAnon")?))
}

/// `12.3 MiB (4.5 of it anonymous)`.
pub(super) fn show_resident((all, own): (f64, f64)) -> String {
    format!("{all:.1} MiB ({own:.1} of it anonymous)")
}

/// The CPU time of each announcer so far.
pub(super) struct CpuTime(Vec<Duration>);

impl CpuTime {
    pub(super) fn of_all(ground: &Ground<'_>) -> anyhow::Result<Self> {
        ground.actors.iter().map(|actor| cpu_time(actor.process())).collect::<anyhow::Result<_>>().map(Self)
    }

    pub(super) fn sum_since(&self, before: &Self) -> Duration {
        self.each_since(before).sum()
    }

    pub(super) fn most_since(&self, before: &Self) -> Duration {
        self.each_since(before).max().unwrap_or_default()
    }

    fn each_since(&self, before: &Self) -> impl Iterator<Item = Duration> {
        self.0.iter().zip(&before.0).map(|(now, before)| now.saturating_sub(*before))
    }
}

/// The CPU time that a process's threads have used, to the nanosecond.
pub(super) fn cpu_time(process: &Process) -> anyhow::Result<Duration> {
    let mut all = 0;
    for task in std::fs::read_dir(proc(process, "task")?)? {
        // A thread may end meanwhile. The first field is the time on a CPU (Documentation/scheduler/sched-stats.rst).
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
        all += text.split_ascii_whitespace().next().context("schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(all))
}

pub(super) fn per_thousand(cpu: Duration, count: u32) -> String {
    format!("{:.1} ms", cpu.as_secs_f64() * 1e6 / f64::from(count))
}

fn proc(process: &Process, file: &str) -> anyhow::Result<String> {
    let pid = process.pid().with_context(|| format!("{} is not running", process.name()))?;
    Ok(format!("/proc/{pid}/{file}"))
}

/// The announcers' requests by verb, from the API server's audit log. A watch counts when it is opened.
pub(super) struct Requests {
    log: std::path::PathBuf,
    from: u64,
}

impl Requests {
    /// From now on.
    pub(super) fn count(plane: &ControlPlane) -> anyhow::Result<Self> {
        let log = plane.audit_log();
        let from = std::fs::metadata(&log)?.len();
        Ok(Self { log, from })
    }

    /// Until now.
    pub(super) fn by_verb(&self) -> anyhow::Result<BTreeMap<String, u32>> {
        let mut file = std::fs::File::open(&self.log)?;
        // It may have been rotated, which the lab does not configure; then nothing would be counted.
        anyhow::ensure!(file.metadata()?.len() >= self.from, "the audit log has shrunk");
        file.seek(SeekFrom::Start(self.from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let user = format!("system:serviceaccount:{NAMESPACE}:{ANNOUNCER_ACCOUNT}");
        let mut counts = BTreeMap::new();
        for event in
            String::from_utf8_lossy(&bytes).lines().filter_map(|l| serde_json::from_str::<Value>(l).ok())
        {
            let stage = if event["verb"] == "watch" { "ResponseStarted" } else { "ResponseComplete" };
            if event["user"]["username"] == *user && event["stage"] == stage {
                *counts.entry(event["verb"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
        Ok(counts)
    }
}

/// How many writes of Leases the API server has answered, to whomever, by its own metrics.
pub(super) async fn lease_writes(client: kube::Client) -> anyhow::Result<f64> {
    let metrics = client.request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
    let of_leases = |line: &&str| {
        line.starts_with("apiserver_request_total{")
            && line.contains("resource=\"leases\"")
            && ["PUT", "POST", "DELETE", "PATCH"]
                .iter()
                .any(|verb| line.contains(&format!("verb=\"{verb}\"")))
    };
    let values =
        metrics.lines().filter(of_leases).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    Ok(values.sum())
}
