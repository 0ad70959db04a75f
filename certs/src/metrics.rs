// SPDX-License-Identifier: Apache-2.0
//! Metrics of the certificates.

use jiff::Timestamp;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use crate::identity::IdentityProblem;

type Labels = [(&'static str, &'static str); 1];

/// Why the CA's Secret is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretWrite {
    /// There was none, and nobody's CA in memory: a new CA.
    Created,
    /// It was deleted or broken: the CA that this process knew, or what could still be read.
    Restored,
    /// It was broken or had expired: a new CA.
    Replaced,
    /// A rotation begins: the next CA.
    Prepared,
    /// The next CA is in the live bundle.
    Published,
    /// The next CA signs from now on.
    Promoted,
    /// The previous CA has left the bundle, and leaves the Secret.
    Dropped,
}

impl SecretWrite {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Created,
        Self::Restored,
        Self::Replaced,
        Self::Prepared,
        Self::Published,
        Self::Promoted,
        Self::Dropped,
    ];

    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Restored => "restored",
            Self::Replaced => "replaced",
            Self::Prepared => "prepared",
            Self::Published => "published",
            Self::Promoted => "promoted",
            Self::Dropped => "dropped",
        }
    }
}

/// The certificates' metrics; clones share their values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    not_after: Family<Labels, Gauge>,
    bundle_synced: Gauge,
    bundle_writes: Counter,
    secret_writes: Family<Labels, Counter>,
    reload_failures: Family<Labels, Counter>,
}

impl Metrics {
    /// Adds the metrics to a registry that is prefixed with the program's name.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for why in SecretWrite::ALL {
            drop(metrics.secret_writes.get_or_create(&[("reason", why.name())]));
        }
        for problem in IdentityProblem::ALL {
            drop(metrics.reload_failures.get_or_create(&[("reason", problem.name())]));
        }
        registry.register_with_unit(
            "certificate_not_after_timestamp",
            "When the certificate expires, since the Unix epoch",
            Unit::Seconds,
            metrics.not_after.clone(),
        );
        registry.register(
            "ca_bundle_synced",
            "Whether the live registration's CA bundle verifies the certificate that is served",
            metrics.bundle_synced.clone(),
        );
        registry.register(
            "ca_bundle_writes",
            "How often the CA bundle was written to the registration",
            metrics.bundle_writes.clone(),
        );
        let help = "How often this replica wrote the CA's Secret, by reason";
        registry.register("ca_secret_writes", help, metrics.secret_writes.clone());
        let help = "Versions of the mounted certificate that could not be served, by reason";
        registry.register("certificate_reload_failures", help, metrics.reload_failures.clone());
        metrics
    }

    pub(crate) fn ca_expires(&self, at: Timestamp) {
        self.not_after.get_or_create(&[("certificate", "ca")]).set(at.as_second());
    }

    pub(crate) fn leaf_expires(&self, at: Timestamp) {
        self.not_after.get_or_create(&[("certificate", "leaf")]).set(at.as_second());
    }

    pub(crate) fn bundle_is_synced(&self, synced: bool) {
        self.bundle_synced.set(i64::from(synced));
    }

    pub(crate) fn bundle_written(&self) {
        self.bundle_writes.inc();
    }

    pub(crate) fn secret_written(&self, why: SecretWrite) {
        self.secret_writes.get_or_create(&[("reason", why.name())]).inc();
    }

    pub(crate) fn reload_failed(&self, problem: IdentityProblem) {
        self.reload_failures.get_or_create(&[("reason", problem.name())]).inc();
    }
}
