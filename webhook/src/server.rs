// SPDX-License-Identifier: Apache-2.0
//! The admission port: TLS connections, HTTP/1.1 and h2 by ALPN, and how they end.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

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
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{debug, warn};

use crate::{
    handler::Ask,
    http::Frontend,
    metrics::Metrics,
    pace::{IDLE_TIMEOUT, Pace, Paced},
};

/// Open connections. The API server opens one per concurrent call.
const CONNECTIONS: usize = 1024;
/// From the TCP connection to the end of the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams of one h2 connection.
const STREAMS: u32 = 64;
/// What connections get to finish after the stop.
pub const LINGER: Duration = Duration::from_secs(5);
/// After a failed accept (file descriptors are used up).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The admission port.
pub struct Server<A> {
    frontend: Arc<Frontend<A>>,
    acceptor: TlsAcceptor,
    permits: Arc<Semaphore>,
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
        Ok(Self { frontend, acceptor, permits: Arc::new(Semaphore::new(CONNECTIONS)), metrics, shutdown })
    }

    /// Accepts until the process stops, then lets what is open finish.
    pub async fn run(self, listener: TcpListener) -> TaskResult {
        let server = Arc::new(self);
        let mut connections = JoinSet::new();
        loop {
            let permit = Arc::clone(&server.permits).acquire_owned();
            tokio::select! {
                () = server.shutdown.stopping() => break,
                accepted = accept(&listener, permit) => {
                    let (stream, peer, permit) = accepted?;
                    let server = Arc::clone(&server);
                    connections.spawn(async move { server.connection(stream, peer, permit).await });
                }
                Some(_) = connections.join_next() => {}
            }
        }
        drop(listener);
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(LINGER, all).await.is_err() {
            warn!(open = connections.len(), "connections cut off");
        }
        Ok(())
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let _open = (permit, self.metrics.connection_begins());
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
        let ended = if h2 { self.http2(stream).await } else { self.http1(stream).await };
        if let Err(error) = ended {
            debug!(%peer, %error, "connection failed");
        }
    }

    async fn http1(&self, stream: TlsStream<TcpStream>) -> hyper::Result<()> {
        let pace = Pace::new(Instant::now());
        let service = service(&self.frontend, &pace);
        let io = TokioIo::new(Paced::new(stream, Arc::clone(&pace)));
        let mut connection = pin!(http1::Builder::new().serve_connection(io, service));
        let mut closing = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => return ended,
                // While draining each answer says `Connection: close`; only what still rests is closed from here.
                () = self.end(&pace, self.shutdown.stopping()), if !closing => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    async fn http2(&self, stream: TlsStream<TcpStream>) -> hyper::Result<()> {
        let pace = Pace::new(Instant::now());
        let service = service(&self.frontend, &pace);
        let mut builder = http2::Builder::new(TokioExecutor::new());
        // A peer that is gone is found out; one that rests is closed like an HTTP/1 connection.
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .keep_alive_interval(IDLE_TIMEOUT / 2);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut closing = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => return ended,
                () = self.end(&pace, self.shutdown.draining()), if !closing => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
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

/// The next connection, once there is room for it. Cancel-safe.
async fn accept(
    listener: &TcpListener,
    permit: impl Future<Output = Result<OwnedSemaphorePermit, tokio::sync::AcquireError>>,
) -> anyhow::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = permit.await?;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Ok((stream, peer, permit)),
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
