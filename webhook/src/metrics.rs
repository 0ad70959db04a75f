// SPDX-License-Identifier: Apache-2.0
//! The webhook's metrics.
#![allow(clippy::disallowed_methods, reason = "a metric of when the rules were loaded")]

use std::time::Duration;

use gateherald_model::{injection::Outcome, labels::SkipReason};
use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

type Labels = [(&'static str, &'static str); 1];

/// How a live look-up of a Gateway may end.
const LOOKUP_RESULTS: [&str; 4] = ["found", "missing", "error", "timeout"];

/// What there can be too many of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    /// Open connections.
    Connection,
    /// Requests whose body is arriving.
    Body,
}

impl Crowd {
    const ALL: [Self; 2] = [Self::Connection, Self::Body];

    fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Body => "body",
        }
    }
}

/// The metrics; clones share their values. Series of one metric are found by index, not by hashing.
#[derive(Clone, Debug)]
pub struct Metrics {
    reviews: [Counter; Outcome::ALL.len()],
    skipped: [Counter; SkipReason::ALL.len()],
    duration: Histogram,
    in_flight: Gauge,
    abandoned: Counter,
    cached: Gauge,
    lookups: Family<Labels, Counter>,
    dropped: Counter,
    connections: Gauge,
    rules: RulesMetrics,
    gave_way: [Counter; Crowd::ALL.len()],
}

/// By the names that Prometheus has for its own configuration.
#[derive(Clone, Debug, Default)]
struct RulesMetrics {
    successful: Gauge,
    loaded_at: Gauge,
    failures: Counter,
}

/// Something under way; counts it as long as it lives.
#[derive(Debug)]
pub struct InFlight(Gauge);

/// A review under way. Dropped before it is answered when its caller goes away.
#[derive(Debug)]
pub(crate) struct Reviewing {
    _in_flight: InFlight,
    abandoned: Counter,
    answered: bool,
}

impl Metrics {
    /// Adds the metrics to a registry that is prefixed with the program's name.
    pub fn register(registry: &mut Registry) -> Self {
        let reviews = Family::<Labels, Counter>::default();
        let skipped = Family::<Labels, Counter>::default();
        let lookups = Family::<Labels, Counter>::default();
        for result in LOOKUP_RESULTS {
            drop(lookups.get_or_create(&[("result", result)]));
        }
        let gave_way = Family::<Labels, Counter>::default();
        let metrics = Self {
            reviews: Outcome::ALL.map(|outcome| reviews.get_or_create_owned(&[("outcome", outcome.name())])),
            skipped: SkipReason::ALL.map(|reason| skipped.get_or_create_owned(&[("reason", reason.name())])),
            // 5 µs to 2.6 s.
            duration: Histogram::new(exponential_buckets(5e-6, 2.0, 20)),
            in_flight: Gauge::default(),
            abandoned: Counter::default(),
            cached: Gauge::default(),
            lookups,
            dropped: Counter::default(),
            connections: Gauge::default(),
            rules: RulesMetrics::register(registry),
            gave_way: Crowd::ALL.map(|what| gave_way.get_or_create_owned(&[("what", what.name())])),
        };
        registry.register("reviews", "Admission reviews by outcome", reviews);
        registry.register("labels_skipped", "Labels of Gateways left off Services, by reason", skipped);
        registry.register_with_unit(
            "review_duration",
            "Time from a request's head to its response",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        let help = "Reviews whose caller did not wait for the answer";
        registry.register("reviews_abandoned", help, metrics.abandoned.clone());
        registry.register("reviews_in_flight", "Reviews under way", metrics.in_flight.clone());
        registry.register("gateway_cache_objects", "Gateways in the cache", metrics.cached.clone());
        let help = "Gateways that the cache did not hold and that were asked for, by result";
        registry.register("gateway_lookups", help, metrics.lookups.clone());
        let help = "Audit lines that were dropped because stdout did not take them";
        registry.register("audit_lines_dropped", help, metrics.dropped.clone());
        registry.register(
            "connections",
            "Open connections of the admission port",
            metrics.connections.clone(),
        );
        registry.register("gave_way", "Connections and bodies ended to make room for newer ones", gave_way);
        metrics
    }

    pub(crate) fn review_begins(&self) -> Reviewing {
        let in_flight = InFlight::count(&self.in_flight);
        Reviewing { _in_flight: in_flight, abandoned: self.abandoned.clone(), answered: false }
    }

    pub(crate) fn connection_begins(&self) -> InFlight {
        InFlight::count(&self.connections)
    }

    pub(crate) fn review_ends(&self, outcome: Outcome, took: Duration) {
        let series = Outcome::ALL.iter().zip(&self.reviews).find(|(other, _)| **other == outcome);
        if let Some((_, counter)) = series {
            counter.inc();
        }
        self.duration.observe(took.as_secs_f64());
    }

    pub(crate) fn gave_way(&self, what: Crowd) {
        self.gave_way[what as usize].inc();
    }

    pub(crate) fn skipped(&self, reason: SkipReason) {
        let series = SkipReason::ALL.iter().zip(&self.skipped).find(|(other, _)| **other == reason);
        if let Some((_, counter)) = series {
            counter.inc();
        }
    }

    pub(crate) fn looked_up(&self, result: &'static str) {
        self.lookups.get_or_create(&[("result", result)]).inc();
    }

    pub(crate) fn cached(&self, objects: usize) {
        self.cached.set(i64::try_from(objects).unwrap_or(i64::MAX));
    }

    pub(crate) fn rules_loaded(&self) {
        self.rules.successful.set(1);
        self.rules.loaded_at.set(jiff::Timestamp::now().as_second());
    }

    pub(crate) fn rules_broken(&self) {
        self.rules.successful.set(0);
        self.rules.failures.inc();
    }

    pub(crate) fn audit_line_dropped(&self) {
        self.dropped.inc();
    }
}

impl RulesMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "config_last_reload_successful",
            "Whether the label rules are those of their file as it is now",
            metrics.successful.clone(),
        );
        registry.register_with_unit(
            "config_last_reload_success_timestamp",
            "When the label rules were last read, since the Unix epoch",
            Unit::Seconds,
            metrics.loaded_at.clone(),
        );
        let help = "Versions of the label rules' file that could not be used";
        registry.register("config_reload_failures", help, metrics.failures.clone());
        metrics
    }
}

#[cfg(test)]
impl Metrics {
    pub(crate) fn gave_way_so_far(&self, what: Crowd) -> u64 {
        self.gave_way[what as usize].get()
    }

    pub(crate) fn open_connections(&self) -> i64 {
        self.connections.get()
    }
}

impl InFlight {
    fn count(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Reviewing {
    pub(crate) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Reviewing {
    fn drop(&mut self) {
        if !self.answered {
            self.abandoned.inc();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
