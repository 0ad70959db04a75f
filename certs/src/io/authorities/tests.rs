// SPDX-License-Identifier: Apache-2.0
use std::{
    io::Write,
    sync::{Mutex, atomic::Ordering},
    time::Duration,
};

use gateherald_runtime::readiness::Board;
use kube::Client;
use serde_json::json;
use tokio::{task::JoinHandle, time::timeout};
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::{
    io::silence::{Mute, NAMESPACE, OWNER, black_hole, told},
    metrics::Metrics,
    resolver::Resolver,
};

struct Bench {
    task: JoinHandle<TaskResult>,
    board: Board,
    shutdown: Shutdown,
    /// What the task reads and writes, kept open.
    _trust: watch::Receiver<Trust>,
    _live: watch::Sender<Option<Arc<Live>>>,
}

impl Bench {
    fn start(client: Client) -> Self {
        let (mut board, shutdown) = (Board::default(), Shutdown::default());
        let (trust, trusted) = watch::channel(Trust::default());
        let (sightings, live) = watch::channel(None);
        let serving = Serving {
            resolver: Arc::new(Resolver::default()),
            trust,
            handle: board.part("certificate", "nothing yet"),
            metrics: Metrics::default(),
        };
        let store = Store::new(client, NAMESPACE, "ca", OWNER);
        let task = Authorities::new(store, "a.b.svc".to_owned(), Lifetimes::DEFAULT, serving, live);
        let task = tokio::spawn(task.run(shutdown.clone()));
        Self { task, board, shutdown, _trust: trusted, _live: sightings }
    }

    /// Long before a request under way has reached its limit.
    async fn stops_at_once(self) {
        self.shutdown.stop();
        timeout(Duration::from_secs(1), self.task).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_swallows_everything_is_named_and_ends_in_time() {
    let (client, accepted) = black_hole().await;
    let bench = Bench::start(client);
    told(&bench.board, "API server silent, cannot list secrets gateherald-system/ca: nothing came for 30s")
        .await;
    assert!(accepted.load(Ordering::Relaxed) > 0, "nobody connected");
    bench.stops_at_once().await;
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_never_answered_is_named_and_made_again() {
    let mute = Mute::default();
    let bench = Bench::start(mute.client());
    told(&bench.board, "API server silent, cannot create secrets gateherald-system/ca: nothing came for 30s")
        .await;
    mute.recover();
    timeout(Duration::from_mins(1), bench.board.ready()).await.unwrap();
    bench.stops_at_once().await;
}

#[tokio::test(start_paused = true)]
async fn a_write_under_way_does_not_hold_up_the_end() {
    let mute = Mute::default();
    let bench = Bench::start(mute.client());
    mute.next_write().await;
    bench.stops_at_once().await;
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_secret_that_cannot_be_rewritten_is_not_told_at_every_attempt() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mute = Mute::new(vec![json!({ "metadata": { "name": "ca", "resourceVersion": "1" } })]);
    let bench = Bench::start(mute.client());
    for _ in 0..6 {
        mute.next_write().await;
    }
    bench.stops_at_once().await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.matches("unusable, to be rewritten: ca.crt is missing").count(), 1, "{text}");
    assert_eq!(text.matches("cannot update secrets gateherald-system/ca").count(), 1, "{text}");
}
