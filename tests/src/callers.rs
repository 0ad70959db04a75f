// SPDX-License-Identifier: Apache-2.0
//! Callers that, unlike the API server, open a new connection for each call: nothing that a replica serves, however short,
//! stays unseen. One goes by the newest bundle, one by a bundle of a second ago, as an API server may whose cache lags.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gateherald_lab::{Lab, Webhook};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Api;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::certificates::{CONFIGURATION, handshake_at};

/// How far the second caller lags behind: half of the time for which CAs settle here.
pub const LAG: Duration = Duration::from_secs(1);
/// A handshake that took longer proves nothing: what it met may be newer than the bundle that it went by.
const PROMPT: Duration = Duration::from_millis(300);
const PAUSE: Duration = Duration::from_millis(10);

/// The callers, at work.
pub struct Callers {
    ended: Arc<AtomicBool>,
    handshakes: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<anyhow::Result<()>>>,
}

/// The live bundles that were seen, each with the instant at which it was asked for: it was live then or later.
#[derive(Clone, Default)]
struct Bundles(Arc<Mutex<VecDeque<(Instant, String)>>>);

impl Callers {
    /// Starts them against these replicas.
    pub fn start(lab: &Lab, replicas: &[&Webhook]) -> Self {
        let (ended, handshakes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let bundles = Bundles::default();
        let mut tasks =
            vec![tokio::spawn(follow(Api::all(lab.client()), bundles.clone(), Arc::clone(&ended)))];
        for replica in replicas {
            for lag in [Duration::ZERO, LAG] {
                let (ended, handshakes) = (Arc::clone(&ended), Arc::clone(&handshakes));
                tasks.push(tokio::spawn(call(replica.address(), lag, bundles.clone(), ended, handshakes)));
            }
        }
        Self { ended, handshakes, tasks }
    }

    /// Stops them; returns how many handshakes there were.
    ///
    /// # Errors
    /// When one failed.
    pub async fn finish(self) -> anyhow::Result<u64> {
        self.ended.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await??;
        }
        Ok(self.handshakes.load(Ordering::Relaxed))
    }
}

impl Bundles {
    fn put(&self, asked: Instant, bundle: String) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.back().is_none_or(|(_, last)| *last != bundle) {
            seen.push_back((asked, bundle));
        }
    }

    /// The newest that was live at this instant.
    fn at(&self, instant: Instant) -> Option<String> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().rev().find(|(asked, _)| *asked <= instant).map(|(_, bundle)| bundle.clone())
    }
}

async fn follow(
    api: Api<MutatingWebhookConfiguration>,
    bundles: Bundles,
    ended: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    while !ended.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let live = api.get(CONFIGURATION).await?;
        let entry = live.webhooks.into_iter().flatten().next();
        let bundle = entry.and_then(|entry| entry.client_config.ca_bundle).unwrap_or_default();
        bundles.put(asked, String::from_utf8(bundle.0)?);
        sleep(PAUSE).await;
    }
    Ok(())
}

async fn call(
    replica: Ipv4Addr,
    lag: Duration,
    bundles: Bundles,
    ended: Arc<AtomicBool>,
    handshakes: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    while !ended.load(Ordering::Relaxed) {
        let start = Instant::now();
        let bundle = start.checked_sub(lag).and_then(|then| bundles.at(then));
        if let Some(bundle) = bundle {
            let done = handshake_at(replica, &bundle).await;
            if let (Err(error), true) = (done, start.elapsed() < PROMPT) {
                return Err(error.context(format!("a caller that lags {lag:?} could not call {replica}")));
            }
            handshakes.fetch_add(1, Ordering::Relaxed);
        }
        sleep(PAUSE).await;
    }
    Ok(())
}
