// SPDX-License-Identifier: Apache-2.0
//! The admission port under load, without an API server in between: TLS 1.3, HTTP/1.1 with kept-alive connections, as the API
//! server calls it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::future::try_join_all;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Api;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::gateways::{Gateways, owner};
use super::report::{Report, Sample};
use super::usage::cpu_time;
use crate::chart::NAMESPACE;
use crate::harness::Lab;
use crate::webhook::{ADMISSION_PORT, WEBHOOK, Webhook};

/// Reviews per number of connections.
const REVIEWS: usize = 40_000;
/// Reviews per connection before those that count.
const WARM_UP: usize = 100;

/// Throughput, latency and the webhook's CPU time at 1, 8 and 32 connections.
pub(super) async fn direct(
    lab: &Lab,
    webhook: &Webhook,
    gateways: &Gateways,
    report: &mut Report,
) -> anyhow::Result<()> {
    let request = request(gateways).await?;
    let connector = connector(lab).await?;
    for connections in [1, 8, 32] {
        let each = REVIEWS / connections;
        let mut lines = try_join_all((0..connections).map(|_| Line::open(webhook, &connector))).await?;
        try_join_all(lines.iter_mut().map(|line| line.ask(&request, WARM_UP))).await?;
        let (before, start) = (cpu_time(webhook.process())?, Instant::now());
        // A task each, so that clients use both cores.
        let tasks = lines.into_iter().map(|mut line| {
            let request = request.clone();
            tokio::spawn(async move { line.ask(&request, each).await })
        });
        let mut took = Vec::with_capacity(REVIEWS);
        for task in tasks.collect::<Vec<_>>() {
            took.extend(task.await??);
        }
        let (elapsed, cpu) = (start.elapsed(), cpu_time(webhook.process())?.saturating_sub(before));
        let count = u32::try_from(took.len())?;
        let (target, peers) = match connections {
            8 => {
                ("p50 ≤ 0.4, p99 ≤ 2 ms", "Go controller-runtime p50 1.3, p99 17; metadata only 0.85, 7.5 ms")
            }
            _ => ("", ""),
        };
        let what = format!("review over TLS, {connections} × connection");
        report.row([&what, &Sample::new(took).fine_millis(), target, peers])?;
        let rate = format!("{:.0}", f64::from(count) / elapsed.as_secs_f64());
        report.row([&format!("reviews per second, {connections} × connection"), &rate, "", ""])?;
        let per_cpu = f64::from(count) / cpu.as_secs_f64();
        let figure = format!("{per_cpu:.0} ({:.1} ms per 1,000)", 1e6 / per_cpu);
        let what = format!("reviews per CPU second of the webhook, {connections} × connection");
        report.row([&what, &figure, "≥ 25,000", "Go controller-runtime 3,850; metadata only 6,960"])?;
    }
    Ok(())
}

/// The CREATE of a Service, as the API server sends it, in one HTTP request.
async fn request(gateways: &Gateways) -> anyhow::Result<Arc<[u8]>> {
    let gateway = gateways.create("direct".to_owned()).await?;
    let controller = json!({
        "manager": "cilium-operator", "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": { "f:metadata": { "f:labels": {}, "f:ownerReferences": {} }, "f:spec": {
            "f:allocateLoadBalancerNodePorts": {}, "f:ports": {}, "f:sessionAffinity": {}, "f:type": {} } },
    });
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "6e9a6b1c-7a43-4f6e-9d5b-0f1c2d3e4f50", "operation": "CREATE", "dryRun": false,
            "kind": { "group": "", "version": "v1", "kind": "Service" },
            "resource": { "group": "", "version": "v1", "resource": "services" },
            "name": "cilium-gateway-direct", "namespace": gateways.namespace,
            "userInfo": { "username": "system:serviceaccount:kube-system:cilium-operator", "groups": ["system:authenticated"] },
            "object": {
                "apiVersion": "v1", "kind": "Service",
                "metadata": {
                    "name": "cilium-gateway-direct", "namespace": gateways.namespace,
                    "labels": {
                        "io.cilium.gateway/owning-gateway": "direct", "gateway.networking.k8s.io/gateway-name": "direct",
                    },
                    "ownerReferences": owner(&gateway)?, "managedFields": [controller],
                },
                "spec": {
                    "type": "LoadBalancer", "sessionAffinity": "None", "externalTrafficPolicy": "Cluster",
                    "ports": [{ "name": "port-80", "port": 80, "protocol": "TCP", "targetPort": 80 }],
                },
                "status": { "loadBalancer": {} },
            },
            "oldObject": null, "options": { "apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions" },
        },
    });
    let body = serde_json::to_vec(&review)?;
    let head = format!(
        "POST /mutate?timeout=3s HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        server_name(),
        body.len()
    );
    Ok([head.into_bytes(), body].concat().into())
}

fn server_name() -> String {
    format!("{WEBHOOK}.{NAMESPACE}.svc")
}

/// Trusts what the API server trusts.
async fn connector(lab: &Lab) -> anyhow::Result<TlsConnector> {
    let registrations: Api<MutatingWebhookConfiguration> = Api::all(lab.client());
    let registration = registrations.get(WEBHOOK).await?;
    let entry = registration.webhooks.into_iter().flatten().next().context("no entry")?;
    let bundle = entry.client_config.ca_bundle.context("no CA bundle")?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bundle.0) {
        roots.add(certificate?)?;
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// One kept-alive connection, one review at a time.
struct Line {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Line {
    async fn open(webhook: &Webhook, connector: &TlsConnector) -> anyhow::Result<Self> {
        let stream = TcpStream::connect((webhook.address(), ADMISSION_PORT)).await?;
        stream.set_nodelay(true)?;
        let stream = connector.connect(ServerName::try_from(server_name())?, stream).await?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// How long each of `count` reviews took.
    async fn ask(&mut self, request: &[u8], count: usize) -> anyhow::Result<Vec<Duration>> {
        let mut took = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            self.stream.write_all(request).await?;
            self.stream.flush().await?;
            self.answer().await?;
            took.push(start.elapsed());
        }
        Ok(took)
    }

    /// Reads one response; it must be a patch.
    async fn answer(&mut self) -> anyhow::Result<()> {
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await?;
            anyhow::ensure!(read > 0, "the webhook closed the connection");
            let Some(head) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            let text = std::str::from_utf8(&self.buffer[..head])?.to_ascii_lowercase();
            let length =
                text.lines().find_map(|line| line.strip_prefix("content-length: ")).context("no length")?;
            if self.buffer.len() < head + 4 + length.trim().parse::<usize>()? {
                continue;
            }
            let patched = self.buffer.windows(9).any(|window| window == b"JSONPatch");
            anyhow::ensure!(
                text.starts_with("http/1.1 200") && patched,
                "{}",
                String::from_utf8_lossy(&self.buffer)
            );
            return Ok(());
        }
    }
}
