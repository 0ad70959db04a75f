// SPDX-License-Identifier: Apache-2.0
//! The admission port: TLS connections, HTTP/1.1 and h2 by ALPN, and how they end.

use std::{collections::HashMap, convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use gateherald_certs::resolver::Resolver;
use gateherald_runtime::{shutdown::Shutdown, tasks::TaskResult};
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{
    ServerConfig,
    version::{TLS12, TLS13},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, Id, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{debug, warn};

use crate::{
    handler::Ask,
    http::Frontend,
    metrics::{Crowd, Metrics},
    pace::{IDLE_TIMEOUT, Pace, Paced},
};

/// Open connections. The API server opens one per concurrent call, and has up to 600 calls under way.
const CONNECTIONS: usize = 1024;
/// From the TCP connection to the end of the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// From the decision to close a connection: longer than any request takes, so that only peers that do not read their answer
/// or do not end their request are cut off.
const CLOSING: Duration = Duration::from_secs(15);
/// Bytes that an HTTP/1 connection buffers: a request's head must fit, bodies come through it in pieces.
const BUFFER: usize = 32 * 1024;
/// Streams of one h2 connection.
const STREAMS: u32 = 64;
/// Bytes that an h2 peer may send before they are read, of one stream and of all: the protocol's own default.
const WINDOW: u32 = 65_535;
/// Bytes of a request's head, decoded.
const HEAD_BYTES: u32 = 16 * 1024;
/// Streams that a peer may reset before they are looked at ("rapid reset", CVE-2023-44487); one more ends the connection.
const RESETS: usize = 20;
/// What connections get to finish after the stop.
pub const LINGER: Duration = Duration::from_secs(5);
/// After a failed accept (file descriptors are used up).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The admission port.
pub struct Server<A> {
    frontend: Arc<Frontend<A>>,
    acceptor: TlsAcceptor,
    metrics: Metrics,
    shutdown: Shutdown,
}

impl<A: Ask> Server<A> {
    /// Serves `frontend` with the certificates of `resolver`.
    pub fn new(
        frontend: Arc<Frontend<A>>,
        resolver: Arc<Resolver>,
        metrics: Metrics,
        shutdown: Shutdown,
    ) -> anyhow::Result<Self> {
        let acceptor = TlsAcceptor::from(Arc::new(tls(resolver)?));
        Ok(Self { frontend, acceptor, metrics, shutdown })
    }

    /// Accepts until the process stops, then lets what is open finish.
    pub async fn run(self, listener: TcpListener) -> TaskResult {
        let server = Arc::new(self);
        let mut open = Open::default();
        loop {
            tokio::select! {
                () = server.shutdown.stopping() => break,
                (stream, peer) = accept(&listener) => {
                    if open.make_room().await {
                        server.metrics.gave_way(Crowd::Connection);
                    }
                    let pace = Pace::new(Instant::now());
                    let server = Arc::clone(&server);
                    open.spawn(Arc::clone(&pace), async move { server.connection(stream, peer, pace).await });
                }
                () = open.next_end() => {}
            }
        }
        drop(listener);
        let all = async { while open.tasks.join_next().await.is_some() {} };
        if timeout(LINGER, all).await.is_err() {
            warn!(open = open.tasks.len(), "connections cut off");
        }
        Ok(())
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr, pace: Arc<Pace>) {
        let _open = self.metrics.connection_begins();
        // Answers are small and awaited.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "no TCP_NODELAY");
        }
        let stream = match timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => return debug!(%peer, "TLS handshake took too long"),
        };
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let ended = if h2 { self.http2(stream, pace).await } else { self.http1(stream, pace).await };
        if let Err(error) = ended {
            debug!(%peer, %error, "connection failed");
        }
    }

    async fn http1(&self, stream: TlsStream<TcpStream>, pace: Arc<Pace>) -> hyper::Result<()> {
        let service = service(&self.frontend, &pace);
        let io = TokioIo::new(Paced::new(stream, Arc::clone(&pace)));
        let mut connection = pin!(http1::Builder::new().max_buf_size(BUFFER).serve_connection(io, service));
        tokio::select! {
            ended = connection.as_mut() => return ended,
            // While draining each answer says `Connection: close`; only what still rests is closed from here.
            () = self.end(&pace, self.shutdown.stopping()) => {}
        }
        connection.as_mut().graceful_shutdown();
        timeout(CLOSING, connection).await.unwrap_or(Ok(()))
    }

    async fn http2(&self, stream: TlsStream<TcpStream>, pace: Arc<Pace>) -> hyper::Result<()> {
        let service = service(&self.frontend, &pace);
        let mut builder = http2::Builder::new(TokioExecutor::new());
        // A peer that is gone is found out; one that rests is closed like an HTTP/1 connection.
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_pending_accept_reset_streams(RESETS)
            .max_header_list_size(HEAD_BYTES)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .keep_alive_interval(IDLE_TIMEOUT / 2);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = self.end(&pace, self.shutdown.draining()) => {}
        }
        connection.as_mut().graceful_shutdown();
        timeout(CLOSING, connection).await.unwrap_or(Ok(()))
    }

    /// Until `shutdown`, or until the connection has rested for too long.
    async fn end(&self, pace: &Pace, shutdown: impl Future<Output = ()>) {
        let rested = async {
            loop {
                match pace.rests_until() {
                    Some(deadline) if deadline <= Instant::now() => return,
                    Some(deadline) => sleep_until(deadline).await,
                    None => sleep(IDLE_TIMEOUT).await,
                }
            }
        };
        tokio::select! { () = shutdown => {}, () = rested => {} }
    }
}

/// The connections that are open. When there are too many, the newest gets the place of the one that has neither begun nor ended
/// a request for the longest: no peer keeps the others out by opening connections and doing nothing, or little, with them.
#[derive(Default)]
struct Open {
    tasks: JoinSet<()>,
    paces: HashMap<Id, (AbortHandle, Arc<Pace>)>,
}

impl Open {
    fn spawn(&mut self, pace: Arc<Pace>, connection: impl Future<Output = ()> + Send + 'static) {
        let handle = self.tasks.spawn(connection);
        self.paces.insert(handle.id(), (handle, pace));
    }

    /// Whether a connection had to be ended.
    async fn make_room(&mut self) -> bool {
        if self.paces.len() < CONNECTIONS {
            return false;
        }
        let oldest = self.paces.iter().min_by_key(|(_, (_, pace))| pace.active());
        if let Some((_, (handle, _))) = oldest {
            handle.abort();
        }
        // Its socket is closed before another one is used.
        while self.paces.len() >= CONNECTIONS {
            self.next_end().await;
        }
        true
    }

    /// When the next connection is over; pending while none is open. Cancel-safe.
    async fn next_end(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => drop(self.paces.remove(&id)),
            Some(Err(error)) => drop(self.paces.remove(&error.id())),
            None => std::future::pending().await,
        }
    }
}

/// What hyper calls per request.
fn service<A: Ask>(
    frontend: &Arc<Frontend<A>>,
    pace: &Arc<Pace>,
) -> impl Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send + 'static>
+ use<A> {
    let (frontend, pace) = (Arc::clone(frontend), Arc::clone(pace));
    service_fn(move |request| {
        let (frontend, serving) = (Arc::clone(&frontend), pace.serve());
        async move {
            let response = frontend.serve(request).await;
            drop(serving);
            Ok(response)
        }
    })
}

/// Opens the port; the error names it.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} (admission port)"))
}

/// The next connection. Cancel-safe.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// TLS 1.2 and later. The API server offers `http/1.1` alone to webhooks: a list without it fails every handshake.
fn tls(resolver: Arc<Resolver>) -> anyhow::Result<ServerConfig> {
    let provider =
        rustls::crypto::CryptoProvider::get_default().context("no crypto provider is installed")?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests;
