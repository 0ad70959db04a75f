// SPDX-License-Identifier: Apache-2.0
//! The questions that need more than read rights: each is asked if it may be, and says which right it lacks if not.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context;
use futures::future::join_all;
use gateherald_model::{
    injection::{Knowledge, decide},
    metadata::{LabelMap, Metadata},
    owner::{GATEWAY_GROUP, GATEWAY_KIND},
};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{Api, Client, api::PostParams};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use serde_json::json;
use tokio_rustls::TlsConnector;

use super::{
    cluster::Cluster,
    forward,
    lists::{get, said},
};
use crate::{
    picture::Picture,
    snapshot::{
        Gap, Named, Snapshot,
        objects::{AnnouncerPage, component},
        questions::{DryRun, Questions, Served},
    },
};

const ENTRY: &str = "services.gateherald.io";
const FAIL_OPEN: &str = "apiserver_admission_webhook_fail_open_count";
const ADMISSION_PORT: u16 = 8443;
const DEBUG_PORT: u16 = 9472;
const HANDSHAKE: Duration = Duration::from_secs(5);
/// So many announcers are asked at once, and no more: they would all say the same.
const MOST_ANNOUNCERS: usize = 32;

/// Asks everything that `check` wants to know.
pub(crate) async fn questions(cluster: &Cluster, picture: &Picture<'_>) -> Questions {
    let (fail_open, dry_run, served) = tokio::join!(
        fail_open(&cluster.client),
        dry_run(cluster, picture),
        served(&cluster.client, picture.snapshot),
    );
    Questions { version: picture.snapshot.questions.version.clone(), fail_open, dry_run, served }
}

fn gap(right: &str, what: &str, error: &kube::Error) -> Gap {
    match error {
        kube::Error::Api(status) if status.code == 403 => Gap::Denied(right.to_owned()),
        error => Gap::Failed(what.to_owned(), said(error)),
    }
}

async fn fail_open(client: &Client) -> Result<u64, Gap> {
    let text = get(client, "/metrics")
        .await
        .map_err(|error| gap("get /metrics", "read the API server's metrics", &error))?;
    let ours = text.lines().filter(|line| line.starts_with(FAIL_OPEN) && line.contains(ENTRY));
    let counts = ours.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter is a whole number")]
    Ok(counts.sum::<f64>() as u64)
}

/// Creates a Service of a Gateway as a dry run: everything happens but the write.
async fn dry_run(cluster: &Cluster, picture: &Picture<'_>) -> Result<DryRun, Gap> {
    let expects = |(key, facts): (&(String, String), &crate::picture::GatewayFacts<'_>)| {
        let owner = json!({
            "apiVersion": format!("{GATEWAY_GROUP}/v1"), "kind": GATEWAY_KIND, "name": key.1, "uid": facts.gateway.uid,
        });
        let metadata =
            json!({ "generateName": "gateherald-check-", "namespace": key.0, "ownerReferences": [owner] });
        let service: Metadata = serde_json::from_value(metadata.clone()).ok()?;
        let decision = decide(&picture.settings.rules, &service, None, Knowledge::Exists(&facts.gateway));
        let expected = decision.labels.injected;
        (!expected.is_empty() && !facts.gateway.deleting).then(|| (key.clone(), metadata, expected))
    };
    let first = picture.gateways.iter().find_map(expects);
    let Some((gateway, metadata, expected)) = first else {
        let why = "no Gateway has a label that would be injected".to_owned();
        return Err(Gap::Failed("try it".to_owned(), why));
    };
    let object = json!({ "metadata": metadata, "spec": { "ports": [{ "port": 80 }] } });
    let service: Service = serde_json::from_value(object)
        .map_err(|error| Gap::Failed("try it".to_owned(), error.to_string()))?;
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), &gateway.0);
    let params = PostParams { dry_run: true, field_manager: Some("kubectl-gateherald".to_owned()) };
    let right = format!("create services in namespace {} (dry run)", gateway.0);
    let made = services.create(&params, &service).await;
    let made = made.map_err(|error| gap(&right, "create a Service as a dry run", &error))?;
    let got: LabelMap = made.metadata.labels.unwrap_or_default();
    Ok(DryRun { gateway, expected, got })
}

/// A TLS handshake with each webhook replica, against the CA bundle that the API server goes by.
async fn served(client: &Client, snapshot: &Snapshot) -> Result<Vec<Served>, Gap> {
    let entry = snapshot
        .registrations
        .items
        .iter()
        .flat_map(|c| c.webhooks.iter().flatten())
        .find(|e| e.name == ENTRY);
    let missing = |why: &str| Gap::Failed("ask the webhook".to_owned(), why.to_owned());
    let entry = entry.ok_or_else(|| missing("it is not registered"))?;
    let bundle = entry.client_config.ca_bundle.as_ref().map(|bundle| bundle.0.clone()).unwrap_or_default();
    let service = entry.client_config.service.as_ref().ok_or_else(|| missing("it is registered by URL"))?;
    let name = format!("{}.{}.svc", service.name, service.namespace);
    // The others get no calls.
    let replicas =
        snapshot.pods.items.iter().filter(|pod| component(pod) == Some("webhook") && is_ready(pod));
    let pods: Vec<&Pod> = replicas.collect();
    if pods.is_empty() {
        return Err(snapshot.pods.gap.clone().unwrap_or_else(|| missing("no webhook pod is ready")));
    }
    let answers =
        join_all(pods.into_iter().map(async |pod| handshake(client, pod, &bundle, &name).await)).await;
    answers.into_iter().collect()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn handshake(client: &Client, pod: &Pod, bundle: &[u8], name: &str) -> Result<Served, Gap> {
    let (namespace, pod_name) = pod.key();
    let right = format!("{} in namespace {namespace}", forward::RIGHT);
    let stream = forward::connect(client, namespace, pod_name, ADMISSION_PORT);
    let stream = stream.await.map_err(|error| gap(&right, "forward a port of the webhook", &error))?;
    let leaf = tokio::time::timeout(HANDSHAKE, shake(stream, bundle, name)).await;
    let leaf = leaf.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")));
    Ok(Served { pod: pod.full_name(), leaf: leaf.map_err(|error| format!("{error:#}")) })
}

async fn shake(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    bundle: &[u8],
    name: &str,
) -> anyhow::Result<Vec<u8>> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::parse_many(bundle).context("the CA bundle is not PEM")? {
        roots.add(certificate.into_contents().into()).context("the CA bundle")?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(name.to_owned())?;
    let tls = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (_, connection) = tls.get_ref();
    let leaf = connection.peer_certificates().and_then(<[_]>::first).context("it showed no certificate")?;
    Ok(leaf.to_vec())
}

/// What the announcers on these nodes say themselves; those that cannot be asked say nothing.
pub(crate) async fn announcers(cluster: &Cluster, nodes: &BTreeSet<String>) -> Vec<AnnouncerPage> {
    let selector = "app.kubernetes.io/component=announcer";
    let pods: Api<Pod> = Api::all(cluster.client.clone());
    let Ok(pods) = pods.list(&kube::api::ListParams::default().labels(selector)).await else {
        return Vec::new();
    };
    let on_node = |pod: &&Pod| {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
        component(pod).is_some() && node.is_some_and(|node| nodes.contains(node))
    };
    let asked = pods.items.iter().filter(on_node).take(MOST_ANNOUNCERS).map(async |pod| {
        let (namespace, name) = pod.key();
        let page = forward::get(&cluster.client, namespace, name, DEBUG_PORT, "/vips").await.ok()?;
        serde_json::from_str::<AnnouncerPage>(&page).ok()
    });
    let mut pages: Vec<AnnouncerPage> = join_all(asked).await.into_iter().flatten().collect();
    pages.sort_by(|a, b| a.node.cmp(&b.node));
    pages
}
