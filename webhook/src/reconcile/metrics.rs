// SPDX-License-Identifier: Apache-2.0
//! The reconciler's metrics, and how old what the caches show is.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::{Registry, Unit},
};
use tokio::time::Instant;

use super::{Counts, judgement::Reason};

type Labels = [(&'static str, &'static str); 1];

/// What may fail, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The watch of Services.
    Services,
    /// The watch of namespaces.
    Namespaces,
    /// The watch of the registration.
    Registration,
    /// A write to a Service.
    Patch,
    /// The question whether a Gateway is still what the cache holds.
    Gateway,
    /// An Event.
    Event,
}

impl Part {
    const ALL: [Self; 6] =
        [Self::Services, Self::Namespaces, Self::Registration, Self::Patch, Self::Gateway, Self::Event];

    /// The part's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Namespaces => "namespaces",
            Self::Registration => "registration",
            Self::Patch => "patch",
            Self::Gateway => "gateway",
            Self::Event => "event",
        }
    }
}

/// A moment that is told as an age. Never: not told.
#[derive(Clone, Debug)]
pub struct Age {
    start: Instant,
    /// Milliseconds after `start`, plus one; zero for never.
    last: Arc<AtomicU64>,
}

impl Age {
    /// Nothing has happened.
    pub fn new() -> Self {
        Self { start: Instant::now(), last: Arc::default() }
    }

    /// It happens now.
    pub fn now(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.last.store(millis + 1, Ordering::Relaxed);
    }

    /// Nobody looks any more.
    pub fn never(&self) {
        self.last.store(0, Ordering::Relaxed);
    }

    fn seconds(&self) -> Option<f64> {
        let last = self.last.load(Ordering::Relaxed).checked_sub(1)?;
        Some(
            (self.start.elapsed().as_secs_f64() - std::time::Duration::from_millis(last).as_secs_f64())
                .max(0.0),
        )
    }
}

impl Default for Age {
    fn default() -> Self {
        Self::new()
    }
}

/// The metrics; clones share their values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// When the watch of Gateways last told anything, a bookmark for example.
    pub gateways: Age,
    /// When the watch of Services last told anything.
    pub services: Age,
    patches: Family<Labels, Counter>,
    conflicts: Counter,
    failures: Family<Labels, Counter>,
    fights: Counter,
    backed_off: Gauge,
    drifted: Gauge,
    queued: Gauge,
    in_flight: Gauge,
    cached: Gauge,
    events: Counter,
    events_dropped: Counter,
}

impl Metrics {
    /// Adds the metrics to a registry that is prefixed with the program's name.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for reason in Reason::ALL {
            drop(metrics.patches.get_or_create(&[("reason", reason.name())]));
        }
        for part in Part::ALL {
            drop(metrics.failures.get_or_create(&[("part", part.name())]));
        }
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        counter("reconciler_conflicts", "Patches that somebody else's write came before", &metrics.conflicts);
        counter("reconciler_fights", "Services whose patches were undone again and again", &metrics.fights);
        counter("reconciler_events", "Events written", &metrics.events);
        let help = "Events that were not written because too many were waiting";
        counter("reconciler_events_dropped", help, &metrics.events_dropped);
        let help = "Services that were patched, by what it did";
        registry.register("reconciler_patches", help, metrics.patches.clone());
        let help = "Attempts that failed, by part";
        registry.register("reconciler_failures", help, metrics.failures.clone());
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| registry.register(name, help, gauge.clone());
        let help = "Services left alone for a while because somebody undoes their patches";
        gauge("reconciler_backed_off", help, &metrics.backed_off);
        gauge("reconciler_drifted", "Services that need a change", &metrics.drifted);
        gauge("reconciler_queue_length", "Services that wait to be decided about", &metrics.queued);
        gauge("reconciler_patches_in_flight", "Patches under way", &metrics.in_flight);
        gauge("service_cache_objects", "Services in the leader's cache", &metrics.cached);
        metrics
    }

    /// The ages, for the registry without a prefix: a collector names its metrics in full.
    pub fn ages(&self, prefix: &'static str) -> Box<dyn Collector> {
        Box::new(Ages { prefix, gateways: self.gateways.clone(), services: self.services.clone() })
    }

    pub(crate) fn patched(&self, reason: Reason) {
        self.patches.get_or_create(&[("reason", reason.name())]).inc();
    }

    pub(crate) fn conflict(&self) {
        self.conflicts.inc();
    }

    pub(crate) fn failed(&self, part: Part) {
        self.failures.get_or_create(&[("part", part.name())]).inc();
    }

    pub(crate) fn event_written(&self) {
        self.events.inc();
    }

    pub(crate) fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    /// `fights` counts since the leadership began; `before` is what was counted already.
    pub(crate) fn counts(&self, counts: Counts, before: u64) {
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.fights.inc_by(counts.fights.saturating_sub(before));
        self.backed_off.set(number(counts.backed_off));
        self.drifted.set(number(counts.drifted));
        self.queued.set(number(counts.queued));
        self.in_flight.set(number(counts.in_flight));
        self.cached.set(number(counts.services));
    }
}

/// Ages are read when they are asked for.
#[derive(Debug)]
struct Ages {
    prefix: &'static str,
    gateways: Age,
    services: Age,
}

impl Collector for Ages {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let ages = [("gateways", &self.gateways), ("services", &self.services)];
        let name = format!("{}_cache_age", self.prefix);
        let help =
            "Since the watch that fills the cache last told anything; bookmarks come about every minute";
        let gauge = ConstGauge::new(0.0_f64);
        let mut family = encoder.encode_descriptor(&name, help, Some(&Unit::Seconds), gauge.metric_type())?;
        for (cache, age) in ages {
            if let Some(seconds) = age.seconds() {
                ConstGauge::new(seconds).encode(family.encode_family(&[("cache", cache)])?)?;
            }
        }
        Ok(())
    }
}
