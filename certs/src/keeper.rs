// SPDX-License-Identifier: Apache-2.0
//! The tasks that keep certificates: one has a leaf to serve, one looks after the registration's bundle.

use std::{path::PathBuf, sync::Arc};

use gateherald_runtime::{readiness::Board, shutdown::Shutdown, tasks::Tasks};
use kube::Client;
use tokio::sync::watch;

use crate::{
    args::{CertificateArgs, Mode},
    io::{
        authorities::Authorities,
        mounted::Mounted,
        registration::{Registration, Writer},
        secret::Store,
    },
    lifetimes::{Lifetimes, LifetimesError},
    metrics::Metrics,
    resolver::Resolver,
    serving::{Serving, Trust},
};

/// The objects that certificates are made for.
#[derive(Clone, Debug)]
pub struct Names {
    /// The release's namespace.
    pub namespace: String,
    /// The Service that the API server calls.
    pub service: String,
    /// The ConfigMap that owns what is created.
    pub owner: String,
    /// The webhook configuration.
    pub configuration: String,
    /// Our entry in it.
    pub entry: String,
}

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// From a CA of our own.
    Own {
        /// The Secret that holds it.
        secret: String,
        /// How long certificates live.
        lifetimes: Lifetimes,
    },
    /// From a mounted Secret.
    Mounted(PathBuf),
}

impl TryFrom<CertificateArgs> for Source {
    type Error = LifetimesError;

    fn try_from(args: CertificateArgs) -> Result<Self, LifetimesError> {
        let lifetimes = args.lifetimes()?;
        Ok(match args.certificates {
            Mode::Auto => Self::Own { secret: args.ca_secret, lifetimes },
            Mode::CertManager | Mode::Provided => Self::Mounted(args.certificate_dir),
        })
    }
}

/// Starts both tasks; returns what the TLS listener serves. The readiness parts are `certificate` and `registration`.
pub fn spawn(
    tasks: &mut Tasks,
    client: &Client,
    source: Source,
    names: &Names,
    board: &mut Board,
    metrics: Metrics,
    shutdown: &Shutdown,
) -> Arc<Resolver> {
    let server_name = format!("{}.{}.svc", names.service, names.namespace);
    let resolver = Arc::new(Resolver::default());
    let (trust, trusted) = watch::channel(Trust::default());
    let (sightings, live) = watch::channel(None);
    let handle = board.part("certificate", "there is no certificate yet");
    let serving = Serving { resolver: Arc::clone(&resolver), trust, handle, metrics: metrics.clone() };
    let writer = match source {
        Source::Own { secret, lifetimes } => {
            let store = Store::new(client.clone(), &names.namespace, &secret, &names.owner);
            let task = Authorities::new(store, server_name.clone(), lifetimes, serving, live);
            tasks.spawn("certificate", task.run(shutdown.clone()));
            Writer::Us
        }
        Source::Mounted(directory) => {
            let task = Mounted::new(directory, server_name.clone(), serving);
            tasks.spawn("certificate", task.run(shutdown.clone()));
            Writer::Others
        }
    };
    let Names { configuration, entry, .. } = names;
    let registration = Registration::new(client.clone(), configuration, entry, &server_name, writer);
    let handle = board.part("registration", "the live configuration was not seen yet");
    tasks.spawn("registration", registration.keep(trusted, sightings, handle, metrics, shutdown.clone()));
    resolver
}
