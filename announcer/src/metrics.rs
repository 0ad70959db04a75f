// SPDX-License-Identifier: Apache-2.0
//! What is counted, each by its reason. Series of interfaces and addresses go when those go.

use std::{collections::BTreeMap, sync::Arc};

use gateherald_model::announcement::Why;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::Registry,
};
use tokio::sync::watch;

use crate::{
    claims::{Answer, HoldEnd, LapseReason, Rights},
    desired::Outlook,
    responder::DropReason,
    standoff::Step,
};

/// What can happen to this node's ownership of an address.
pub const CLAIM_CHANGES: [&str; 4] = ["took", "released", "handed-over", "lost"];

/// Prefix of every series.
pub const PREFIX: &str = "gateherald_announcer";

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OnInterface {
    /// Its name.
    pub interface: Arc<str>,
}

/// A reason.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ForReason {
    /// Its stable name.
    pub reason: &'static str,
}

/// A step in a dispute about an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ForStep {
    /// Its stable name.
    pub step: &'static str,
}

/// A dropped frame.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Dropped {
    /// The interface that received it.
    pub interface: Arc<str>,
    /// Why it was not answered.
    pub reason: &'static str,
}

/// A write of a Lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LeaseWrite {
    /// `session` or `claim`.
    pub lease: &'static str,
    /// `written`, `conflict`, `refused` or `unknown`.
    pub outcome: &'static str,
}

/// Everything that is counted as it happens; clones share one state.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Frames that passed the kernel's filter.
    pub received: Family<OnInterface, Counter>,
    /// Requests answered.
    pub replied: Family<OnInterface, Counter>,
    /// Frames not answered.
    pub dropped: Family<Dropped, Counter>,
    /// Gratuitous frames sent.
    pub announced: Family<OnInterface, Counter>,
    /// Questions whether anybody has an address.
    pub probed: Family<OnInterface, Counter>,
    /// Frames of other hosts that use an address of ours.
    pub conflicts: Family<OnInterface, Counter>,
    /// What was done about them.
    pub conflict_steps: Family<ForStep, Counter>,
    /// Addresses in dispute.
    pub contested: Gauge,
    /// Frames that the kernel did not take.
    pub send_errors: Family<OnInterface, Counter>,
    /// Frames whose send returned after the deadline.
    pub late: Counter,
    /// Changes of what this node owns.
    pub claim_changes: Family<ForReason, Counter>,
    /// From an address being free to title.
    pub takeover: Histogram,
    /// What was left of the deadline when a reply was sent.
    pub freshness_left: Histogram,
    /// Sessions lost.
    pub lapses: Family<ForReason, Counter>,
    /// Requests answered without a session.
    pub held_replies: Counter,
    /// Held rights that ended before a session came.
    pub holds_ended: Family<ForReason, Counter>,
    /// Writes of Leases.
    pub lease_writes: Family<LeaseWrite, Counter>,
    /// Openings of the Lease watch.
    pub watch_openings: Counter,
    /// Whether policies of Cilium's kind are honoured.
    pub cilium_honoured: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            received: Family::default(),
            replied: Family::default(),
            dropped: Family::default(),
            announced: Family::default(),
            probed: Family::default(),
            conflicts: Family::default(),
            conflict_steps: Family::default(),
            contested: Gauge::default(),
            send_errors: Family::default(),
            late: Counter::default(),
            claim_changes: Family::default(),
            takeover: Histogram::new([0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]),
            freshness_left: Histogram::new([0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 8.0]),
            lapses: Family::default(),
            held_replies: Counter::default(),
            holds_ended: Family::default(),
            lease_writes: Family::default(),
            watch_openings: Counter::default(),
            cilium_honoured: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Adds all of it, and the state of every address, to the registry.
    pub fn register(
        &self,
        registry: &mut Registry,
        outlook: watch::Receiver<Arc<Outlook>>,
        rights: watch::Receiver<Rights>,
    ) {
        self.begin();
        let to = registry.sub_registry_with_prefix(PREFIX);
        to.register(
            "frames_received",
            "ARP and NDP frames that passed the kernel's filter",
            self.received.clone(),
        );
        to.register("frames_replied", "Requests answered", self.replied.clone());
        to.register("frames_dropped", "Frames not answered, by reason", self.dropped.clone());
        to.register(
            "frames_announced",
            "Frames sent unasked that announce an address",
            self.announced.clone(),
        );
        to.register(
            "conflicts",
            "Frames of other hosts that use an address owned here",
            self.conflicts.clone(),
        );
        to.register("frames_probed", "Frames sent that ask whether an address is used", self.probed.clone());
        to.register("conflict_steps", "What was done about conflicts", self.conflict_steps.clone());
        to.register("addresses_contested", "Owned addresses that another host uses", self.contested.clone());
        to.register("send_errors", "Frames that the kernel did not take", self.send_errors.clone());
        to.register("frames_late", "Frames whose send returned after the deadline", self.late.clone());
        to.register("claim_changes", "Changes of what this node owns", self.claim_changes.clone());
        to.register("takeover_seconds", "From an address being free to owning it", self.takeover.clone());
        to.register(
            "freshness_left_seconds",
            "What was left of the session's deadline when a reply was sent",
            self.freshness_left.clone(),
        );
        to.register("session_lapses", "Sessions lost, by reason", self.lapses.clone());
        to.register(
            "held_replies",
            "Requests answered without a session while the API server is away",
            self.held_replies.clone(),
        );
        to.register(
            "holds_ended",
            "Addresses no longer answered for without a session, by reason",
            self.holds_ended.clone(),
        );
        to.register("lease_writes", "Writes of Leases, by outcome", self.lease_writes.clone());
        to.register("lease_watch_openings", "Openings of the Lease watch", self.watch_openings.clone());
        to.register(
            "cilium_policies_honoured",
            "1 while policies of Cilium's kind are honoured",
            self.cilium_honoured.clone(),
        );
        registry.register_collector(Box::new(Addresses { outlook, rights }));
    }

    /// Every series whose labels are known from the start begins at 0: a first event is then an increase like any other.
    fn begin(&self) {
        for step in Step::ALL {
            drop(self.conflict_steps.get_or_create(&ForStep { step: step.name() }));
        }
        for reason in CLAIM_CHANGES {
            drop(self.claim_changes.get_or_create(&ForReason { reason }));
        }
        for reason in LapseReason::ALL {
            drop(self.lapses.get_or_create(&ForReason { reason: reason.name() }));
        }
        for reason in HoldEnd::ALL {
            drop(self.holds_ended.get_or_create(&ForReason { reason: reason.name() }));
        }
        for lease in ["session", "claim"] {
            for outcome in ["written", "conflict", "refused", "unknown"] {
                drop(self.lease_writes.get_or_create(&LeaseWrite { lease, outcome }));
            }
        }
    }

    /// Forgets an interface.
    pub fn forget_interface(&self, interface: &Arc<str>) {
        let label = OnInterface { interface: Arc::clone(interface) };
        let Self { received, replied, announced, probed, conflicts, send_errors, .. } = self;
        for family in [received, replied, announced, probed, conflicts, send_errors] {
            family.remove(&label);
        }
        for reason in DropReason::NAMES {
            self.dropped.remove(&Dropped { interface: Arc::clone(interface), reason });
        }
    }
}

/// The metric label of an answer.
pub fn outcome(answer: &Answer) -> &'static str {
    match answer {
        Answer::Written(_) => "written",
        Answer::Conflict => "conflict",
        Answer::Refused => "refused",
        Answer::Unknown => "unknown",
    }
}

/// The state of addresses, read at each scrape: so no series outlives its address.
#[derive(Debug)]
struct Addresses {
    outlook: watch::Receiver<Arc<Outlook>>,
    rights: watch::Receiver<Rights>,
}

impl Collector for Addresses {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let outlook = Arc::clone(&self.outlook.borrow());
        let (titles, kept) = {
            let rights = self.rights.borrow();
            (Arc::clone(&rights.titles), rights.held.len())
        };
        let count = |n: usize| ConstGauge::new(i64::try_from(n).unwrap_or(i64::MAX));
        let mut plain = |name: &str, help: &str, value: usize| {
            count(value).encode(encoder.encode_descriptor(
                &format!("{PREFIX}_{name}"),
                help,
                None,
                MetricType::Gauge,
            )?)
        };
        plain(
            "addresses_desired",
            "Addresses that this node may announce",
            outlook.evaluation.desired.len(),
        )?;
        plain("addresses_owned", "Addresses that this node has title to", titles.len())?;
        plain("addresses_held", "Addresses that this node answers for without a session", kept)?;
        let mut reasons: BTreeMap<&'static str, usize> =
            Why::NAMES.into_iter().map(|name| (name, 0)).collect();
        for refused in &outlook.evaluation.not_announced {
            *reasons.entry(refused.why.name()).or_default() += 1;
        }
        let help = "Services, addresses and policies that are not announced here, by reason";
        let name = format!("{PREFIX}_not_announced");
        let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
        for (reason, n) in reasons {
            count(n).encode(family.encode_family(&[("reason", reason)])?)?;
        }
        let help = "1 if this node has title to the address, 0 if it only may announce it";
        let name = format!("{PREFIX}_address_owned");
        let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
        for address in outlook.evaluation.desired.keys() {
            let owned = usize::from(titles.contains(address));
            count(owned).encode(family.encode_family(&[("address", address.to_string())])?)?;
        }
        Ok(())
    }
}
