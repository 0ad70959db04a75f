// SPDX-License-Identifier: Apache-2.0
//! What the webhook adds to the creation of a Service.

use anyhow::Context;
use k8s_openapi::api::core::v1::Service;
use kube::api::{DynamicObject, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::report::{Report, Sample};
use crate::harness::Lab;
use crate::standin::gateway_controller::gateway_resource;

const CREATIONS: usize = 400;

/// One client, dry runs, by turns: a Service of a Gateway, which goes through the webhook, and one that does not.
pub(super) async fn creations(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let namespace = lab.namespace("bench-admission").await?;
    let gateways: Api<DynamicObject> = Api::namespaced_with(lab.client(), &namespace, &gateway_resource());
    let gateway = serde_json::from_value(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "g", "labels": {"mdhlabs-arp": "enable", "team": "edge"}},
        "spec": {"gatewayClassName": "none", "listeners": [{"name": "http", "protocol": "HTTP", "port": 80}]},
    }))?;
    let gateway = gateways.create(&PostParams::default(), &gateway).await?;
    let owner = json!([{
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "g",
        "uid": gateway.uid().context("the Gateway has a uid")?, "controller": true,
    }]);
    let services: Api<Service> = Api::namespaced(lab.client(), &namespace);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let mut unlabelled = 0;
    for _ in 0..CREATIONS {
        let (service, took) = create(&services, &owner).await?;
        unlabelled += usize::from(!service.labels().contains_key("mdhlabs-arp"));
        with.push(took);
        without.push(create(&services, &json!([])).await?.1);
    }
    let (with, without) = (Sample::new(with), Sample::new(without));
    report.row("Service create (dry run, 1 client) with the webhook", &with.millis(), "");
    report.row("the same without, by turns", &without.millis(), "");
    let added = with.median().as_secs_f64() - without.median().as_secs_f64();
    report.row("added at the median", &format!("{:+.2} ms", added * 1e3), "≤ +0.8 ms");
    report.row("left without labels", &unlabelled.to_string(), "0");
    Ok(())
}

async fn create(services: &Api<Service>, owners: &Value) -> anyhow::Result<(Service, std::time::Duration)> {
    let service = serde_json::from_value(json!({
        "metadata": {"name": "s", "ownerReferences": owners},
        "spec": {"type": "ClusterIP", "ports": [{"port": 80}]},
    }))?;
    let start = Instant::now();
    let service = services.create(&PostParams { dry_run: true, ..PostParams::default() }, &service).await?;
    Ok((service, start.elapsed()))
}
