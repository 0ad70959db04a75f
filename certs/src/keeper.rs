// SPDX-License-Identifier: Apache-2.0
//! The tasks that keep certificates: one renews the leaf, one keeps the registration's bundle.

use std::{sync::Arc, time::Duration};

use gateherald_runtime::{
    backoff::Backoff,
    chain::chain,
    kubernetes::Trouble,
    readiness::{Board, Handle},
    shutdown::Shutdown,
    tasks::{TaskResult, Tasks},
};
use jiff::Timestamp;
use kube::Client;
use tokio::{sync::watch, time::sleep};
use tracing::info;

use crate::{
    authority::Validity,
    io::{
        registration::{Registration, Trust},
        secret::Store,
    },
    metrics::Metrics,
    resolver::Resolver,
    slots::Slots,
};

/// The longest sleep before the wall clock is asked again: it may jump, and sleeping does not follow it.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// The objects that certificates live in and are made for.
#[derive(Clone, Debug)]
pub struct Names {
    /// The release's namespace.
    pub namespace: String,
    /// The Service that the API server calls.
    pub service: String,
    /// The Secret that holds the CA.
    pub secret: String,
    /// The ConfigMap that owns the Secret.
    pub owner: String,
    /// The webhook configuration.
    pub configuration: String,
    /// Our entry in it.
    pub entry: String,
}

/// Starts both tasks; returns what the TLS listener serves. The readiness parts are `certificate` and `registration`.
pub fn spawn(
    tasks: &mut Tasks,
    client: &Client,
    names: &Names,
    board: &mut Board,
    metrics: Metrics,
    shutdown: &Shutdown,
) -> Arc<Resolver> {
    let server_name = format!("{}.{}.svc", names.service, names.namespace);
    let resolver = Arc::new(Resolver::default());
    let (trust, trusted) = watch::channel(None);
    let leaf = LeafTask {
        store: Store::new(client.clone(), &names.namespace, &names.secret, &names.owner),
        server_name: server_name.clone(),
        resolver: Arc::clone(&resolver),
        trust,
        handle: board.part("certificate", "there is no CA yet"),
        metrics: metrics.clone(),
    };
    let registration = Registration::new(client.clone(), &names.configuration, &names.entry, &server_name);
    let handle = board.part("registration", "the live configuration was not seen yet");
    tasks.spawn("certificate", leaf.run(shutdown.clone()));
    tasks.spawn("registration", registration.keep(trusted, handle, metrics, shutdown.clone()));
    resolver
}

struct LeafTask {
    store: Store,
    server_name: String,
    resolver: Arc<Resolver>,
    trust: watch::Sender<Option<Arc<Trust>>>,
    handle: Handle,
    metrics: Metrics,
}

impl LeafTask {
    async fn run(self, shutdown: Shutdown) -> TaskResult {
        tokio::select! {
            () = shutdown.stopping() => Ok(()),
            never = self.renew_for_ever() => never,
        }
    }

    async fn renew_for_ever(&self) -> TaskResult {
        let mut known = None;
        let mut trouble = Trouble::new("certificate");
        let mut backoff = Backoff::default();
        let mut served: Option<Validity> = None;
        loop {
            let now = Timestamp::now();
            match self.store.ensure(known.as_ref(), now).await {
                Ok(slots) => {
                    trouble.over();
                    backoff.reset();
                    let validity = self.serve(&slots, now)?;
                    served = Some(validity);
                    known = Some(slots);
                    until(validity.renew_at()).await;
                }
                Err(error) => {
                    let reason = chain(&error);
                    trouble.note(&reason);
                    // A leaf that is still valid serves on while no new one can be had.
                    if !served.is_some_and(|served| served.contains(now)) {
                        self.handle.waiting(reason);
                    }
                    sleep(backoff.pause()).await;
                }
            }
        }
    }

    /// Signs a leaf and serves it.
    fn serve(&self, slots: &Slots, now: Timestamp) -> anyhow::Result<Validity> {
        let leaf = slots.current.issue(&self.server_name, now)?;
        self.resolver.serve(&leaf)?;
        self.metrics.ca_expires(slots.current.validity().not_after);
        self.metrics.leaf_expires(leaf.validity.not_after);
        info!(server_name = self.server_name, not_after = %leaf.validity.not_after, "serving a new certificate");
        let authorities = slots.authorities().map(|authority| authority.certificate().clone()).collect();
        self.trust.send_replace(Some(Arc::new(Trust { authorities, leaf: leaf.certificate })));
        self.handle.ready();
        Ok(leaf.validity)
    }
}

/// Waits for an instant of the wall clock.
async fn until(instant: Timestamp) {
    while let Ok(left) = Duration::try_from(Timestamp::now().duration_until(instant)) {
        if left.is_zero() {
            return;
        }
        sleep(left.min(LOOK_AGAIN)).await;
    }
}
