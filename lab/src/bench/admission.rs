// SPDX-License-Identifier: Apache-2.0
//! What the webhook adds to the creation of a Service.

use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Service;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::gateways::{Gateways, LABEL, owner};
use super::report::{Report, Sample};
use crate::harness::Lab;
use crate::patience::{self, LONG, Look};
use crate::webhook::Webhook;

const PAIRS: usize = 1_000;
/// Pairs before those that count: connections open, the API server's expressions are compiled.
const WARM_UP: usize = 50;
/// One client, dry runs, by turns: a Service of a Gateway, which goes through the webhook, and one of nobody.
pub(super) async fn creations(
    lab: &Lab,
    webhook: &Webhook,
    gateways: &Gateways,
    report: &mut Report,
) -> anyhow::Result<()> {
    let owner = owner(&gateways.create("g".to_owned()).await?)?;
    let services: Api<Service> = Api::namespaced(lab.client(), &gateways.namespace);
    patience::until("the API server calls the webhook", LONG, async || {
        let (labelled, _) = create(&services, &owner).await?;
        Ok(if labelled { Look::Found(()) } else { Look::NotYet("no label".to_owned()) })
    })
    .await?;
    let (mut with, mut without, mut unlabelled) = (Vec::new(), Vec::new(), 0);
    for pair in 0..WARM_UP + PAIRS {
        let (labelled, took) = create(&services, &owner).await?;
        let (_, took_without) = create(&services, &json!([])).await?;
        if pair >= WARM_UP {
            unlabelled += usize::from(!labelled);
            with.push(took);
            without.push(took_without);
        }
    }
    let (with, without) = (Sample::new(with), Sample::new(without));
    report.row(["Service create (dry run, 1 client) with the webhook", &with.fine_millis(), "", ""])?;
    report.row(["the same without it, by turns", &without.fine_millis(), "", ""])?;
    let added = (with.median().as_secs_f64() - without.median().as_secs_f64()) * 1e3;
    let peers = "Go controller-runtime +1.4, metadata only +1.1 ms";
    report.row(["added, difference of the medians", &format!("{added:+.2} ms"), "≤ +0.8 ms", peers])?;
    let own = format!("{:.3} ms", own_time(webhook).await?.as_secs_f64() * 1e3);
    report.row(["of that, in the webhook (mean, by its own metric)", &own, "", ""])?;
    report.row(["Services left without labels", &unlabelled.to_string(), "0", ""])
}

/// The mean time from a review's head to its response, of all reviews so far.
async fn own_time(webhook: &Webhook) -> anyhow::Result<Duration> {
    let metrics = webhook.get("/metrics").await?.body;
    let [mut seconds, mut reviews] = [0.0, 0.0];
    for line in metrics.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        match series.split('{').next() {
            Some("gateherald_webhook_review_duration_seconds_sum") => seconds += value.parse::<f64>()?,
            Some("gateherald_webhook_review_duration_seconds_count") => reviews += value.parse::<f64>()?,
            _ => {}
        }
    }
    Duration::try_from_secs_f64(seconds / reviews).context("no review in /metrics")
}

/// Whether the Service came back with the Gateway's label, and how long it took.
async fn create(services: &Api<Service>, owners: &Value) -> anyhow::Result<(bool, Duration)> {
    let service = serde_json::from_value(json!({
        "metadata": { "name": "s", "ownerReferences": owners },
        "spec": { "type": "ClusterIP", "ports": [{ "port": 80 }] },
    }))?;
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let start = Instant::now();
    let service = services.create(&dry_run, &service).await?;
    Ok((service.labels().contains_key(LABEL), start.elapsed()))
}
