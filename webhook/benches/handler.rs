// SPDX-License-Identifier: Apache-2.0
//! One review inside the process, by the number of the Gateway's labels and of Gateways in the cache: from the request's
//! bytes to the response's, without TLS and HTTP. Prints rows of a table for `docs/performance.md`.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::{collections::HashMap, hint::black_box, sync::Arc};

use gateherald_model::{owner::Gateway, rules::Rules};
use gateherald_webhook::{
    audit::Trail,
    budget::Budget,
    handler::{Ask, Handler},
    io::gateways::Gateways,
    metrics::Metrics,
    review::Review,
};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Duration, Instant},
};

const REVIEWS: usize = 20_000;
const WARM_UP: usize = 1_000;
const NAMESPACES: usize = 100;

/// Every Gateway is in the cache.
struct NoApi;

impl Ask for NoApi {
    async fn ask(&self, _: &Rules, _: &str, _: &str) -> Result<Option<Gateway>, String> {
        Err("nobody to ask".into())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    for (labels, cached) in [(1, 1), (10, 1), (100, 1), (10, 1_000), (10, 10_000)] {
        let (handler, lines) = handler(labels, cached);
        let drain = tokio::spawn(lines.write_to(tokio::io::sink()));
        let body = review()?;
        let mut took = Vec::with_capacity(REVIEWS);
        for number in 0..WARM_UP + REVIEWS {
            let start = Instant::now();
            let review = Review::decode(&body)?;
            let answer = handler.answer(&review, Budget::of(Some("timeout=3s"), start)).await;
            anyhow::ensure!(answer.is_ok(), "the cache counts as synced");
            drop(black_box(answer));
            if number >= WARM_UP {
                took.push(start.elapsed());
            }
            // Audit lines are written by their own task.
            if number % 256 == 0 {
                tokio::task::yield_now().await;
            }
        }
        took.sort_unstable();
        let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
        let (p50, p99) = (micros(took[REVIEWS / 2]), micros(took[REVIEWS * 99 / 100]));
        println!(
            "| handler, {labels} × label, {cached} × Gateway cached | p50 {p50:.1}, p99 {p99:.1} µs (n = {REVIEWS}) |  |  |"
        );
        drop(handler);
        drain.await??;
    }
    Ok(())
}

/// A handler that knows `cached` Gateways with `labels` labels each.
fn handler(labels: usize, cached: usize) -> (Handler<NoApi>, gateherald_webhook::audit::Lines) {
    let metrics = Metrics::register(&mut Registry::default());
    let (trail, lines) = Trail::new(false, metrics.clone());
    let labels = (0..labels).map(|number| (format!("example.com/label-{number}"), format!("value-{number}")));
    let gateway =
        Gateway { uid: "uid-of-the-gateway".into(), labels: labels.collect(), ..Gateway::default() };
    let mut known: HashMap<String, HashMap<String, Arc<Gateway>>> = HashMap::new();
    for number in 0..cached {
        let namespace = format!("ns-{}", number % NAMESPACES);
        known
            .entry(namespace)
            .or_default()
            .insert(format!("gw-{}", number / NAMESPACES), Arc::new(gateway.clone()));
    }
    let gateways = Arc::new(Gateways::default());
    gateways.replace(known);
    let synced = watch::Sender::new(true).subscribe();
    let rules = watch::Sender::new(Arc::new(Rules::default())).subscribe();
    (Handler { rules, gateways, synced, ask: NoApi, trail, metrics }, lines)
}

/// The CREATE of the Service that Cilium's controller generates.
fn review() -> serde_json::Result<Vec<u8>> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "6e9a6b1c-7a43-4f6e-9d5b-0f1c2d3e4f50", "operation": "CREATE", "namespace": "ns-0",
            "kind": { "group": "", "version": "v1", "kind": "Service" },
            "userInfo": { "username": "system:serviceaccount:kube-system:cilium-operator" },
            "object": {
                "apiVersion": "v1", "kind": "Service",
                "metadata": {
                    "name": "cilium-gateway-gw-0", "namespace": "ns-0",
                    "labels": { "io.cilium.gateway/owning-gateway": "gw-0" },
                    "ownerReferences": [{
                        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "gw-0",
                        "uid": "uid-of-the-gateway", "controller": true,
                    }],
                },
                "spec": { "type": "LoadBalancer", "ports": [{ "name": "port-80", "port": 80, "protocol": "TCP" }] },
                "status": { "loadBalancer": {} },
            },
        },
    });
    serde_json::to_vec(&review)
}
