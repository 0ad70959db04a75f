// SPDX-License-Identifier: Apache-2.0
//! Our entry in the live `MutatingWebhookConfiguration`: watched, and its CA bundle kept so that it verifies our leaf.
#![allow(clippy::disallowed_methods, reason = "certificates are valid by the time of day")]

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use gateherald_runtime::{
    backoff::Backoff,
    follow::{News, Span, Subject, follow},
    kubernetes::{Problem, Trouble},
    readiness::Handle,
    request::{ATTEMPT, RequestError, limited},
    shutdown::Shutdown,
    tasks::TaskResult,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{ByteString, api::admissionregistration::v1::MutatingWebhookConfiguration};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use rustls_pki_types::CertificateDer;
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::info;

use crate::{bundle, metrics::Metrics, rotation::LOOK_AGAIN, serving::Trust, sightings::Sightings};

/// The resource as RBAC and people name it.
const RESOURCE: &str = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
/// Who we are in the field's managedFields.
const FIELD_MANAGER: &str = "gateherald-webhook";
/// Annotations by which cert-manager's injector owns the bundle.
const INJECTED_BY_OTHERS: &str = "cert-manager.io/inject-";

/// Since when the live bundle has held each CA.
pub(crate) type Live = Sightings<CertificateDer<'static>, Instant>;

/// Who writes the live bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// This program.
    Us,
    /// Somebody else: it is only looked at.
    Others,
}

/// Our entry, and who we are.
#[derive(Clone, Debug)]
pub struct Registration {
    api: Api<MutatingWebhookConfiguration>,
    configuration: String,
    entry: String,
    server_name: String,
    writer: Writer,
}

/// A live configuration compared with what it should be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Whether the bundle verifies what is served; if not, why.
    pub(crate) verified: Result<(), String>,
    /// The bundle to write, if it should be another.
    pub(crate) write: Option<String>,
}

impl Registration {
    /// Names our entry, and the server name under which the API server calls us. Sends nothing.
    pub fn new(client: Client, configuration: &str, entry: &str, server_name: &str, writer: Writer) -> Self {
        Self {
            api: Api::all(client),
            configuration: configuration.to_owned(),
            entry: entry.to_owned(),
            server_name: server_name.to_owned(),
            writer,
        }
    }

    /// Watches the configuration, tells what is in its bundle, and keeps that right, until the process stops.
    pub(crate) async fn keep(
        self,
        mut trust: watch::Receiver<Trust>,
        live: watch::Sender<Option<Arc<Live>>>,
        handle: Handle,
        metrics: Metrics,
        shutdown: Shutdown,
    ) -> TaskResult {
        let mut news = self.news();
        let mut keeper = Keeper::new(self, live, handle, metrics);
        let mut backoff = Backoff::default();
        loop {
            let wanted = trust.borrow_and_update().clone();
            let settled = tokio::select! {
                biased;
                // A write that is under way is left to the API server: it is done once or not at all.
                () = shutdown.stopping() => return Ok(()),
                settled = keeper.settle(&wanted) => settled,
            };
            let wait = if settled {
                backoff.reset();
                until_over(&wanted)
            } else {
                backoff.pause()
            };
            tokio::select! {
                // First: the sender of `trust` goes too when the process stops.
                biased;
                () = shutdown.stopping() => return Ok(()),
                Some(news) = news.next() => keeper.see(news),
                changed = trust.changed() => changed?,
                () = sleep(wait) => {}
            }
        }
    }

    fn news(&self) -> BoxStream<'static, News<MutatingWebhookConfiguration>> {
        let (api, only) = (self.api.clone(), Some(self.configuration.clone()));
        follow(Subject { api, name: RESOURCE, only, pauses: Backoff::default(), span: Span::long() }, None)
    }

    /// The bundle of our entry; the text says why there is none to speak of.
    fn bundle<'a>(&self, live: &'a MutatingWebhookConfiguration) -> Result<&'a [u8], String> {
        let entries = live.webhooks.iter().flatten();
        match entries.into_iter().find(|entry| entry.name == self.entry) {
            Some(entry) => Ok(entry.client_config.ca_bundle.as_ref().map_or(&[][..], |bundle| &bundle.0)),
            None => Err(format!("{} has no entry {}", self.configuration, self.entry)),
        }
    }

    /// Pure but for the crypto provider: compares a live configuration with what must be trusted.
    pub(crate) fn judge(
        &self,
        live: &MutatingWebhookConfiguration,
        trust: &Trust,
        now: Timestamp,
    ) -> Verdict {
        let refuse = |reason: String| Verdict { verified: Err(reason), write: None };
        let name = &self.configuration;
        let annotations = live.metadata.annotations.iter().flatten();
        let injected = annotations.into_iter().find(|(key, _)| key.starts_with(INJECTED_BY_OTHERS));
        if let (Writer::Us, Some((key, _))) = (self.writer, injected) {
            return refuse(format!("{name} carries {key}: its CA bundle is cert-manager's to write"));
        }
        let bytes = match self.bundle(live) {
            Ok(bytes) => bytes,
            Err(reason) => return refuse(reason),
        };
        let verified = bundle::verifies(bytes, &trust.chain, &self.server_name, now)
            .map_err(|reason| format!("the CA bundle of {name} does not verify the certificate: {reason}"));
        let write = match self.writer {
            Writer::Us => due(bytes, trust, verified.is_ok(), now),
            Writer::Others => None,
        };
        Verdict { verified, write }
    }

    /// Writes this one field by server-side apply; the resourceVersion makes it a compare-and-swap. Has a limit.
    async fn write(&self, live: &MutatingWebhookConfiguration, bundle: &str) -> Result<(), RequestError> {
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
        limited(ATTEMPT, self.api.patch(&self.configuration, &params, &Patch::Apply(&patch))).await.map(drop)
    }
}

/// The bundle to write in place of `bytes`; `None` when nothing is wrong with it that writing could cure.
fn due(bytes: &[u8], trust: &Trust, verified: bool, now: Timestamp) -> Option<String> {
    let present = bundle::read(bytes);
    let complete = trust.required.iter().all(|ca| present.contains(ca))
        && !trust.retired.iter().any(|ca| present.contains(ca));
    if verified && complete {
        return None;
    }
    let text = bundle::write(&bundle::merge(bytes, &trust.required, &trust.retired, now));
    // Writing what is there already would go on for ever.
    (text.as_bytes() != bytes).then_some(text)
}

/// What the watch has shown.
#[derive(Debug)]
enum Seen {
    /// Nothing yet.
    Unknown,
    /// The configuration does not exist.
    Missing,
    /// The configuration, as it is now.
    Present(Box<MutatingWebhookConfiguration>),
    /// As it was, until the event that shows the own write.
    Written(Box<MutatingWebhookConfiguration>),
}

/// The state of [`Registration::keep`].
struct Keeper {
    registration: Registration,
    sightings: watch::Sender<Option<Arc<Live>>>,
    handle: Handle,
    metrics: Metrics,
    /// Of the watch.
    watching: Trouble,
    /// With what the configuration says, or of writing it.
    trouble: Trouble,
    seen: Seen,
}

impl Keeper {
    fn new(
        registration: Registration,
        sightings: watch::Sender<Option<Arc<Live>>>,
        handle: Handle,
        metrics: Metrics,
    ) -> Self {
        Self {
            registration,
            sightings,
            handle,
            metrics,
            watching: Trouble::new("watch of the registration"),
            trouble: Trouble::new("registration"),
            seen: Seen::Unknown,
        }
    }

    fn see(&mut self, news: News<MutatingWebhookConfiguration>) {
        match news {
            News::All(all, _) => self.see_live(all.into_iter().next()),
            News::Applied(live) => self.see_live(Some(live)),
            News::Deleted(_) => self.see_live(None),
            News::Connected => self.watching.over(),
            News::Failed(_, reason) => {
                self.watching.note(&reason);
                // What was verified stays so while nobody can look.
                if !self.handle.is_ready() {
                    self.handle.waiting(reason);
                }
            }
            News::UpTo(_) | News::Interrupted => {}
        }
    }

    fn see_live(&mut self, live: Option<MutatingWebhookConfiguration>) {
        let bundle = live.as_ref().and_then(|live| self.registration.bundle(live).ok());
        self.look(bundle.unwrap_or_default());
        self.seen = live.map_or(Seen::Missing, |live| Seen::Present(Box::new(live)));
    }

    /// Every bundle that was live counts, however short: some API server may still go by it.
    fn look(&self, bundle: &[u8]) {
        self.sightings.send_modify(|live| {
            let before = live.clone().unwrap_or_default();
            *live = Some(Arc::new(before.look(bundle::read(bundle), Instant::now())));
        });
    }

    /// Whether nothing is left to do before the next event.
    async fn settle(&mut self, trust: &Trust) -> bool {
        if trust.chain.is_empty() {
            return true;
        }
        let live = match &self.seen {
            Seen::Unknown => return true,
            Seen::Missing => {
                let name = &self.registration.configuration;
                let reason = format!("MutatingWebhookConfiguration {name} is missing");
                self.trouble.note(&reason);
                self.not_synced(reason);
                return true;
            }
            Seen::Present(live) | Seen::Written(live) => live,
        };
        let Verdict { verified, write } = self.registration.judge(live, trust, Timestamp::now());
        match (verified, &write) {
            (Ok(()), write) => {
                if write.is_none() {
                    self.trouble.over();
                }
                self.metrics.bundle_is_synced(true);
                self.handle.ready();
            }
            (Err(_), Some(_)) => self.not_synced("the CA bundle is about to be written".into()),
            (Err(reason), None) => {
                self.trouble.note(&reason);
                self.not_synced(reason);
            }
        }
        match write {
            Some(text) if matches!(self.seen, Seen::Present(_)) => self.write(&text).await,
            _ => true,
        }
    }

    async fn write(&mut self, text: &str) -> bool {
        let Seen::Present(live) = &self.seen else { return true };
        match self.registration.write(live, text).await {
            Ok(()) => {
                let cas = bundle::read(text.as_bytes()).len();
                info!(configuration = self.registration.configuration, cas, "CA bundle written");
                self.metrics.bundle_written();
                self.trouble.over();
                self.seen = Seen::Written(live.clone());
                true
            }
            Err(error) => {
                let resource = format!("{RESOURCE} {}", self.registration.configuration);
                let reason = error.explain("patch", &resource);
                // A conflict is another replica's write, whose event comes.
                if error.problem() != Problem::Conflict {
                    self.trouble.note(&reason);
                }
                if !self.handle.is_ready() {
                    self.not_synced(reason);
                }
                false
            }
        }
    }

    fn not_synced(&self, reason: String) {
        self.metrics.bundle_is_synced(false);
        self.handle.waiting(reason);
    }
}

/// Until the served certificate may have expired, and no longer than a minute: clocks are set now and then.
fn until_over(trust: &Trust) -> Duration {
    let over = trust.chain.first().and_then(bundle::validity).map(|validity| validity.not_after);
    let left = over.map_or(LOOK_AGAIN, |over| Timestamp::now().duration_until(over));
    let left = if left.is_negative() { LOOK_AGAIN } else { left + SignedDuration::from_secs(1) };
    left.min(LOOK_AGAIN).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests;
