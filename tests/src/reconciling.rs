// SPDX-License-Identifier: Apache-2.0
//! What the suites about the reconciler share: its leader, its writes as the API server recorded them, its Events.

use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::{Lab, Webhook, chart};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;

use crate::gateways::Shop;
use crate::metrics::until_count;

/// The reconciler's field manager.
pub const MANAGER: &str = "gateherald-webhook-reconciler";
/// The leader's Lease.
pub const LEASE: &str = "gateherald-webhook-leader";
/// Who reports its Events.
const REPORTER: &str = "gateherald.io/webhook";
/// Takeovers within seconds.
pub const QUICK: [&str; 4] = ["--leader-lease-duration", "3", "--leader-renew-period", "1"];

/// Waits until this replica leads.
///
/// # Errors
/// When it does not within a minute.
pub async fn until_leader(webhook: &Webhook) -> anyhow::Result<()> {
    until_count(webhook, "leader", |leader| leader > 0).await
}

/// Waits until this replica has decided about everything that it found.
///
/// # Errors
/// When it has not within a minute.
pub async fn until_settled(webhook: &Webhook) -> anyhow::Result<()> {
    webhook.process().log_line(LONG, |line| line.contains("everything is known that decides")).await?;
    until_count(webhook, "reconciler_queue_length", |queued| queued == 0).await
}

/// Who holds the Lease.
///
/// # Errors
/// Those of the API server.
pub async fn holder(lab: &Lab) -> anyhow::Result<Option<String>> {
    let lease = Api::<Lease>::namespaced(lab.client(), chart::NAMESPACE).get_opt(LEASE).await?;
    Ok(lease.and_then(|lease| lease.spec?.holder_identity).filter(|holder| !holder.is_empty()))
}

/// A write of the reconciler's that the API server accepted. It may have changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patched {
    /// The replica's address.
    pub by: String,
    /// The Service.
    pub service: String,
}

/// The reconciler's writes to a namespace's Services as the API server recorded them.
///
/// # Errors
/// When its audit log cannot be read.
pub fn patches(shop: &Shop<'_>) -> anyhow::Result<Vec<Patched>> {
    let log = std::fs::read_to_string(shop.lab.control_plane().audit_log())?;
    let parse = |line: &str| serde_json::from_str::<Value>(line).ok();
    let ours = log.lines().filter_map(parse).filter(|record| {
        let uri = record["requestURI"].as_str().unwrap_or_default();
        record["verb"] == "patch"
            && uri.contains(&format!("fieldManager={MANAGER}"))
            && record["objectRef"]["namespace"] == shop.namespace.as_str()
            && record["responseStatus"]["code"] == 200
    });
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let patched = |record: Value| Patched {
        by: text(&record["sourceIPs"][0]),
        service: text(&record["objectRef"]["name"]),
    };
    Ok(ours.map(patched).collect())
}

/// What the webhook told about a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The Event's reason.
    pub reason: String,
    /// Its message.
    pub message: String,
    /// How often.
    pub count: i32,
}

/// The webhook's Events about a Service, the oldest first; others report about Services too.
///
/// # Errors
/// Those of the API server.
pub async fn events(shop: &Shop<'_>, service: &str) -> anyhow::Result<Vec<Told>> {
    let api: Api<Event> = Api::namespaced(shop.lab.client(), &shop.namespace);
    let mut found = api.list(&ListParams::default()).await?.items;
    found.retain(|event| {
        let regarding = event.regarding.as_ref().and_then(|regarding| regarding.name.as_deref());
        event.reporting_controller.as_deref() == Some(REPORTER) && regarding == Some(service)
    });
    found.sort_by_key(|event| event.event_time.clone());
    let told = |event: Event| Told {
        count: event.series.map_or(1, |series| series.count),
        reason: event.reason.unwrap_or_default(),
        message: event.note.unwrap_or_default(),
    };
    Ok(found.into_iter().map(told).collect())
}

/// Waits for an Event of the webhook's about a Service; returns its message.
///
/// # Errors
/// When there is none within a minute.
pub async fn until_event(shop: &Shop<'_>, service: &str, reason: &str) -> anyhow::Result<String> {
    until(&format!("an Event {reason} on {service}"), LONG, async || {
        let all = events(shop, service).await?;
        let found = all.iter().find(|told| told.reason == reason).map(|told| told.message.clone());
        Ok(found.map_or(Look::NotYet(format!("{all:?}")), Look::Found))
    })
    .await
}
