// SPDX-License-Identifier: Apache-2.0
use std::{
    convert::Infallible,
    sync::{Mutex, MutexGuard},
};

use axum::body::Body;
use futures::future::pending;
use http::{Method, Request, Response};
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use tokio::{
    sync::Notify,
    time::{Instant, advance, timeout},
};

use super::*;

thread_local! {
    static START: Instant = Instant::now();
}

/// Follows tokio's paused clock, each test on a thread of its own.
fn paused() -> Duration {
    START.with(Instant::elapsed)
}

fn leadership() -> (watch::Sender<Option<Duration>>, Leadership) {
    START.with(|_| ());
    let (term, until) = watch::channel(None);
    (term, Leadership { until, acting: Arc::new(watch::Sender::new(())), clock: paused, limit: S * 10 })
}

const S: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn nobody_acts_past_the_end_of_a_term_even_if_nobody_says_that_it_ended() {
    let (term, leadership) = leadership();
    assert!(leadership.act().is_none());
    term.send_replace(Some(paused() + S * 20));
    assert!(leadership.gained().await);
    drop(leadership.act().unwrap());
    advance(S * 20).await;
    assert!(leadership.act().is_none());
    leadership.lost().await;
}

#[tokio::test(start_paused = true)]
async fn a_term_that_is_extended_is_not_lost_until_its_new_end() {
    let (term, leadership) = leadership();
    let begin = paused();
    term.send_replace(Some(begin + S * 20));
    let lost = tokio::spawn({
        let leadership = leadership.clone();
        async move {
            leadership.lost().await;
            paused()
        }
    });
    tokio::task::yield_now().await;
    advance(S * 10).await;
    term.send_replace(Some(begin + S * 30));
    let at = lost.await.unwrap();
    assert!(at >= begin + S * 30, "{begin:?} to {at:?}");
}

#[tokio::test(start_paused = true)]
async fn the_release_waits_for_what_is_under_way() {
    let (term, leadership) = leadership();
    term.send_replace(Some(paused() + S * 20));
    let (one, two) = (leadership.act().unwrap(), leadership.act().unwrap());
    let acting = Arc::clone(&leadership.acting);
    drop(one);
    assert!(timeout(S, acting.closed()).await.is_err());
    drop(two);
    acting.closed().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_an_election_that_is_over_learns_it() {
    let (term, leadership) = leadership();
    drop(term);
    assert!(!leadership.gained().await);
    leadership.lost().await;
}

/// An API server that stores the first write of a free Lease and never says so.
#[derive(Clone)]
struct Silent {
    lease: Arc<Mutex<Lease>>,
    stored: Arc<Notify>,
}

impl Silent {
    fn new() -> Self {
        let metadata = ObjectMeta {
            name: Some("lease".into()),
            uid: Some("uid".into()),
            resource_version: Some("1".into()),
            ..ObjectMeta::default()
        };
        let lease = Lease { metadata, spec: None };
        Self { lease: Arc::new(Mutex::new(lease)), stored: Arc::default() }
    }

    fn lease(&self) -> MutexGuard<'_, Lease> {
        self.lease.lock().unwrap()
    }

    fn holder(&self) -> Option<String> {
        self.lease().spec.as_ref().and_then(|spec| spec.holder_identity.clone())
    }

    async fn answer(self, request: Request<kube::client::Body>) -> Result<Response<Body>, Infallible> {
        let (parts, body) = request.into_parts();
        // Lists and watches only wake.
        if parts.uri.path().ends_with("leases") {
            return pending().await;
        }
        if parts.method == Method::PUT {
            let bytes = body.collect_bytes().await.unwrap();
            let first = {
                let mut lease = self.lease();
                let mut new: Lease = serde_json::from_slice(&bytes).unwrap();
                assert_eq!(new.metadata.resource_version, lease.metadata.resource_version);
                let first = lease.spec.is_none();
                new.metadata.resource_version = Some(if first { "2" } else { "3" }.into());
                *lease = new;
                first
            };
            if first {
                self.stored.notify_one();
                return pending().await;
            }
        }
        Ok(Response::new(Body::from(serde_json::to_vec(&*self.lease()).unwrap())))
    }
}

#[tokio::test]
async fn a_lease_that_was_acquired_while_the_process_drained_is_released() {
    let server = Silent::new();
    let client = Client::new(
        tower::service_fn({
            let server = server.clone();
            move |request| server.clone().answer(request)
        }),
        "default",
    );
    let settings = Settings {
        namespace: "default".into(),
        lease: "lease",
        owner: "owner".into(),
        name: "pod".into(),
        field_manager: "tests",
        times: Times::new(S * 3600, S * 1200).unwrap(),
    };
    let (election, leadership) = Election::new(client, settings, Metrics::default());
    let shutdown = Shutdown::default();
    let election = tokio::spawn(election.run(shutdown.clone()));
    server.stored.notified().await;
    assert!(server.holder().unwrap().starts_with("pod_"));
    assert!(leadership.act().is_none(), "nobody said that it leads");
    shutdown.drain();
    election.await.unwrap().unwrap();
    assert_eq!(server.holder().as_deref(), Some(""));
}
