// SPDX-License-Identifier: Apache-2.0
//! Requests through the whole of the program but its sockets, with a stand-in for the API server's answer.

use std::{collections::HashMap, convert::Infallible, future::pending};

use base64::{Engine, prelude::BASE64_STANDARD};
use gateherald_model::{owner::Gateway, rules::Rules};
use prometheus_client::{encoding::text::encode, registry::Registry};
use serde_json::{Value, from_slice, json};
use tokio::sync::watch;

use super::*;
use crate::{
    audit::{Lines, Trail},
    io::gateways::Gateways,
    metrics::Metrics,
};

const GATEWAY_UID: &str = "uid-of-the-gateway";

/// What a live look-up finds.
#[derive(Clone, Debug)]
enum Api {
    Has(Gateway),
    HasNone,
    Fails,
    Hangs,
}

impl Ask for Api {
    async fn ask(&self, _: &Rules, _: &str, _: &str) -> Result<Option<Gateway>, String> {
        match self {
            Self::Has(gateway) => Ok(Some(gateway.clone())),
            Self::HasNone => Ok(None),
            Self::Fails => Err("RBAC does not allow to get gateways".into()),
            Self::Hangs => pending().await,
        }
    }
}

struct Bench {
    frontend: Arc<Frontend<Api>>,
    synced: watch::Sender<bool>,
    shutdown: Shutdown,
    registry: Registry,
    lines: Lines,
}

fn gateway(labels: &[(&str, &str)]) -> Gateway {
    let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    Gateway { uid: GATEWAY_UID.into(), labels, ..Gateway::default() }
}

/// A frontend that knows `cached` as prod/cd-arp-gw.
fn bench(cached: Option<Gateway>, api: Api) -> Bench {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let (trail, lines) = Trail::new(false, metrics.clone());
    let gateways = Arc::new(Gateways::default());
    let named = cached.map(|gateway| ("cd-arp-gw".to_owned(), Arc::new(gateway)));
    gateways.replace(HashMap::from([("prod".to_owned(), named.into_iter().collect())]));
    let synced = watch::Sender::new(true);
    let shutdown = Shutdown::default();
    let rules = watch::Sender::new(Arc::new(Rules::default())).subscribe();
    let handler = Handler { rules, gateways, synced: synced.subscribe(), ask: api, trail, metrics };
    Bench { frontend: Frontend::new(handler, shutdown.clone()), synced, shutdown, registry, lines }
}

fn service(labels: &Value) -> Value {
    json!({ "metadata": {
        "name": "cilium-gateway-cd-arp-gw", "namespace": "prod", "labels": labels,
        "ownerReferences": [{
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "cd-arp-gw",
            "uid": GATEWAY_UID, "controller": true,
        }],
    } })
}

/// A Service with labels that were all injected.
fn remembering(labels: &Value) -> Value {
    let mut service = service(labels);
    service["metadata"]["annotations"] = json!({ "gateherald.io/injected-labels": labels.to_string() });
    service
}

fn review(object: &Value) -> Value {
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u1", "kind": { "group": "", "version": "v1", "kind": "Service" }, "namespace": "prod",
        "operation": "CREATE", "userInfo": { "username": "controller" }, "object": object,
    } })
}

fn request(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post("/mutate?timeout=3s")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body.into()))
        .unwrap()
}

impl Bench {
    async fn post(&self, review: &Value) -> Response<Full<Bytes>> {
        self.frontend.serve(request(review.to_string())).await
    }

    async fn answer(&self, object: &Value) -> Value {
        let response = self.post(&review(object)).await;
        assert_eq!(response.status(), StatusCode::OK);
        let body: Value = from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
        assert_eq!(body["response"]["uid"], "u1");
        assert_eq!(body["response"]["allowed"], true);
        body["response"].clone()
    }

    async fn answer_update(&self, object: &Value, old: &Value) -> Value {
        let mut review = review(object);
        review["request"]["operation"] = json!("UPDATE");
        review["request"]["oldObject"] = old.clone();
        let body = self.post(&review).await.into_body().collect().await.unwrap().to_bytes();
        from_slice::<Value>(&body).unwrap()["response"].clone()
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }

    /// The audit lines; ends the bench.
    async fn audit(self) -> Vec<Value> {
        drop(self.frontend);
        let mut output = Vec::new();
        self.lines.write_to(&mut output).await.unwrap();
        output
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| from_slice(line).unwrap())
            .collect()
    }
}

/// The object with the response's patch applied.
fn patched(object: &Value, response: &Value) -> Value {
    let mut object = object.clone();
    if let Some(patch) = response["patch"].as_str() {
        let patch: json_patch::Patch = from_slice(&BASE64_STANDARD.decode(patch).unwrap()).unwrap();
        json_patch::patch(&mut object, &patch).unwrap();
    }
    object
}

#[tokio::test]
async fn a_created_service_gets_its_gateways_labels_and_an_audit_line() {
    let bench = bench(Some(gateway(&[("mdhlabs-arp", "enable"), ("helm.sh/chart", "x")])), Api::HasNone);
    let object = service(&json!({ "own": "1" }));
    let response = bench.answer(&object).await;
    let after = patched(&object, &response);
    assert_eq!(after["metadata"]["labels"], json!({ "mdhlabs-arp": "enable", "own": "1" }));
    let expected = json!({
        "outcome": "injected", "gateway": "prod/cd-arp-gw", "injected": "mdhlabs-arp", "skipped": "helm.sh/chart=denied",
    });
    assert_eq!(response["auditAnnotations"], expected);
    assert_eq!(response["warnings"], Value::Null);
    let metrics = bench.metrics();
    assert!(metrics.contains("reviews_total{outcome=\"injected\"} 1\n"), "{metrics}");
    assert!(metrics.contains("labels_skipped_total{reason=\"denied\"} 1\n"), "{metrics}");
    assert!(metrics.contains("reviews_in_flight 0\n"), "{metrics}");
    let mut lines = bench.audit().await;
    assert_eq!(lines.len(), 1);
    let line = lines[0].as_object_mut().unwrap();
    for key in ["time", "microseconds"] {
        assert!(line.remove(key).is_some(), "{key}");
    }
    let expected = json!({
        "target": "audit", "version": 1, "uid": "u1", "user": "controller", "operation": "CREATE", "dryRun": false,
        "service": "prod/cilium-gateway-cd-arp-gw", "gateway": "prod/cd-arp-gw", "outcome": "injected",
        "injected": { "mdhlabs-arp": "enable" }, "updated": {}, "removed": [],
        "skipped": [{ "key": "helm.sh/chart", "reason": "denied" }],
    });
    assert_eq!(lines[0], expected);
}

#[tokio::test]
async fn a_gateway_that_the_cache_does_not_hold_yet_is_asked_for() {
    let fresh = gateway(&[("a", "1")]);
    let earlier = Gateway { uid: "of-an-earlier-one".into(), ..fresh.clone() };
    for cached in [None, Some(earlier)] {
        let bench = bench(cached, Api::Has(fresh.clone()));
        let object = service(&Value::Null);
        let response = bench.answer(&object).await;
        assert_eq!(patched(&object, &response)["metadata"]["labels"], json!({ "a": "1" }));
        assert!(bench.metrics().contains("gateway_lookups_total{result=\"found\"} 1\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn every_outcome_without_a_patch_has_its_name() {
    let known = || Some(gateway(&[("a", "1")]));
    let replaced = || Gateway { uid: "another".into(), ..gateway(&[("a", "1")]) };
    let mut foreign = service(&json!({}));
    foreign["metadata"]["ownerReferences"][0]["apiVersion"] = json!("networking.istio.io/v1");
    let mut opted_out = service(&json!({}));
    opted_out["metadata"]["annotations"] = json!({ "gateherald.io/inject": "false" });
    let mut full = service(&json!({}));
    full["metadata"]["annotations"] = json!({ "k": "v".repeat(262_143) });
    let plain = || service(&json!({}));
    for (cached, api, object, outcome, audited) in [
        (known(), Api::HasNone, service(&json!({ "a": "user" })), "unchanged", false),
        (known(), Api::Hangs, foreign, "no-owner", false),
        (known(), Api::Hangs, opted_out, "opted-out", false),
        (None, Api::HasNone, plain(), "gateway-missing", true),
        (Some(replaced()), Api::Has(replaced()), plain(), "gateway-replaced", true),
        (None, Api::Fails, plain(), "lookup-failed", true),
        (None, Api::Hangs, plain(), "lookup-failed", true),
        (known(), Api::HasNone, full, "annotations-full", true),
    ] {
        let bench = bench(cached, api);
        let response = bench.answer(&object).await;
        assert_eq!(response["patch"], Value::Null, "{outcome}");
        assert_eq!(response["auditAnnotations"]["outcome"], outcome);
        let line = format!("reviews_total{{outcome=\"{outcome}\"}} 1\n");
        assert!(bench.metrics().contains(&line), "{outcome}");
        let lines = bench.audit().await;
        assert_eq!(lines.len(), usize::from(audited), "{outcome}");
        assert!(lines.iter().all(|line| line["outcome"] == outcome));
    }
}

#[tokio::test]
async fn an_update_that_drops_labels_gets_them_back_with_a_warning() {
    // Nobody has to be asked: what comes back was there a moment ago.
    let bench = bench(Some(gateway(&[("a", "1")])), Api::Fails);
    let object = service(&json!({}));
    let response = bench.answer_update(&object, &remembering(&json!({ "a": "1" }))).await;
    assert_eq!(patched(&object, &response)["metadata"]["labels"], json!({ "a": "1" }));
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(warning.contains(" a ") && warning.contains("gateherald.io/inject=false"), "{warning}");
}

#[tokio::test]
async fn a_cache_that_lags_undoes_nothing_that_another_wrote() {
    let wrote = remembering(&json!({ "a": "2", "new": "1" }));
    let newest = gateway(&[("a", "2"), ("new", "1")]);
    for (cached, old) in [
        // Changed and added on the Gateway: the reconciler's write is reviewed here.
        (gateway(&[("a", "1")]), remembering(&json!({ "a": "1" }))),
        // The same of a Service that no webhook had seen.
        (gateway(&[("a", "1")]), service(&json!({}))),
        // Dropped on the Gateway.
        (gateway(&[("a", "2"), ("new", "1"), ("gone", "1")]), remembering(&json!({ "gone": "1" }))),
        // Opted out meanwhile, and in again.
        (Gateway { inject: Some("false".into()), ..newest.clone() }, wrote.clone()),
    ] {
        let bench = bench(Some(cached), Api::Has(newest.clone()));
        let response = bench.answer_update(&wrote, &old).await;
        assert_eq!(response["patch"], Value::Null, "{old}");
        assert!(bench.metrics().contains("gateway_lookups_total{result=\"found\"} 1\n"));
    }
    // And when nobody can be asked, the Service stays as it is.
    let bench = bench(Some(gateway(&[("a", "1")])), Api::Fails);
    let response = bench.answer_update(&wrote, &wrote).await;
    assert_eq!(
        (&response["patch"], &response["auditAnnotations"]["outcome"]),
        (&Value::Null, &json!("lookup-failed"))
    );
}

#[tokio::test]
async fn what_is_no_review_gets_a_4xx_and_is_counted() {
    let bench = bench(None, Api::HasNone);
    let post = |path: &str, kind: &str, body: Vec<u8>| {
        Request::post(path).header(CONTENT_TYPE, kind).body(Full::new(Bytes::from(body))).unwrap()
    };
    let json = "application/json";
    let get = Request::get("/mutate").body(Full::default()).unwrap();
    let bare = Request::post("/mutate").body(Full::default()).unwrap();
    for (request, status) in [
        (post("/mutate", json, b"garbage".to_vec()), StatusCode::BAD_REQUEST),
        (post("/mutate", json, vec![]), StatusCode::BAD_REQUEST),
        (post("/mutate", "text/plain", b"{}".to_vec()), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (post("/mutate", json, vec![b' '; BODY_LIMIT + 1]), StatusCode::PAYLOAD_TOO_LARGE),
        (post("/mutate/", json, b"{}".to_vec()), StatusCode::NOT_FOUND),
        (post("/", json, b"{}".to_vec()), StatusCode::NOT_FOUND),
        (get, StatusCode::METHOD_NOT_ALLOWED),
        (bare, StatusCode::UNSUPPORTED_MEDIA_TYPE),
    ] {
        let shown = format!("{} {}", request.method(), request.uri());
        assert_eq!(bench.frontend.serve(request).await.status(), status, "{shown}");
    }
    assert!(bench.metrics().contains("reviews_total{outcome=\"invalid-review\"} 8\n"));
    let charset =
        post("/mutate", "Application/JSON; charset=utf-8", review(&service(&json!({}))).to_string().into());
    assert_eq!(bench.frontend.serve(charset).await.status(), StatusCode::OK);
}

/// A body of unknown length: its size is found out while reading.
#[tokio::test]
async fn a_streamed_body_is_cut_at_the_limit() {
    let bench = bench(None, Api::HasNone);
    let frames =
        (0..8).map(|_| Ok::<_, Infallible>(http_body::Frame::data(Bytes::from(vec![b' '; 1024 * 1024]))));
    let body = http_body_util::StreamBody::new(futures::stream::iter(frames));
    let request = Request::post("/mutate").header(CONTENT_TYPE, "application/json").body(body).unwrap();
    assert_eq!(bench.frontend.serve(request).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_given_up() {
    let bench = bench(None, Api::HasNone);
    let body = http_body_util::StreamBody::new(futures::stream::pending::<
        Result<http_body::Frame<Bytes>, Infallible>,
    >());
    let request = Request::post("/mutate").header(CONTENT_TYPE, "application/json").body(body).unwrap();
    assert_eq!(bench.frontend.serve(request).await.status(), StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn before_the_first_list_a_review_waits_briefly_then_is_sent_away() {
    let bench = bench(Some(gateway(&[("a", "1")])), Api::HasNone);
    bench.synced.send_replace(false);
    let begun = Instant::now();
    let response = bench.post(&review(&service(&json!({})))).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[RETRY_AFTER], "1");
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
    assert!(bench.metrics().contains("reviews_total{outcome=\"not-synced\"} 1\n"));
    // What needs no Gateway needs no list.
    let mut unowned = service(&json!({}));
    unowned["metadata"]["ownerReferences"] = json!([]);
    assert_eq!(bench.answer(&unowned).await["auditAnnotations"]["outcome"], "no-owner");
    // A list that comes in time is used.
    let object = service(&json!({}));
    let (response, ()) = tokio::join!(bench.answer(&object), async {
        bench.synced.send_replace(true);
    });
    assert_eq!(response["auditAnnotations"]["outcome"], "injected");
}

#[tokio::test]
async fn while_draining_answers_close_their_connection() {
    let bench = bench(Some(gateway(&[("a", "1")])), Api::HasNone);
    let review = review(&service(&json!({})));
    assert_eq!(bench.post(&review).await.headers().get(CONNECTION), None);
    bench.shutdown.drain();
    let response = bench.post(&review).await;
    assert_eq!(
        (response.status(), response.headers()[CONNECTION].as_bytes()),
        (StatusCode::OK, &b"close"[..])
    );
}
