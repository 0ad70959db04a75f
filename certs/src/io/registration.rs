// SPDX-License-Identifier: Apache-2.0
//! Our entry in the live `MutatingWebhookConfiguration`: watched, and its CA bundle kept so that it verifies our leaf.

use std::sync::Arc;

use anyhow::bail;
use futures::{Stream, StreamExt};
use gateherald_runtime::{
    backoff::Backoff,
    kubernetes::{Problem, Trouble, explain, explain_watch},
    readiness::Handle,
    shutdown::Shutdown,
    tasks::TaskResult,
};
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::admissionregistration::v1::MutatingWebhookConfiguration};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use rustls_pki_types::CertificateDer;
use serde_json::json;
use tokio::{sync::watch, time::sleep};
use tracing::info;

use crate::{bundle, metrics::Metrics};

/// The resource as RBAC and people name it.
const RESOURCE: &str = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
/// Who we are in the field's managedFields.
const FIELD_MANAGER: &str = "gateherald-webhook";
/// Annotations by which cert-manager's injector owns the bundle.
const INJECTED_BY_OTHERS: &str = "cert-manager.io/inject-";

/// What the live bundle must make the API server trust.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Every CA whose leaves may be served.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The leaf that is served.
    pub leaf: CertificateDer<'static>,
}

/// Our entry, and who we are.
#[derive(Clone, Debug)]
pub struct Registration {
    api: Api<MutatingWebhookConfiguration>,
    configuration: String,
    entry: String,
    server_name: String,
}

/// What to do about a live configuration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// The bundle verifies our leaf and holds all our CAs.
    Verified,
    /// Write this bundle.
    Write(String),
    /// Keep hands off, for this reason.
    Refuse(String),
}

impl Registration {
    /// Names our entry, and the server name under which the API server calls us. Sends nothing.
    pub fn new(client: Client, configuration: &str, entry: &str, server_name: &str) -> Self {
        Self {
            api: Api::all(client),
            configuration: configuration.to_owned(),
            entry: entry.to_owned(),
            server_name: server_name.to_owned(),
        }
    }

    /// Keeps the bundle until the process stops.
    pub async fn keep(
        self,
        mut trust: watch::Receiver<Option<Arc<Trust>>>,
        handle: Handle,
        metrics: Metrics,
        shutdown: Shutdown,
    ) -> TaskResult {
        let mut keeper =
            Keeper { handle, metrics, trouble: Trouble::new("registration"), live: Live::Unknown };
        let mut events = std::pin::pin!(self.events());
        let mut backoff = Backoff::default();
        loop {
            let wanted = trust.borrow_and_update().clone();
            let retry = match keeper.settle(&self, wanted).await {
                Settled::Done => {
                    backoff.reset();
                    None
                }
                Settled::TryAgain => Some(backoff.pause()),
            };
            tokio::select! {
                // First: the sender of `trust` goes too when the process stops.
                biased;
                () = shutdown.stopping() => return Ok(()),
                event = events.next() => match event {
                    Some(event) => keeper.see(event),
                    None => bail!("the watch of {RESOURCE} ended"),
                },
                changed = trust.changed() => changed?,
                () = async { sleep(retry.unwrap_or_default()).await }, if retry.is_some() => {}
            }
        }
    }

    fn events(&self) -> impl Stream<Item = watcher::Result<Event<MutatingWebhookConfiguration>>> + use<> {
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.configuration));
        watcher(self.api.clone(), only).backoff(Backoff::default())
    }

    /// Pure but for the crypto provider: compares a live configuration with what must be trusted.
    pub(crate) fn plan(&self, live: &MutatingWebhookConfiguration, trust: &Trust, now: Timestamp) -> Plan {
        let name = &self.configuration;
        let annotations = live.metadata.annotations.iter().flatten();
        if let Some((key, _)) = annotations.into_iter().find(|(key, _)| key.starts_with(INJECTED_BY_OTHERS)) {
            return Plan::Refuse(format!("{name} carries {key}: its CA bundle is cert-manager's to write"));
        }
        let entries = live.webhooks.iter().flatten();
        let Some(entry) = entries.into_iter().find(|entry| entry.name == self.entry) else {
            return Plan::Refuse(format!("{name} has no entry {}", self.entry));
        };
        let bytes = entry.client_config.ca_bundle.as_ref().map_or(&[][..], |bundle| &bundle.0);
        let present = bundle::read(bytes);
        let verified = bundle::verifies(bytes, &trust.leaf, &self.server_name, now);
        if verified.is_ok() && trust.authorities.iter().all(|authority| present.contains(authority)) {
            return Plan::Verified;
        }
        let merged = bundle::merge(bytes, trust.authorities.iter(), now);
        let text = bundle::write(&merged);
        match verified {
            // Writing what is there already would go on for ever.
            Err(reason) if text.as_bytes() == bytes => {
                Plan::Refuse(format!("the CA bundle of {name} does not verify the certificate: {reason}"))
            }
            _ => Plan::Write(text),
        }
    }

    /// Writes this one field by server-side apply; the resourceVersion makes it a compare-and-swap.
    async fn write(&self, live: &MutatingWebhookConfiguration, bundle: &str) -> kube::Result<()> {
        let patch = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": self.configuration, "resourceVersion": live.metadata.resource_version },
            "webhooks": [{
                "name": self.entry,
                "clientConfig": { "caBundle": ByteString(bundle.as_bytes().to_vec()) },
            }],
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.api.patch(&self.configuration, &params, &Patch::Apply(&patch)).await.map(drop)
    }
}

/// What the watch has shown.
#[derive(Debug)]
enum Live {
    /// Nothing yet.
    Unknown,
    /// The configuration does not exist.
    Missing,
    /// It was written; the event that shows the result has not come.
    Written,
    /// The configuration, as it is now.
    Seen(Box<MutatingWebhookConfiguration>),
}

/// Whether anything is left to do before the next event.
enum Settled {
    Done,
    TryAgain,
}

/// The state of [`Registration::keep`].
struct Keeper {
    handle: Handle,
    metrics: Metrics,
    trouble: Trouble,
    live: Live,
}

impl Keeper {
    fn see(&mut self, event: watcher::Result<Event<MutatingWebhookConfiguration>>) {
        match event {
            Ok(Event::Init) => self.live = Live::Unknown,
            Ok(Event::InitApply(live) | Event::Apply(live)) => self.live = Live::Seen(Box::new(live)),
            Ok(Event::InitDone) if matches!(self.live, Live::Unknown) => self.live = Live::Missing,
            Ok(Event::InitDone) => self.trouble.over(),
            Ok(Event::Delete(_)) => self.live = Live::Missing,
            Err(error) => {
                let reason = explain_watch(RESOURCE, &error);
                self.trouble.note(&reason);
                // What was verified stays so while nobody can look.
                if !self.handle.is_ready() {
                    self.handle.waiting(reason);
                }
            }
        }
    }

    async fn settle(&mut self, registration: &Registration, trust: Option<Arc<Trust>>) -> Settled {
        let Some(trust) = trust else { return Settled::Done };
        let live = match &self.live {
            Live::Unknown | Live::Written => return Settled::Done,
            Live::Missing => {
                self.not_synced(format!(
                    "MutatingWebhookConfiguration {} is missing",
                    registration.configuration
                ));
                return Settled::Done;
            }
            Live::Seen(live) => live,
        };
        match registration.plan(live, &trust, Timestamp::now()) {
            Plan::Verified => {
                self.metrics.bundle_is_synced(true);
                self.handle.ready();
                Settled::Done
            }
            Plan::Refuse(reason) => {
                self.trouble.note(&reason);
                self.not_synced(reason);
                Settled::Done
            }
            Plan::Write(text) => {
                let result = registration.write(live, &text).await;
                self.written(registration, result)
            }
        }
    }

    fn written(&mut self, registration: &Registration, result: kube::Result<()>) -> Settled {
        match result {
            Ok(()) => {
                self.metrics.bundle_written();
                info!(configuration = registration.configuration, "CA bundle written");
                self.not_synced(
                    "the CA bundle was written and is not seen in the live configuration yet".into(),
                );
                self.live = Live::Written;
                Settled::Done
            }
            Err(error) => {
                let reason = explain("patch", &format!("{RESOURCE} {}", registration.configuration), &error);
                // A conflict is another replica's write, whose event comes.
                if Problem::of(&error) != Problem::Conflict {
                    self.trouble.note(&reason);
                }
                self.not_synced(reason);
                Settled::TryAgain
            }
        }
    }

    fn not_synced(&self, reason: String) {
        self.metrics.bundle_is_synced(false);
        self.handle.waiting(reason);
    }
}

#[cfg(test)]
mod tests;
