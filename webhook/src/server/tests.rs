// SPDX-License-Identifier: Apache-2.0
//! Real connections over loopback: TLS, ALPN, slow and resting clients, the end.
#![allow(clippy::disallowed_methods, reason = "certificates are valid by the time of day")]

use gateherald_certs::{authority::Authority, lifetimes::Lifetimes};
use gateherald_model::{owner::Gateway, rules::Rules};
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client};

use super::*;

mod hostile;

use crate::{audit::Trail, handler::Handler, pace::HEAD_TIMEOUT};

const NAME: &str = "gateherald-webhook.gateherald-system.svc";
const LONG: Duration = Duration::from_secs(30);
const REVIEW: &str = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1",
    "kind":{"kind":"Service"},"operation":"CREATE","object":{}}}"#;

struct NoApi;

impl Ask for NoApi {
    async fn ask(&self, _: &Rules, _: &str, _: &str) -> Result<Option<Gateway>, String> {
        Ok(None)
    }
}

struct Bench {
    address: SocketAddr,
    roots: RootCertStore,
    shutdown: Shutdown,
    metrics: Metrics,
    task: JoinHandle<TaskResult>,
}

async fn bench() -> Bench {
    gateherald_runtime::crypto::install_provider();
    let now = Timestamp::now();
    let lifetimes = Lifetimes::DEFAULT;
    let authority = Authority::generate(now, &lifetimes).unwrap();
    let resolver = Resolver::serving(&authority.issue(NAME, now, &lifetimes).unwrap()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).unwrap();
    let metrics = Metrics::register(&mut Registry::default());
    let shutdown = Shutdown::default();
    let (_, synced) = watch::channel(true);
    let (trail, _) = Trail::new(false, metrics.clone());
    let handler = Handler {
        rules: watch::Sender::default().subscribe(),
        gateways: Arc::default(),
        synced,
        ask: NoApi,
        trail,
        metrics: metrics.clone(),
    };
    let frontend = Frontend::new(handler, shutdown.clone());
    let server = Server::new(frontend, Arc::new(resolver), metrics.clone(), shutdown.clone()).unwrap();
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    Bench { address, roots, shutdown, metrics, task: tokio::spawn(server.run(listener)) }
}

impl Bench {
    async fn connect(&self, alpn: &[&str]) -> std::io::Result<client::TlsStream<TcpStream>> {
        let mut config =
            ClientConfig::builder().with_root_certificates(self.roots.clone()).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME).unwrap(), stream).await
    }
}

fn post(body: &str) -> String {
    let head = "POST /mutate?timeout=3s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// Reads one response; `Connection: close` or not.
async fn response(stream: &mut client::TlsStream<TcpStream>) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    let end = |text: &str| text.contains("\"allowed\":true") && text.ends_with("}}");
    while !end(&text) {
        let read = timeout(LONG, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(read, 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    text
}

#[tokio::test]
async fn a_connection_serves_many_reviews_by_either_protocol_offer() {
    let bench = bench().await;
    for alpn in [&["http/1.1"][..], &["h2", "http/1.1"], &[]] {
        let mut stream = bench.connect(alpn).await.unwrap();
        if alpn.contains(&"h2") {
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            continue;
        }
        for _ in 0..3 {
            stream.write_all(post(REVIEW).as_bytes()).await.unwrap();
            let text = response(&mut stream).await;
            assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
            assert!(!text.contains("connection: close"), "{text}");
        }
    }
    assert!(bench.connect(&["spdy/3"]).await.is_err());
}

#[tokio::test]
async fn h2_serves_reviews() {
    let bench = bench().await;
    let stream = bench.connect(&["h2"]).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = Request::post(format!("https://{NAME}/mutate"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(REVIEW)))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    driver.abort();
}

#[tokio::test(start_paused = true)]
async fn a_head_that_takes_too_long_ends_the_connection() {
    let bench = bench().await;
    let mut stream = bench.connect(&["http/1.1"]).await.unwrap();
    stream.write_all(post(REVIEW).as_bytes()).await.unwrap();
    response(&mut stream).await;
    // Resting is allowed, dawdling is not, also not a byte at a time.
    sleep(IDLE_TIMEOUT / 2).await;
    let dawdled = Instant::now();
    let mut closed = false;
    for byte in post(REVIEW).as_bytes() {
        let mut buffer = [0; 1];
        let read = timeout(HEAD_TIMEOUT / 4, stream.read(&mut buffer)).await;
        if matches!(read, Ok(Ok(0) | Err(_))) || stream.write_all(&[*byte]).await.is_err() {
            closed = true;
            break;
        }
    }
    assert!(closed);
    assert!(dawdled.elapsed() <= HEAD_TIMEOUT * 2, "{:?}", dawdled.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_rests_longer_than_the_api_server_keeps_it_and_not_for_ever() {
    let bench = bench().await;
    let mut stream = bench.connect(&["http/1.1"]).await.unwrap();
    stream.write_all(post(REVIEW).as_bytes()).await.unwrap();
    response(&mut stream).await;
    let rested = Instant::now();
    let mut buffer = [0; 1];
    assert_eq!(stream.read(&mut buffer).await.unwrap_or(0), 0);
    assert!(rested.elapsed() > Duration::from_secs(90), "{:?}", rested.elapsed());
    assert!(rested.elapsed() <= IDLE_TIMEOUT + Duration::from_secs(1), "{:?}", rested.elapsed());
}

#[tokio::test]
async fn draining_goes_on_serving_and_closes_politely_then_the_stop_closes_the_rest() {
    let bench = bench().await;
    let mut busy = bench.connect(&["http/1.1"]).await.unwrap();
    let mut resting = bench.connect(&["http/1.1"]).await.unwrap();
    for stream in [&mut busy, &mut resting] {
        stream.write_all(post(REVIEW).as_bytes()).await.unwrap();
        response(stream).await;
    }
    bench.shutdown.drain();
    let mut late = bench.connect(&["http/1.1"]).await.unwrap();
    for stream in [&mut busy, &mut late] {
        stream.write_all(post(REVIEW).as_bytes()).await.unwrap();
        let text = response(stream).await;
        assert!(text.contains("connection: close"), "{text}");
        assert_eq!(timeout(LONG, stream.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
    }
    assert!(!bench.task.is_finished());
    bench.shutdown.stop();
    assert_eq!(timeout(LONG, resting.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
    timeout(LONG, bench.task).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(bench.address).await.is_err());
}

#[tokio::test]
async fn without_a_certificate_the_handshake_fails_and_the_port_lives() {
    gateherald_runtime::crypto::install_provider();
    let resolver = Arc::new(Resolver::default());
    let config = Arc::new(tls(resolver).unwrap());
    let (client, server) = tokio::io::duplex(4096);
    let mut roots = RootCertStore::empty();
    let now = Timestamp::now();
    roots.add(Authority::generate(now, &Lifetimes::DEFAULT).unwrap().certificate().clone()).unwrap();
    let connector = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connect =
        TlsConnector::from(Arc::new(connector)).connect(ServerName::try_from(NAME).unwrap(), client);
    let (accepted, connected) = tokio::join!(TlsAcceptor::from(config).accept(server), connect);
    assert!(accepted.is_err() && connected.is_err());
}
