// SPDX-License-Identifier: Apache-2.0
//! A gate before the API server: what passes it can come late, be held back, or speak another format of Leases.
//!
//! It listens in the control plane's namespace, speaks TLS under the API server's own name and HTTP/1.1 as the programs do, and
//! opens one connection to the API server for each that comes in. Whoever is to pass it gets a kubeconfig with its URL
//! ([`crate::Node::kubeconfig_through`]).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::control_plane::{API_ADDRESS, API_PORT, ControlPlane};
use crate::patience::LONG;
use dialect::Dialect;

mod dialect;

/// What happens to what passes. The default: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// POST, PUT, PATCH and DELETE reach the API server so much later, even if who sent them has given up meanwhile.
    pub writes_late: Duration,
    /// Their answers come back so much later.
    pub answers_late: Duration,
    /// They wait at the gate, and reach the API server when this is over.
    pub hold_writes: bool,
    /// Nothing more comes of watches of Leases.
    pub stick: Stick,
}

/// Which watches of Leases are stuck: open, and silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stick {
    /// None.
    #[default]
    None,
    /// Those that were opened before this many had been ([`Gate::opened`]).
    First(usize),
    /// All.
    All,
}

/// A running gate. Dropping it closes it; connections that are open then stay so until their owner goes.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Inner {
    rules: watch::Sender<Rules>,
    /// Writes that wait here.
    held: watch::Sender<usize>,
    /// Watches of Leases so far.
    opened: watch::Sender<usize>,
    dialect: Option<Dialect>,
}

type Upstream = Arc<Mutex<SendRequest<Full<Bytes>>>>;
type Answer = Response<UnsyncBoxBody<Bytes, hyper::Error>>;

impl Gate {
    /// Opens one.
    ///
    /// # Errors
    /// When the API server's certificate cannot be read.
    pub async fn open(plane: &ControlPlane) -> anyhow::Result<Self> {
        Self::open_with(plane, None).await
    }

    /// Opens one for programs of another format of Leases: behind it our `own` format is called `other`, and the other way round.
    /// To everybody else a program behind it writes, and understands, `other` alone.
    ///
    /// # Errors
    /// As [`Gate::open`].
    pub async fn open_speaking(plane: &ControlPlane, own: u8, other: u8) -> anyhow::Result<Self> {
        Self::open_with(plane, Some(Dialect::new(own, other))).await
    }

    async fn open_with(plane: &ControlPlane, dialect: Option<Dialect>) -> anyhow::Result<Self> {
        let acceptor = acceptor(plane)?;
        let connector = connector(plane)?;
        let listener = TcpListener::bind((API_ADDRESS, 0)).await.context("cannot open a gate")?;
        let address = listener.local_addr()?;
        let rules = watch::Sender::new(Rules::default());
        let (held, opened) = (watch::Sender::new(0), watch::Sender::new(0));
        let inner = Arc::new(Inner { rules, held, opened, dialect });
        let task = tokio::spawn(accept(listener, acceptor, connector, Arc::clone(&inner)));
        Ok(Self { address, inner, task })
    }

    /// Its URL, for a kubeconfig.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// From here on what passes is treated so.
    pub fn set(&self, rules: Rules) {
        self.inner.rules.send_replace(rules);
    }

    /// Waits until a write waits here, by [`Rules::hold_writes`].
    ///
    /// # Errors
    /// When none comes within a minute.
    pub async fn holds_a_write(&self) -> anyhow::Result<()> {
        let mut held = self.inner.held.subscribe();
        let waiting = tokio::time::timeout(LONG, held.wait_for(|held| *held > 0)).await;
        waiting.context("no write came to the gate")?.map(drop).context("the gate is gone")
    }

    /// How many watches of Leases have been opened through it.
    pub fn opened(&self) -> usize {
        self.inner.opened()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, connector: TlsConnector, inner: Arc<Inner>) {
    // Dropped with this task, and with them the connections.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, connector, inner) = (acceptor.clone(), connector.clone(), Arc::clone(&inner));
        connections.spawn(async move {
            if let Err(error) = serve(stream, &acceptor, &connector, inner).await {
                tracing::debug!(%error, "a connection through the gate ended");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    connector: &TlsConnector,
    inner: Arc<Inner>,
) -> anyhow::Result<()> {
    let client = acceptor.accept(stream).await?;
    let upstream = connect(connector).await?;
    let service = service_fn(move |request| pass(request, Arc::clone(&upstream), Arc::clone(&inner)));
    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(client), service).await?;
    Ok(())
}

async fn connect(connector: &TlsConnector) -> anyhow::Result<Upstream> {
    let stream = TcpStream::connect((API_ADDRESS, API_PORT)).await?;
    let stream = connector.connect(ServerName::IpAddress(API_ADDRESS.into()), stream).await?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(Arc::new(Mutex::new(sender)))
}

/// One request. What was accepted goes its way even if the client hangs up: a slow API server does not know of that either.
async fn pass(request: Request<Incoming>, upstream: Upstream, inner: Arc<Inner>) -> anyhow::Result<Answer> {
    tokio::spawn(async move {
        let kind = Kind::of(&request);
        let (head, body) = request.into_parts();
        let body = inner.translated(&body.collect().await?.to_bytes());
        let rules = *inner.rules.borrow();
        if kind == Kind::Write {
            sleep(rules.writes_late).await;
            inner.held_back().await?;
        }
        let mut upstream = upstream.lock().await;
        upstream.ready().await?;
        let answer = upstream.send_request(Request::from_parts(head, Full::new(body))).await?;
        if kind == Kind::Write {
            sleep(rules.answers_late).await;
        }
        inner.answer(answer, kind).await
    })
    .await?
}

/// What a request is, as far as the rules tell requests apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Write,
    Watch,
    LeaseWatch,
    Read,
}

impl Kind {
    fn of(request: &Request<Incoming>) -> Self {
        let uri = request.uri();
        if matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH | Method::DELETE) {
            Self::Write
        } else if !uri.query().is_some_and(|query| query.contains("watch=")) {
            Self::Read
        } else if uri.path().ends_with("/leases") {
            Self::LeaseWatch
        } else {
            Self::Watch
        }
    }
}

impl Inner {
    async fn held_back(&self) -> anyhow::Result<()> {
        self.held.send_modify(|held| *held += 1);
        let passed = self.rules.subscribe().wait_for(|rules| !rules.hold_writes).await.map(drop);
        self.held.send_modify(|held| *held -= 1);
        Ok(passed?)
    }

    fn translated(&self, bytes: &Bytes) -> Bytes {
        self.dialect.map_or_else(|| bytes.clone(), |mut dialect| dialect.translated(bytes))
    }

    async fn answer(&self, answer: Response<Incoming>, kind: Kind) -> anyhow::Result<Answer> {
        let (head, body) = answer.into_parts();
        let body = match kind {
            Kind::Write | Kind::Read => {
                let whole = Full::new(self.translated(&body.collect().await?.to_bytes()));
                whole.map_err(|never| match never {}).boxed_unsync()
            }
            Kind::Watch => self.watch(body, None),
            Kind::LeaseWatch => {
                let number = self.opened();
                self.opened.send_modify(|opened| *opened += 1);
                self.watch(body, Some(number))
            }
        };
        Ok(Response::from_parts(head, body))
    }

    fn opened(&self) -> usize {
        *self.opened.borrow()
    }

    /// Passes on what comes, as it comes; nothing while the watch with this number is stuck.
    fn watch(&self, body: Incoming, number: Option<usize>) -> UnsyncBoxBody<Bytes, hyper::Error> {
        let state = (body, self.dialect, self.rules.subscribe());
        let frames = futures::stream::unfold(state, move |(mut body, mut dialect, mut rules)| async move {
            let frame = body.frame().await?;
            if let Some(number) = number {
                // An error: the gate is gone, and nobody holds anything back any more.
                let _ = rules.wait_for(|rules| !rules.stick.holds(number)).await;
            }
            let translate = |data: Bytes| match &mut dialect {
                Some(dialect) => dialect.translated(&data),
                None => data,
            };
            let frame = frame.map(|frame| frame.map_data(translate));
            Some((frame, (body, dialect, rules)))
        });
        StreamBody::new(frames).boxed_unsync()
    }
}

impl Stick {
    fn holds(self, number: usize) -> bool {
        match self {
            Self::None => false,
            Self::First(count) => number < count,
            Self::All => true,
        }
    }
}

fn acceptor(plane: &ControlPlane) -> anyhow::Result<TlsAcceptor> {
    let (certificate, key) = plane.serving();
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn connector(plane: &ControlPlane) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(plane.ca())?)?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
