// SPDX-License-Identifier: Apache-2.0
//! `flow --web`: one page on the loopback, and what changed as server-sent events.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{
        Html, IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::get,
};
use futures::{Stream, stream};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    graph,
    io::{
        cluster::Cluster,
        lists::Depth,
        terminal::{Terminal, tell},
        watching::Changes,
    },
    picture::Picture,
    render::html,
    run::Ending,
    subject::Subject,
    timeline::Timeline,
    trace, vips,
};

use super::reading::Source;

/// What the page shows, as JSON.
type Shown = watch::Receiver<Arc<String>>;

/// Serves until somebody stops it.
pub(crate) async fn run(
    source: &Source,
    cluster: &Cluster,
    subject: &Subject,
    listen: SocketAddr,
    terminal: Terminal,
) -> anyhow::Result<Ending> {
    anyhow::ensure!(listen.ip().is_loopback(), "{listen} is not on the loopback: the page has no passwords");
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let (out, shown) = watch::channel(Arc::new(String::new()));
    let router = Router::new()
        .route("/", get(page))
        .route("/events", get(events))
        .with_state(shown.clone())
        .layer(middleware::from_fn(local_names_only));
    let mut first = shown;
    let serve = async { axum::serve(listener, router).await.context("serving") };
    let tell = async {
        first.changed().await?;
        terminal.write(&format!("http://{address}/\n"))?;
        std::future::pending::<()>().await;
        Ok(())
    };
    tokio::select! {
        end = serve => end.map(|()| Ending::Fine),
        end = follow(source, cluster, subject, out) => end.map(|()| Ending::Fine),
        end = tell => { let end: anyhow::Result<()> = end; end.map(|()| Ending::Fine) }
    }
}

/// Reads anew whenever something changed.
async fn follow(
    source: &Source,
    cluster: &Cluster,
    subject: &Subject,
    out: watch::Sender<Arc<String>>,
) -> anyhow::Result<()> {
    let mut changes = Changes::of(cluster);
    let mut timeline = Timeline::default();
    let (mut scope, mut again) = (None, false);
    loop {
        let (snapshot, _) = match source.snapshot(Depth::Chains).await {
            Ok(snapshot) => snapshot,
            Err(error) if again => {
                // The page shows what was read last.
                tell(&format!("{error:#}"));
                changes.next(scope.as_deref()).await?;
                continue;
            }
            Err(error) => return Err(error),
        };
        let picture = Picture::new(&snapshot, None);
        let traces = trace::all(&picture);
        let chosen = match subject.choose(&traces) {
            Err(error) if !again => return Err(error),
            chosen => chosen.unwrap_or_default(),
        };
        let rows = vips::rows(&chosen);
        timeline.see(&rows, snapshot.now);
        let graph = graph::of(&picture, &chosen);
        let state =
            html::State { now: snapshot.now, graph: &graph, vips: &rows, timeline: Some(timeline.changes()) };
        out.send_replace(Arc::new(serde_json::to_string(&state)?));
        (scope, again) = (snapshot.scope, true);
        changes.next(scope.as_deref()).await?;
    }
}

/// A page of another site that resolves its own name to this address must not read the cluster.
async fn local_names_only(headers: HeaderMap, request: Request, next: Next) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if matches!(name, "localhost" | "127.0.0.1" | "[::1]") {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "this page is for localhost").into_response()
    }
}

async fn page(State(shown): State<Shown>) -> Response {
    let state = Arc::clone(&shown.borrow());
    let policy =
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'";
    match html::page(&state, Some("events")) {
        Ok(page) => ([(header::CONTENT_SECURITY_POLICY, policy)], Html(page)).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn events(State(shown): State<Shown>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let states = stream::unfold(shown, |mut shown| async move {
        shown.changed().await.ok()?;
        let state = Arc::clone(&shown.borrow_and_update());
        Some((Ok(Event::default().data(state.as_str())), shown))
    });
    Sse::new(states).keep_alive(KeepAlive::default())
}
