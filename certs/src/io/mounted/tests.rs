// SPDX-License-Identifier: Apache-2.0
//! Files in a directory as the kubelet lays out a Secret volume.

use std::{os::unix::fs::symlink, path::Path, sync::Arc};

use gateherald_runtime::readiness::{Board, State};
use jiff::SignedDuration;
use pem::Pem;
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::sync::watch;

use super::*;
use crate::{authority::Authority, lifetimes::Lifetimes, metrics::Metrics, resolver::Resolver};

const LIFETIMES: Lifetimes = Lifetimes::DEFAULT;
const NAME: &str = "gateherald-webhook.gateherald-system.svc";

fn now() -> Timestamp {
    "2025-03-01T12:00:00Z".parse().unwrap()
}

/// Certificate and key.
fn pair(name: &str) -> (String, String) {
    let ca = Authority::generate(now(), &LIFETIMES).unwrap();
    let leaf = ca.issue(name, now(), &LIFETIMES).unwrap();
    (bundle::write(&leaf.chain), pem::encode(&Pem::new("PRIVATE KEY", leaf.key.secret_der())))
}

/// Writes a version of the Secret and swaps the link to it, as the kubelet does.
fn mount(volume: &Path, version: &str, (certificate, key): &(String, String)) {
    let directory = volume.join(version);
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("tls.crt"), certificate).unwrap();
    std::fs::write(directory.join("tls.key"), key).unwrap();
    symlink(version, volume.join("..data_tmp")).unwrap();
    std::fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        drop(symlink(Path::new("..data").join(file), volume.join(file)));
    }
}

struct Bench {
    volume: tempfile::TempDir,
    task: Mounted,
    trust: watch::Receiver<crate::serving::Trust>,
    board: Board,
    registry: Registry,
}

impl Bench {
    fn new() -> Self {
        gateherald_runtime::crypto::install_provider();
        let (mut board, mut registry) = (Board::default(), Registry::default());
        let (trust, receiver) = watch::channel(crate::serving::Trust::default());
        let serving = Serving {
            resolver: Arc::new(Resolver::default()),
            trust,
            handle: board.part("certificate", "nothing yet"),
            metrics: Metrics::register(&mut registry),
        };
        let volume = tempfile::tempdir().unwrap();
        let task = Mounted::new(volume.path().to_owned(), NAME.to_owned(), serving);
        Self { volume, task, trust: receiver, board, registry }
    }

    async fn look(&mut self, now: Timestamp) {
        let files = read(self.volume.path()).await;
        self.task.look(files, now).unwrap();
    }

    fn served(&self) -> String {
        bundle::write(&self.trust.borrow().chain)
    }

    /// Why it is not ready; empty: it is.
    fn reason(&self) -> String {
        match &self.board.report().parts()[0].1 {
            State::Ready => String::new(),
            State::Waiting(reason) => reason.clone(),
        }
    }

    fn failures(&self, reason: &str) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let series = format!("certificate_reload_failures_total{{reason=\"{reason}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().to_owned()
    }
}

#[tokio::test]
async fn the_next_version_of_a_volume_is_served() {
    let mut bench = Bench::new();
    let (one, two) = (pair(NAME), pair(NAME));
    for (version, pair) in [("..1", &one), ("..2", &two)] {
        mount(bench.volume.path(), version, pair);
        bench.look(now()).await;
        assert_eq!(bench.served(), pair.0);
        assert_eq!(bench.reason(), "");
    }
}

#[tokio::test]
async fn a_broken_version_keeps_the_last_good_one_and_is_counted_once() {
    let mut bench = Bench::new();
    let (good, other, foreign) = (pair(NAME), pair(NAME), pair("webhook.example.com"));
    mount(bench.volume.path(), "..1", &good);
    bench.look(now()).await;
    let mixed = (other.0.clone(), good.1.clone());
    let broken = ("no PEM".to_owned(), other.1.clone());
    for (version, pair, reason) in
        [("..2", &mixed, "mismatch"), ("..3", &foreign, "wrong-name"), ("..4", &broken, "malformed")]
    {
        mount(bench.volume.path(), version, pair);
        bench.look(now()).await;
        bench.look(now()).await;
        assert_eq!((bench.served(), bench.failures(reason)), (good.0.clone(), "1".to_owned()), "{reason}");
        assert_eq!(bench.reason(), "", "it serves on");
    }
    std::fs::remove_file(bench.volume.path().join("..data")).unwrap();
    bench.look(now()).await;
    assert_eq!((bench.served(), bench.failures("unreadable")), (good.0, "1".to_owned()));
    mount(bench.volume.path(), "..5", &other);
    bench.look(now()).await;
    assert_eq!(bench.served(), other.0);
}

#[tokio::test]
async fn without_any_good_version_it_is_not_ready_and_says_why() {
    let mut bench = Bench::new();
    bench.look(now()).await;
    assert!(bench.reason().contains("tls.crt: No such file or directory"), "{}", bench.reason());
    mount(bench.volume.path(), "..1", &pair("webhook.example.com"));
    bench.look(now()).await;
    assert!(bench.reason().contains("but for webhook.example.com"), "{}", bench.reason());
}

#[tokio::test]
async fn time_alone_makes_a_version_good_and_bad() {
    let mut bench = Bench::new();
    let pair = pair(NAME);
    mount(bench.volume.path(), "..1", &pair);
    let early = now() - SignedDuration::from_hours(1);
    bench.look(early).await;
    assert_eq!(bench.served(), "");
    assert!(bench.reason().contains("is not valid before"), "{}", bench.reason());
    bench.look(now()).await;
    assert_eq!((bench.served(), bench.reason()), (pair.0, String::new()));
    bench.look(now() + LIFETIMES.leaf).await;
    assert!(bench.reason().contains("expired at 2025-03-08T12:00:00Z"), "{}", bench.reason());
}
