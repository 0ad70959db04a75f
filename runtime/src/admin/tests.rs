// SPDX-License-Identifier: Apache-2.0
use axum::{body::to_bytes, http::Request};
use tower::ServiceExt;

use super::*;

const LOOPBACK: &str = "127.0.0.1:40000";

fn port() -> (Router, Shutdown) {
    let (filter, _) = LogFilter::new("info").unwrap();
    let shutdown = Shutdown::default();
    let pages = Router::new().route("/config", get(|| async { "rules" }));
    let admin = Admin {
        board: Board::default(),
        registry: Registry::default(),
        filter,
        shutdown: shutdown.clone(),
        pages,
    };
    (router(admin), shutdown)
}

async fn ask(port: &Router, peer: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut request = Request::builder().method(method).uri(path).body(body.to_owned()).unwrap();
    request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
    let response = port.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn the_log_level_is_shown_to_all_and_changed_from_the_loopback_alone() {
    let (port, _) = port();
    for peer in ["10.0.0.7:1", "[2001:db8::1]:1", "[::ffff:10.0.0.7]:1"] {
        let (status, text) = ask(&port, peer, "PUT", "/log-level", "debug").await;
        assert_eq!(status, 403, "{peer}");
        assert!(text.contains("kubectl port-forward"), "{text}");
        assert_eq!(ask(&port, peer, "GET", "/log-level", "").await, (200, "info\n".into()));
    }
    for (peer, filter) in
        [(LOOPBACK, "debug"), ("[::1]:1", "info,kube=debug"), ("[::ffff:127.0.0.1]:1", "warn")]
    {
        let shown = (200, format!("{filter}\n"));
        assert_eq!(ask(&port, peer, "PUT", "/log-level", filter).await, shown);
        assert_eq!(ask(&port, peer, "GET", "/log-level", "").await, shown);
    }
}

#[tokio::test]
async fn a_bad_log_level_says_what_is_wrong_and_changes_nothing() {
    let (port, _) = port();
    let (status, text) = ask(&port, LOOPBACK, "PUT", "/log-level", "inof").await;
    assert_eq!(status, 400);
    assert!(text.starts_with("\"inof\" is neither a level"), "{text}");
    assert_eq!(ask(&port, LOOPBACK, "PUT", "/log-level", &"x".repeat(5000)).await.0, 413);
    assert_eq!(ask(&port, LOOPBACK, "POST", "/log-level", "debug").await.0, 405);
    assert_eq!(ask(&port, LOOPBACK, "GET", "/log-level", "").await, (200, "info\n".into()));
}

#[tokio::test]
async fn a_programs_own_pages_are_beside_the_usual_ones() {
    let (port, shutdown) = port();
    assert_eq!(ask(&port, LOOPBACK, "GET", "/config", "").await, (200, "rules".into()));
    assert_eq!(ask(&port, LOOPBACK, "GET", "/live", "").await, (200, "ok\n".into()));
    assert_eq!(ask(&port, LOOPBACK, "GET", "/ready", "").await.0, 200);
    shutdown.drain();
    let (status, text) = ask(&port, LOOPBACK, "GET", "/ready", "").await;
    assert_eq!((status, text.contains("shutting down")), (503, true));
}
