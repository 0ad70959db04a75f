// SPDX-License-Identifier: Apache-2.0
//! The admin port: `/live`, `/ready`, `/metrics`, in plain HTTP.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::net::TcpListener;

use crate::{readiness::Board, shutdown::Shutdown, tasks::TaskResult};

/// The exposition format that `prometheus-client` writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug)]
struct Admin {
    board: Board,
    registry: Arc<Registry>,
    shutdown: Shutdown,
}

/// Opens the port; the error names it.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} (admin port)"))
}

/// Serves the port until the process stops; `/ready` fails as soon as it drains. `more` are the program's own routes.
pub async fn serve(
    listener: TcpListener,
    board: Board,
    registry: Registry,
    more: Router,
    shutdown: Shutdown,
) -> TaskResult {
    let stopping = shutdown.clone();
    let router = router(board, registry, shutdown).merge(more);
    tokio::select! {
        result = axum::serve(listener, router).into_future() => result.context("admin port"),
        // Without waiting: an open keep-alive connection of a scraper must not hold up the exit.
        () = stopping.stopping() => Ok(()),
    }
}

/// The port's routes.
pub fn router(board: Board, registry: Registry, shutdown: Shutdown) -> Router {
    let admin = Admin { board, registry: Arc::new(registry), shutdown };
    Router::new()
        .route("/live", get(|| async { "ok\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(admin)
}

async fn ready(State(admin): State<Admin>) -> (StatusCode, String) {
    if admin.shutdown.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "[-] process: shutting down\nnot ready\n".into());
    }
    let report = admin.board.report();
    let status = if report.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, report.to_string())
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let mut text = String::new();
    match encode(&mut text, &admin.registry) {
        Ok(()) => (StatusCode::OK, [(CONTENT_TYPE, OPENMETRICS)], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}
