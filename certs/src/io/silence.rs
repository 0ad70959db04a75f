// SPDX-License-Identifier: Apache-2.0
//! API servers that do not answer, for the tests of both tasks. On a paused clock their silence takes no time.

use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::stream;
use gateherald_runtime::readiness::Board;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::{Client, Config, client::Body};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

pub(super) const NAMESPACE: &str = "gateherald-system";
pub(super) const OWNER: &str = "gateherald-owner";

/// Accepts connections, and answers nothing on them.
pub(super) async fn black_hole() -> (Client, Arc<AtomicU32>) {
    gateherald_runtime::crypto::install_provider();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            open.push(listener.accept().await.unwrap());
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    (Client::try_from(Config::new(url.parse().unwrap())).unwrap(), accepted)
}

/// Answers what is read, and takes writes without an answer until it is told to give one.
#[derive(Clone, Debug, Default)]
pub(super) struct Mute {
    listed: Arc<Vec<Value>>,
    answers: Arc<AtomicBool>,
    writes: Arc<AtomicU32>,
}

impl Mute {
    pub(super) fn new(listed: Vec<Value>) -> Self {
        Self { listed: Arc::new(listed), ..Self::default() }
    }

    pub(super) fn client(&self) -> Client {
        gateherald_runtime::crypto::install_provider();
        let mute = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let mute = mute.clone();
            async move { Ok::<_, Infallible>(Response::new(mute.answer(request).await)) }
        });
        Client::new(service, NAMESPACE)
    }

    /// Answers writes from now on.
    pub(super) fn recover(&self) {
        self.answers.store(true, Ordering::Relaxed);
    }

    /// Waits until one more write has come.
    pub(super) async fn next_write(&self) {
        let before = self.writes.load(Ordering::Relaxed);
        eventually("another write", || self.writes.load(Ordering::Relaxed) > before).await;
    }

    async fn answer(&self, request: Request<Body>) -> UnsyncBoxBody<Bytes, Infallible> {
        let (parts, body) = request.into_parts();
        if parts.method != Method::GET {
            self.writes.fetch_add(1, Ordering::Relaxed);
            if !self.answers.load(Ordering::Relaxed) {
                return pending().await;
            }
            let mut written: Value =
                serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
            written["metadata"]["resourceVersion"] = json!("2");
            return whole(&written);
        }
        if parts.uri.query().is_some_and(|query| query.contains("watch=true")) {
            return StreamBody::new(stream::pending()).boxed_unsync();
        }
        if parts.uri.path().ends_with(OWNER) {
            return whole(&json!({ "metadata": { "name": OWNER, "uid": "u" } }));
        }
        whole(&json!({ "metadata": { "resourceVersion": "1" }, "items": *self.listed }))
    }
}

fn whole(value: &Value) -> UnsyncBoxBody<Bytes, Infallible> {
    Full::new(Bytes::from(value.to_string())).boxed_unsync()
}

/// Waits until the board says this.
pub(super) async fn told(board: &Board, text: &str) {
    eventually(text, || board.report().to_string().contains(text)).await;
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let look = async {
        while !holds() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_mins(10), look).await.unwrap_or_else(|_| panic!("never: {what}"));
}
