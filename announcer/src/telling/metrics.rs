// SPDX-License-Identifier: Apache-2.0
//! What is counted about Events and statuses.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::metrics::{ForReason, PREFIX};

/// Why something is not told.
const BUDGET: &str = "budget";
const QUEUE: &str = "queue";

/// How an attempt to write went.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ForOutcome {
    /// Its stable name.
    pub outcome: &'static str,
}

/// What became of something that was to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There is a new Event, or the status is as it should be.
    Written,
    /// The Event was there, and counts one more.
    Counted,
    /// The Event was there.
    Known,
    /// What it is about is gone.
    Gone,
    /// The API server could not or would not.
    Failed,
}

impl Outcome {
    const ALL: [Self; 5] = [Self::Written, Self::Counted, Self::Known, Self::Gone, Self::Failed];

    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Counted => "counted",
            Self::Known => "known",
            Self::Gone => "gone",
            Self::Failed => "failed",
        }
    }
}

/// The counters; clones share their values.
#[derive(Debug, Clone)]
pub struct Metrics {
    events: Family<ForOutcome, Counter>,
    dropped: Family<ForReason, Counter>,
    statuses: Family<ForOutcome, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics =
            Self { events: Family::default(), dropped: Family::default(), statuses: Family::default() };
        for outcome in Outcome::ALL {
            drop(metrics.events.get_or_create(&ForOutcome { outcome: outcome.name() }));
        }
        for reason in [BUDGET, QUEUE] {
            drop(metrics.dropped.get_or_create(&ForReason { reason }));
        }
        for outcome in [Outcome::Written, Outcome::Gone, Outcome::Failed] {
            drop(metrics.statuses.get_or_create(&ForOutcome { outcome: outcome.name() }));
        }
        metrics
    }
}

impl Metrics {
    /// Adds all of them to the registry.
    pub fn register(&self, registry: &mut Registry) {
        let to = registry.sub_registry_with_prefix(PREFIX);
        to.register("events", "Events that were to be written, by outcome", self.events.clone());
        to.register("events_dropped", "Events that were not written, by reason", self.dropped.clone());
        let help = "Writes of policies' statuses, by outcome";
        to.register("policy_status_writes", help, self.statuses.clone());
    }

    /// An Event was to be written.
    pub fn event(&self, outcome: Outcome) {
        self.events.get_or_create(&ForOutcome { outcome: outcome.name() }).inc();
    }

    /// A status was to be written.
    pub fn status(&self, outcome: Outcome) {
        self.statuses.get_or_create(&ForOutcome { outcome: outcome.name() }).inc();
    }

    /// The budget is spent.
    pub fn over_budget(&self) {
        self.dropped.get_or_create(&ForReason { reason: BUDGET }).inc();
    }

    /// Counts what finds no room in a queue.
    pub fn queue_full(&self) -> Counter {
        self.dropped.get_or_create(&ForReason { reason: QUEUE }).clone()
    }
}
