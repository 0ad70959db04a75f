// SPDX-License-Identifier: Apache-2.0
//! From a started process to one that takes part: it learns its installation and its place on the node, then claims.

use std::sync::Arc;

use anyhow::Context;
use gateherald_runtime::{events::Teller, readiness, shutdown::Shutdown, tasks::TaskResult};
use kube::Client;
use tokio::sync::{mpsc, watch};

use crate::{
    claiming::{Claiming, Question},
    claims::{Claims, Config, Heard, Incarnation, Notice, Rights},
    desired::Plan,
    io::{
        answering::Speaker,
        incarnation::{self, Place},
        leases::LeaseClient,
        release,
    },
    metrics::Metrics,
};

/// What is needed to take part.
pub struct Seat {
    /// Node and times.
    pub config: Config,
    /// The namespace of the Leases.
    pub namespace: String,
    /// The `ConfigMap` that owns them.
    pub owner: String,
    /// The answering thread.
    pub speaker: Speaker,
    /// What it notices.
    pub heard: mpsc::Receiver<Heard>,
    /// What is wanted.
    pub plan: watch::Receiver<Arc<Plan>>,
    /// Where rights are shown.
    pub rights: watch::Sender<Rights>,
    /// Questions about ownership.
    pub questions: mpsc::Receiver<Question>,
    /// Where changes are told to people.
    pub teller: Teller<Notice>,
    /// Counters.
    pub metrics: Metrics,
}

impl Seat {
    /// Waits until the API server tells what is needed, then claims until the session was ended.
    pub async fn take(self, client: Client, ready: readiness::Handle, shutdown: Shutdown) -> TaskResult {
        let release = tokio::select! {
            () = shutdown.draining() => return Ok(()),
            release = release::find(&client, &self.namespace, &self.owner, &ready) => release,
        };
        // Held until the process ends, not only until this function does.
        let place =
            Place::take(&release.namespace_uid).context("bind the socket that shows who is alone here")?;
        let me = Incarnation {
            boot_id: incarnation::boot_id()?,
            network_namespace: incarnation::network_namespace()?,
            socket_bound: place.is_taken(),
        };
        let attempt = self.config.renew_period;
        let claiming = Claiming {
            claims: Claims::new(self.config, me, Box::new(fresh_id)),
            leases: LeaseClient::new(client, self.namespace, Some(release.owner), attempt),
            speaker: self.speaker,
            heard: self.heard,
            plan: self.plan,
            rights: self.rights,
            questions: self.questions,
            teller: self.teller,
            metrics: self.metrics,
            ready,
        };
        let ended = claiming.run(shutdown).await;
        drop(place);
        Ok(ended?)
    }
}

/// 96 random bits: never the same twice, on any node.
fn fresh_id() -> String {
    format!("{:024x}", rand::random::<u128>() >> 32)
}
