// SPDX-License-Identifier: Apache-2.0
//! Peers that call the webhook's port beside the API server and mean no good: Services get their labels all the same, and the process
//! stays small.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::future::{join_all, try_join_all};
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::{Lab, Options, Webhook, run_alone};
use gateherald_tests::gateways::{Shop, labels, owned_by};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// More than the webhook keeps open.
const PEERS: usize = 1200;
const LARGEST: usize = 7 * 1024 * 1024;
/// What the process may have used at most at any time. 64 MiB are set aside for bodies; the rest is what they are decoded to,
/// connections, and the program itself.
const MEMORY_KIB: u64 = 300 * 1024;
const HEAD: &str = "POST /mutate?timeout=3s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

/// Somebody else in the cluster.
#[derive(Clone)]
struct Stranger {
    tls: TlsConnector,
    address: SocketAddr,
}

impl Stranger {
    async fn new(lab: &Lab, webhook: &Webhook) -> anyhow::Result<Self> {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        let path = "jsonpath={.webhooks[0].clientConfig.caBundle}";
        let bundle =
            lab.kubectl(&["get", "mutatingwebhookconfiguration", "gateherald-webhook", "-o", path]).await?;
        let bundle = BASE64_STANDARD.decode(bundle.trim())?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&bundle) {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { tls: Arc::new(config).into(), address: (webhook.address(), 8443).into() })
    }

    async fn connect(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("gateherald-webhook.gateherald-system.svc")?;
        let stream = TcpStream::connect(self.address).await?;
        Ok(timeout(LONG, self.tls.connect(name, stream)).await??)
    }

    /// Sends a review and returns the status of the answer.
    async fn post(&self, body: &[u8]) -> anyhow::Result<u16> {
        let mut stream = self.connect().await?;
        let head = format!("{HEAD}Connection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await?;
        // It may be refused before all is sent.
        let _ = timeout(LONG, stream.write_all(body)).await?;
        let mut answer = Vec::new();
        let _ = timeout(LONG, stream.read_to_end(&mut answer)).await?;
        let status = answer.get(9..12).with_context(|| format!("{} bytes are no answer", answer.len()))?;
        Ok(std::str::from_utf8(status)?.parse()?)
    }

    /// Opens a connection again and again, and sends a byte of a large body now and then.
    async fn dawdle(self, over: Arc<AtomicBool>) {
        while !over.load(Ordering::Relaxed) {
            // This is about slow peers, not about a flood.
            sleep(Duration::from_secs(1)).await;
            let Ok(mut stream) = self.connect().await else { continue };
            let begun = format!("{HEAD}Content-Length: {LARGEST}\r\n\r\n{}", " ".repeat(20_000));
            let mut bytes = begun.as_bytes();
            while stream.write_all(bytes).await.is_ok() && !over.load(Ordering::Relaxed) {
                bytes = b" ";
                sleep(Duration::from_millis(300)).await;
            }
        }
    }
}

/// The most memory that the process has used at any time (`VmHWM`).
fn peak_kib(webhook: &Webhook) -> anyhow::Result<u64> {
    let pid = webhook.process().pid().context("not running")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Reviews of the largest size: as many labels as are decoded, far more, deep nesting, and nearly nothing.
fn largest() -> Vec<Vec<u8>> {
    let entries = |count: usize| -> String {
        let all: Vec<String> = (0..count).map(|i| format!("\"{i:x}\":\"\"")).collect();
        format!("{{{}}}", all.join(","))
    };
    let review = |labels: &str, spec: &str| {
        let object = format!(r#"{{"metadata":{{"labels":{labels},"annotations":{labels}}},"spec":{spec}}}"#);
        let mut text = format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u","kind":{{"kind":"Service"}},
            "operation":"UPDATE","object":{object},"oldObject":{object}}}}}"#
        );
        text.insert_str(0, &" ".repeat(LARGEST - text.len()));
        text.into_bytes()
    };
    let deep = format!("{}{}", "[".repeat(1_500_000), "]".repeat(1_500_000));
    vec![
        review(&entries(16_384), "{}"),
        review(&entries(160_000), "{}"),
        review("{}", &deep),
        review("{}", "{}"),
    ]
}

#[test]
fn a_thousand_slow_bodies_keep_no_service_waiting() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let webhook = lab.run_webhook(&[]).await?;
        let shop = Shop::open(lab, "slow").await?;
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        let metadata = owned_by(&gateway)?;
        let stranger = Stranger::new(lab, &webhook).await?;
        let (mut peers, over) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
        for _ in 0..PEERS {
            peers.spawn(stranger.clone().dawdle(Arc::clone(&over)));
        }
        until("connections give way", LONG, async || {
            let metrics = webhook.get("/metrics").await?.body;
            let none = "gave_way_total{what=\"connection\"} 0";
            Ok(if metrics.contains(none) { Look::NotYet(none.into()) } else { Look::Found(()) })
        })
        .await?;
        for batch in 0..10 {
            let created =
                try_join_all((0..10).map(async |i| shop.create(&format!("s{batch}-{i}"), &metadata).await));
            let labelled: Vec<Value> = created.await?.iter().map(labels).collect();
            assert_eq!(labelled, vec![json!({ "a": "1" }); 10], "batch {batch}");
        }
        over.store(true, Ordering::Relaxed);
        peers.shutdown().await;
        let peak = peak_kib(&webhook)?;
        assert!(peak < MEMORY_KIB, "{peak} KiB");
        Ok(())
    })
}

#[test]
fn the_largest_bodies_at_once_stay_within_the_memory_set_aside() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let webhook = lab.run_webhook(&[]).await?;
        let stranger = Stranger::new(lab, &webhook).await?;
        let bodies = largest();
        let before = peak_kib(&webhook)?;
        let posts = (0..64).map(|number| stranger.post(&bodies[number % bodies.len()]));
        let mut seen = std::collections::BTreeMap::<u16, usize>::new();
        for status in join_all(posts).await {
            *seen.entry(status?).or_default() += 1;
        }
        let peak = peak_kib(&webhook)?;
        println!("{before} KiB before, {peak} KiB at most; {seen:?}");
        assert!(peak < MEMORY_KIB, "{peak} KiB");
        // Answered; too many labels; too slow, or no room, on a busy machine.
        if let Some(status) = seen.keys().find(|status| ![200, 400, 408, 503].contains(*status)) {
            bail!("status {status}");
        }
        // One alone is answered once the machine has got round to it: slowness and the crowd's leftovers pass, nothing else does.
        for (body, expected) in bodies.iter().zip([200, 400, 200, 200]) {
            until("one alone is answered", LONG, async || {
                let status = stranger.post(body).await?;
                ensure!([expected, 408, 503].contains(&status), "status {status} instead of {expected}");
                Ok(if status == expected { Look::Found(()) } else { Look::NotYet(status.to_string()) })
            })
            .await?;
        }
        Ok(())
    })
}
