// SPDX-License-Identifier: Apache-2.0
//! Metrics of the certificates.

use jiff::Timestamp;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

type Labels = [(&'static str, &'static str); 1];

/// The certificates' metrics; clones share their values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    not_after: Family<Labels, Gauge>,
    bundle_synced: Gauge,
    bundle_writes: Counter,
}

impl Metrics {
    /// Adds the metrics to a registry that is prefixed with the program's name.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
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
}
