// SPDX-License-Identifier: Apache-2.0
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use axum::body::Body;
use http::{Request, Response};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;

use super::*;

const LIST: &str =
    r#"{"apiVersion":"v1","kind":"ConfigMapList","metadata":{"resourceVersion":"1"},"items":[]}"#;

/// An API server whose watches last so long and then end without an error; counts them.
fn watches_that_last(time: Duration) -> (Client, Arc<AtomicU32>) {
    let watches = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&watches);
    let answer = move |request: Request<kube::client::Body>| {
        let body = if request.uri().query().is_some_and(|query| query.contains("watch=")) {
            counted.fetch_add(1, Ordering::Relaxed);
            Body::from_stream(stream::once(sleep(time)).map(|()| Ok::<_, Infallible>("")))
        } else {
            Body::from(LIST)
        };
        async { Ok::<_, Infallible>(Response::new(body)) }
    };
    (Client::new(tower::service_fn(answer), "default"), watches)
}

/// How many watches are opened in an hour.
async fn opened_in_an_hour(time: Duration) -> u32 {
    let (client, watches) = watches_that_last(time);
    let api: Api<ConfigMap> = Api::all(client);
    let news = follow(
        Subject { api, name: "configmaps", only: None, pauses: Backoff::default(), span: Span::long() },
        None,
    );
    let counting = news.for_each(|news| async move {
        assert!(!matches!(news, News::Failed(..)), "{news:?}");
    });
    assert!(timeout(Duration::from_hours(1), counting).await.is_err(), "it never ends");
    watches.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_at_once_is_taken_up_again_after_longer_and_longer_pauses() {
    let watches = opened_in_an_hour(Duration::ZERO).await;
    // Every 3.3 to 5 s.
    assert!((700..1200).contains(&watches), "{watches}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ended_in_due_time_is_taken_up_again_at_once() {
    let watches = opened_in_an_hour(Duration::from_mins(1)).await;
    assert!((58..=60).contains(&watches), "{watches}");
}
