// SPDX-License-Identifier: Apache-2.0
//! What the suites about certificates share: the CA's Secret, the live bundle, certificates made by hand, handshakes, and
//! Services that are created all the while.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::future::join_all;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::{Lab, Webhook, chart};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;

use crate::gateways::{Shop, owned_by, service};

/// The CA's Secret.
pub const SECRET: &str = "gateherald-webhook-ca";
/// The webhook's configuration.
pub const CONFIGURATION: &str = "gateherald-webhook";
/// The name by which the API server calls.
pub const SERVER_NAME: &str = "gateherald-webhook.gateherald-system.svc";
/// Lifetimes of seconds: a leaf is renewed after 6 s, a CA rotates every 30 s.
pub const SECONDS: [&str; 4] =
    ["--ca-lifetime=45s", "--leaf-lifetime=9s", "--ca-settle=2s", "--max-clock-skew=1s"];

/// Creations that go on all the while, beside bursts that make the API server open connections.
const PAUSE: Duration = Duration::from_millis(100);
/// More than the 25 idle connections that the API server keeps: each burst ends with some closed, so the next one begins
/// with handshakes.
const BURST: usize = 30;

/// The CA's Secret as it is.
///
/// # Errors
/// When there is none.
pub async fn secret(lab: &Lab) -> anyhow::Result<Secret> {
    Ok(Api::<Secret>::namespaced(lab.client(), chart::NAMESPACE).get(SECRET).await?)
}

/// One value of a Secret as text; empty when it is not there.
pub fn text(secret: &Secret, key: &str) -> String {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    value.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()).unwrap_or_default()
}

/// Changes these keys of the CA's Secret, as a person does; `None` removes one.
///
/// # Errors
/// Those of the API server.
pub async fn edit(lab: &Lab, data: &[(&str, Option<&str>)]) -> anyhow::Result<()> {
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let data: serde_json::Map<_, _> =
        data.iter().map(|(key, value)| ((*key).to_owned(), json!(value.map(bytes)))).collect();
    let api = Api::<Secret>::namespaced(lab.client(), chart::NAMESPACE);
    let patch = Patch::Merge(json!({ "data": data }));
    api.patch(SECRET, &PatchParams::default(), &patch).await.map(drop).context("cannot edit the Secret")
}

/// The live configuration's CA bundle.
///
/// # Errors
/// Those of the API server.
pub async fn live_bundle(lab: &Lab) -> anyhow::Result<String> {
    let path = "jsonpath={.webhooks[0].clientConfig.caBundle}";
    let text = lab.kubectl(&["get", "mutatingwebhookconfiguration", CONFIGURATION, "-o", path]).await?;
    Ok(String::from_utf8(BASE64_STANDARD.decode(text.trim())?)?)
}

/// Writes the live configuration's CA bundle, as a person does.
///
/// # Errors
/// Those of the API server.
pub async fn write_bundle(lab: &Lab, bundle: &str) -> anyhow::Result<()> {
    let value = BASE64_STANDARD.encode(bundle);
    let patch = format!(r#"[{{"op":"add","path":"/webhooks/0/clientConfig/caBundle","value":"{value}"}}]"#);
    let object = ["patch", "mutatingwebhookconfiguration", CONFIGURATION, "--type=json", "-p", &patch];
    lab.kubectl(&object).await.map(drop)
}

/// The certificates of a bundle.
pub fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).collect()
}

/// A CA made by hand.
pub struct HandMade {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl HandMade {
    /// A CA that is valid from the first to the second, in hours from now.
    ///
    /// # Errors
    /// Those of the crypto library.
    pub fn new(name: &str, from: i64, to: i64) -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let now = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) =
            (now + time::Duration::hours(from), now + time::Duration::hours(to));
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        let text = key.serialize_pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate, key: text })
    }

    /// A server's certificate for this name, and its key.
    ///
    /// # Errors
    /// Those of the crypto library.
    pub fn sign(&self, server_name: &str) -> anyhow::Result<(String, String)> {
        self.sign_until(server_name, 24)
    }

    /// As [`Self::sign`]; it was made a day ago, and expires in this many hours from now.
    ///
    /// # Errors
    /// Those of the crypto library.
    pub fn sign_until(&self, server_name: &str, hours: i64) -> anyhow::Result<(String, String)> {
        let mut params = CertificateParams::new(vec![server_name.to_owned()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let now = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) =
            (now - time::Duration::hours(24), now + time::Duration::hours(hours));
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

/// Opens a new connection to a replica as the API server does, trusting this bundle; returns the leaf that it serves.
///
/// # Errors
/// When the handshake fails.
pub async fn handshake(webhook: &Webhook, bundle: &str) -> anyhow::Result<CertificateDer<'static>> {
    handshake_at(webhook.address(), bundle).await
}

/// As [`handshake`], with the replica's address.
///
/// # Errors
/// When the handshake fails.
pub async fn handshake_at(address: Ipv4Addr, bundle: &str) -> anyhow::Result<CertificateDer<'static>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(bundle));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect((address, 8443)).await?;
    let name = ServerName::try_from(SERVER_NAME)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let chain = stream.get_ref().1.peer_certificates().context("no certificate")?;
    Ok(chain.first().context("an empty chain")?.clone().into_owned())
}

/// Waits until /ready is a 503 that says this.
///
/// # Errors
/// When it does not within a minute.
pub async fn not_ready(webhook: &Webhook, reason: &str) -> anyhow::Result<()> {
    until(&format!("/ready says {reason:?}"), LONG, async || {
        Ok(match webhook.get("/ready").await {
            Ok(response) if response.status == 503 && response.body.contains(reason) => Look::Found(()),
            Ok(response) => Look::NotYet(response.body),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    })
    .await
}

/// How many calls of our entry failed and were let through, as the API server counts.
///
/// # Errors
/// Those of the API server.
pub async fn failed_open(lab: &Lab) -> anyhow::Result<f64> {
    let metrics = lab.kubectl(&["get", "--raw", "/metrics"]).await?;
    let ours = metrics.lines().filter(|line| {
        line.starts_with("apiserver_admission_webhook_fail_open_count{")
            && line.contains("services.gateherald.io")
    });
    ours.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<f64>().context("a count")).sum()
}

/// Services that are created, as dry runs, all the while.
pub struct Load {
    ended: Arc<AtomicBool>,
    counts: Arc<Counts>,
    tasks: Vec<JoinHandle<anyhow::Result<()>>>,
}

/// What became of them.
#[derive(Debug, Default)]
struct Counts {
    labelled: AtomicU64,
    unlabelled: AtomicU64,
}

impl Load {
    /// Starts it; the Gateway must have the label `a`.
    ///
    /// # Errors
    /// When the Gateway has no uid.
    pub fn start(shop: &Shop<'_>, gateway: &DynamicObject) -> anyhow::Result<Self> {
        let (ended, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()));
        let service = service("load", &owned_by(gateway)?)?;
        let tasks = [(1, PAUSE), (BURST, PAUSE * 10)].map(|(at_once, pause)| {
            let (ended, counts, services) = (Arc::clone(&ended), Arc::clone(&counts), shop.services());
            let service = service.clone();
            tokio::spawn(async move {
                while !ended.load(Ordering::Relaxed) {
                    let creations = (0..at_once).map(|_| create(&services, &service, &counts));
                    join_all(creations).await.into_iter().collect::<anyhow::Result<()>>()?;
                    sleep(pause).await;
                }
                Ok(())
            })
        });
        Ok(Self { ended, counts, tasks: tasks.into() })
    }

    /// Stops it; returns how many were created.
    ///
    /// # Errors
    /// When one could not be created, or came back without the label.
    pub async fn finish(self) -> anyhow::Result<u64> {
        self.ended.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await??;
        }
        let unlabelled = self.counts.unlabelled.load(Ordering::Relaxed);
        let all = self.counts.labelled.load(Ordering::Relaxed) + unlabelled;
        anyhow::ensure!(unlabelled == 0, "{unlabelled} of {all} Services were created without the label");
        Ok(all)
    }
}

async fn create(services: &Api<Service>, service: &Service, counts: &Counts) -> anyhow::Result<()> {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let created = services.create(&dry_run, service).await?;
    let count = if created.labels().contains_key("a") { &counts.labelled } else { &counts.unlabelled };
    count.fetch_add(1, Ordering::Relaxed);
    Ok(())
}
