// SPDX-License-Identifier: Apache-2.0
//! The admin port, in plain HTTP: `/live`, `/ready`, `/metrics`, `/log-level`, and what a program adds.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::net::TcpListener;

use crate::{logging::LogFilter, readiness::Board, shutdown::Shutdown, tasks::TaskResult};

/// The exposition format that `prometheus-client` writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Bytes of a log filter.
const LONGEST_FILTER: usize = 4096;

/// What the port shows.
#[derive(Debug)]
pub struct Admin {
    /// For `/ready`.
    pub board: Board,
    /// For `/metrics`.
    pub registry: Registry,
    /// For `/log-level`.
    pub filter: LogFilter,
    /// For `/ready`, which fails as soon as the process drains.
    pub shutdown: Shutdown,
    /// The program's own pages.
    pub pages: Router,
}

#[derive(Clone, Debug)]
struct Shown {
    board: Board,
    registry: Arc<Registry>,
    shutdown: Shutdown,
}

/// Opens the port; the error names it.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} (admin port)"))
}

/// Serves the port until the process stops.
pub async fn serve(listener: TcpListener, admin: Admin) -> TaskResult {
    let stopping = admin.shutdown.clone();
    let service = router(admin).into_make_service_with_connect_info::<SocketAddr>();
    tokio::select! {
        result = axum::serve(listener, service).into_future() => result.context("admin port"),
        // Without waiting: an open keep-alive connection of a scraper must not hold up the exit.
        () = stopping.stopping() => Ok(()),
    }
}

/// The port's routes; needs [`ConnectInfo`] of each request.
pub fn router(admin: Admin) -> Router {
    let Admin { board, registry, filter, shutdown, pages } = admin;
    let shown = Shown { board, registry: Arc::new(registry), shutdown };
    Router::new()
        .route("/live", get(|| async { "ok\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(shown)
        .merge(log_level_router(filter))
        .merge(pages)
}

/// `/log-level` alone, for a port of the loopback beside one that is not; needs [`ConnectInfo`] of each request.
pub fn log_level_router(filter: LogFilter) -> Router {
    let limit = DefaultBodyLimit::max(LONGEST_FILTER);
    Router::new().route("/log-level", get(log_level).put(change_log_level).layer(limit)).with_state(filter)
}

async fn ready(State(admin): State<Shown>) -> (StatusCode, String) {
    if admin.shutdown.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "[-] process: shutting down\nnot ready\n".into());
    }
    let report = admin.board.report();
    let status = if report.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, report.to_string())
}

async fn metrics(State(admin): State<Shown>) -> impl IntoResponse {
    let mut text = String::new();
    match encode(&mut text, &admin.registry) {
        Ok(()) => (StatusCode::OK, [(CONTENT_TYPE, OPENMETRICS)], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}

async fn log_level(State(filter): State<LogFilter>) -> String {
    filter.text() + "\n"
}

/// Only from the pod or node itself, which is where `kubectl port-forward` comes from: the port is open to the cluster, and
/// whoever reads metrics must not be able to silence the log or flood it.
async fn change_log_level(
    State(filter): State<LogFilter>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    text: String,
) -> (StatusCode, String) {
    if !peer.ip().to_canonical().is_loopback() {
        let reason = "the log level can be changed from the loopback only: use kubectl port-forward\n";
        return (StatusCode::FORBIDDEN, reason.into());
    }
    match filter.change(&text) {
        Ok(()) => (StatusCode::OK, filter.text() + "\n"),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

#[cfg(test)]
mod tests;
