// SPDX-License-Identifier: Apache-2.0
//! Metrics about the process itself: build, CPU, memory, descriptors, start time, read from /proc at each scrape.

use std::fs;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Clock ticks per second in /proc: the kernel's `USER_HZ`, 100 on every architecture that we build for.
const USER_HZ: f64 = 100.0;

/// Adds `process_*` and `<prefix>_build_info`.
pub fn register(registry: &mut Registry, prefix: &str, version: &'static str) {
    let build = Info::new(vec![("version", version), ("rust_version", env!("CARGO_PKG_RUST_VERSION"))]);
    registry.register(format!("{prefix}_build"), "What this program was built from", build);
    registry.register_collector(Box::new(ProcessCollector));
}

/// Lets the process open as many files and sockets as its hard limit allows: the soft one is 1,024 under systemd and
/// containerd, for the sake of programs that use select(2).
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        warn!(%error, soft = limit.current, hard = limit.maximum, "cannot raise the limit of open files");
    }
}

/// The host's name: in a pod, the pod's.
pub fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or_else(|_| "unknown".into(), |name| name.trim().to_owned())
}

/// The process as the kernel sees it at one instant.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Usage {
    cpu_seconds: f64,
    start_time_seconds: f64,
    resident_bytes: u64,
    open_fds: u64,
}

#[derive(Debug)]
struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        // Without /proc there is nothing to say, and a scrape is no place to fail.
        let Some(usage) = Usage::read() else { return Ok(()) };
        let (seconds, bytes) = (Unit::Seconds, Unit::Bytes);
        let cpu = ConstCounter::new(usage.cpu_seconds);
        let start = ConstGauge::new(usage.start_time_seconds);
        let resident = ConstGauge::new(i64::try_from(usage.resident_bytes).unwrap_or(i64::MAX));
        let fds = ConstGauge::new(i64::try_from(usage.open_fds).unwrap_or(i64::MAX));
        cpu.encode(encoder.encode_descriptor(
            "process_cpu",
            "CPU time used, user and system",
            Some(&seconds),
            cpu.metric_type(),
        )?)?;
        start.encode(encoder.encode_descriptor(
            "process_start_time",
            "Start of the process since the Unix epoch",
            Some(&seconds),
            start.metric_type(),
        )?)?;
        resident.encode(encoder.encode_descriptor(
            "process_resident_memory",
            "Resident memory",
            Some(&bytes),
            resident.metric_type(),
        )?)?;
        fds.encode(encoder.encode_descriptor(
            "process_open_fds",
            "Open file descriptors",
            None,
            fds.metric_type(),
        )?)
    }
}

impl Usage {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let open_fds = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
        Self::parse(&stat, &status, &boot, open_fds)
    }

    fn parse(stat: &str, status: &str, boot: &str, open_fds: u64) -> Option<Self> {
        // The command name, in parentheses, may itself hold spaces and parentheses.
        let (_, fields) = stat.rsplit_once(')')?;
        let field = |number: usize| fields.split_ascii_whitespace().nth(number - 3)?.parse::<f64>().ok();
        let line = |text: &str, key: &str| {
            let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
            rest.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        // proc_pid_stat(5): 14 utime, 15 stime, 22 starttime.
        let booted = fs_seconds(line(boot, "btime ")?);
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / USER_HZ,
            start_time_seconds: booted + field(22)? / USER_HZ,
            resident_bytes: line(status, "VmRSS:")? * 1024,
            open_fds,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double's 53 bits")]
fn fs_seconds(seconds: u64) -> f64 {
    seconds as f64
}

#[cfg(test)]
mod tests;
