// SPDX-License-Identifier: Apache-2.0
//! Where a certificate goes when it is to be served: to the listener, to the registration, to the metrics.

use std::sync::Arc;

use gateherald_runtime::readiness::Handle;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;
use tracing::info;

use crate::{authority::Validity, identity::Identity, metrics::Metrics, resolver::Resolver};

/// What the live bundle must make the API server trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// The CAs that it must hold.
    pub required: Vec<CertificateDer<'static>>,
    /// The CAs that it must not hold.
    pub retired: Vec<CertificateDer<'static>>,
    /// What is served, the leaf first; empty before the first certificate.
    pub chain: Vec<CertificateDer<'static>>,
}

/// The one writer of what is served, and of the readiness part `certificate`.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) trust: watch::Sender<Trust>,
    pub(crate) handle: Handle,
    pub(crate) metrics: Metrics,
}

impl Serving {
    /// Serves this from the next handshake on. Whoever calls this says next what must be trusted.
    pub(crate) fn serve(&self, identity: &Identity) -> Result<(), rustls::Error> {
        self.resolver.serve(identity)?;
        self.metrics.leaf_expires(identity.validity.not_after);
        info!(not_after = %identity.validity.not_after, "serving a new certificate");
        self.handle.ready();
        Ok(())
    }

    /// Tells the registration what to trust; does nothing when it knows.
    pub(crate) fn trust(&self, trust: Trust) {
        self.trust.send_if_modified(|told| {
            let changed = *told != trust;
            *told = trust;
            changed
        });
    }

    /// There is nothing (any more) that could be served, for this reason.
    pub(crate) fn lacks(&self, served: Option<Validity>, now: Timestamp, reason: String) {
        // A certificate that is valid serves on while no new one can be had.
        if served.is_none_or(|served| served.is_over(now)) {
            self.handle.waiting(reason);
        }
    }
}
