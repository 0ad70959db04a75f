// SPDX-License-Identifier: Apache-2.0
use gateherald_model::patch::Value as PatchValue;
use serde_json::{Value, from_slice, json};

use super::*;

/// A review as the API server sends it.
fn body() -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "11111111-2222-3333-4444-555555555555",
            "kind": { "group": "", "version": "v1", "kind": "Service" },
            "resource": { "group": "", "version": "v1", "resource": "services" },
            "namespace": "prod", "operation": "CREATE", "dryRun": true,
            "userInfo": { "username": "system:serviceaccount:kube-system:cilium-operator", "groups": ["a"] },
            "object": {
                "apiVersion": "v1", "kind": "Service",
                "metadata": {
                    "generateName": "web-", "labels": { "a": "\u{e9}\n" },
                    "managedFields": [{ "manager": "x", "fieldsV1": { "f:spec": {} } }],
                },
                "spec": { "ports": [{ "port": 80 }] },
            },
            "oldObject": null, "options": { "kind": "CreateOptions" },
        },
    })
}

fn with(pointer: &str, value: Value) -> Vec<u8> {
    let mut body = body();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[field] = value;
    serde_json::to_vec(&body).unwrap()
}

#[test]
fn what_decides_is_read_and_the_rest_is_not() {
    let bytes = serde_json::to_vec(&body()).unwrap();
    let review = Review::decode(&bytes).unwrap();
    assert_eq!(review.uid, "11111111-2222-3333-4444-555555555555");
    assert_eq!(review.user, "system:serviceaccount:kube-system:cilium-operator");
    assert_eq!((review.operation, review.dry_run), (Verb::Create, true));
    assert_eq!(review.service.labels["a"], "\u{e9}\n");
    assert_eq!(review.service_name(), "prod/web-*");
    assert!(review.old.is_none());
}

#[test]
fn an_update_brings_the_old_object() {
    let mut body = body();
    body["request"]["operation"] = json!("UPDATE");
    body["request"]["oldObject"] = json!({ "metadata": { "name": "web", "labels": { "b": "2" } } });
    let bytes = serde_json::to_vec(&body).unwrap();
    let review = Review::decode(&bytes).unwrap();
    assert_eq!(review.old.unwrap().labels["b"], "2");
}

#[test]
fn what_is_no_review_of_a_service_says_why() {
    for (bytes, expected) in [
        (b"".to_vec(), "not an AdmissionReview: EOF"),
        (b"garbage".to_vec(), "not an AdmissionReview: expected value"),
        (b"[]".to_vec(), "expected admission.k8s.io/v1 AdmissionReview, got  "),
        (b"{}".to_vec(), "expected admission.k8s.io/v1 AdmissionReview, got  "),
        (b"\xff\xfe".to_vec(), "not an AdmissionReview:"),
        (
            with("/apiVersion", json!("admission.k8s.io/v1beta1")),
            "expected admission.k8s.io/v1 AdmissionReview, got",
        ),
        (with("/kind", json!("Review")), "expected admission.k8s.io/v1 AdmissionReview, got"),
        (with("/request", Value::Null), "the AdmissionReview has no request"),
        (with("/request/uid", json!("")), "the request has no uid"),
        (with("/request/kind/kind", json!("Pod")), "the request is about \"\" Pod, not about a Service"),
        (
            with("/request/kind/group", json!("x.io")),
            "the request is about \"x.io\" Service, not about a Service",
        ),
        (with("/request/operation", json!("DELETE")), "the operation Delete is not reviewed"),
        (with("/request/operation", json!("EAT")), "not an AdmissionReview: unknown variant"),
        (with("/request/object", Value::Null), "the request has no object"),
        (with("/request/object/metadata/labels", json!({ "a": 1 })), "not an AdmissionReview: invalid type"),
    ] {
        let error = Review::decode(&bytes).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error} instead of {expected}");
    }
}

/// The usual review, with a text in place of `[{"port":80}]` of the spec, which is not read.
fn with_spec(ports: &str) -> Vec<u8> {
    let text = serde_json::to_string(&body()).unwrap();
    let changed = text.replace("[{\"port\":80}]", ports);
    assert_ne!(changed, text);
    changed.into_bytes()
}

/// The usual review, with this text as the Service's labels.
fn with_labels(labels: &[u8]) -> Vec<u8> {
    let text = serde_json::to_string(&body()).unwrap();
    let (before, after) = text.split_once("{\"a\":\"\u{e9}\\n\"}").unwrap();
    [before.as_bytes(), labels, after.as_bytes()].concat()
}

#[test]
fn what_is_not_read_may_be_anything_that_ends() {
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    for ports in [
        &deep,
        "1e999999",
        "-1234567890123456789012345678901234567890.5e-7",
        r#""\ud800""#,
        r#"{"a":1,"a":2}"#,
    ] {
        let bytes = with_spec(ports);
        let review = Review::decode(&bytes).unwrap();
        assert_eq!(review.service_name(), "prod/web-*");
    }
    for ports in ["[", "1e", "\"\0\"", "\"\\x\"", "nul", "[1,]", "{1:2}", "[]]"] {
        assert!(Review::decode(&with_spec(ports)).is_err(), "{ports:?}");
    }
    assert!(Review::decode(deep.as_bytes()).is_err());
}

#[test]
fn what_is_read_must_be_right() {
    for labels in [
        &b"{\"a\":\"\xff\"}"[..],
        b"{\"\xc3\":\"\"}",
        br#"{"a":"\ud800"}"#,
        b"{\"a\":\"\0\"}",
        br#"{"a":1e999}"#,
        br#"{"a":null}"#,
        br#"{"a":{"b":"c"}}"#,
        br#"[["a","b"]]"#,
        br#""a""#,
    ] {
        assert!(Review::decode(&with_labels(labels)).is_err(), "{}", String::from_utf8_lossy(labels));
    }
    let bytes = with_labels(br#"{"a":"1","\u0000":"\u0000","a":"2"}"#);
    let labels = Review::decode(&bytes).unwrap().service.labels;
    // As in Go, the last of two equal keys counts.
    assert_eq!((labels["a"].as_str(), labels["\0"].as_str(), labels.len()), ("2", "\0", 2));
    let twice = with_spec("[]");
    let twice = String::from_utf8(twice).unwrap().replacen('{', "{\"kind\":\"AdmissionReview\",", 1);
    assert!(Review::decode(twice.as_bytes()).unwrap_err().to_string().contains("duplicate field"));
    let mut more = with_spec("[]");
    more.extend_from_slice(b"{}");
    assert!(Review::decode(&more).unwrap_err().to_string().contains("trailing"));
}

#[test]
fn labels_without_end_are_refused_early() {
    let many: Vec<String> = (0..700_000).map(|i| format!("\"{i:x}\":\"\"")).collect();
    let bytes = with_labels(format!("{{{}}}", many.join(",")).as_bytes());
    let error = Review::decode(&bytes).unwrap_err().to_string();
    assert!(error.contains("a map of at most 16384 strings"), "{error}");
}

#[test]
fn what_is_too_long_for_a_name_is_not_taken_for_one() {
    let long = || json!("x".repeat(254));
    let owner = |field: &str| {
        let mut owner =
            json!({ "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "a" });
        owner[field] = long();
        json!([owner])
    };
    for (pointer, value, expected) in [
        ("/request/uid", long(), "the request's uid is too long"),
        ("/request/namespace", long(), "the namespace is too long"),
        ("/request/object/metadata/name", long(), "the Service's name is too long"),
        ("/request/object/metadata/generateName", long(), "the Service's generateName is too long"),
        ("/request/object/metadata/ownerReferences", owner("name"), "the Gateway's name is too long"),
        ("/request/object/metadata/ownerReferences", owner("uid"), "the Gateway's uid is too long"),
    ] {
        assert_eq!(Review::decode(&with(pointer, value)).unwrap_err().to_string(), expected);
    }
    let bytes = with("/request/userInfo/username", json!("\u{e9}".repeat(1000)));
    let user = Review::decode(&bytes).unwrap().user;
    assert_eq!(user, "\u{e9}".repeat(128));
}

#[test]
fn a_response_without_patch_has_no_patch_fields() {
    let response = Response { uid: "u", patch: &[], warnings: vec![], audit_annotations: BTreeMap::new() };
    let expected = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": { "uid": "u", "allowed": true },
    });
    assert_eq!(from_slice::<Value>(&response.encode().unwrap()).unwrap(), expected);
}

#[test]
fn a_patch_is_a_base64_string() {
    let operations =
        [Operation::Add { path: "/metadata/labels/a".into(), value: PatchValue::Text("1".into()) }];
    let response = Response {
        uid: "u",
        patch: &operations,
        warnings: vec!["w".into()],
        audit_annotations: BTreeMap::from([("outcome", "injected".into())]),
    };
    let body: Value = from_slice(&response.encode().unwrap()).unwrap();
    let response = &body["response"];
    assert_eq!(response["patchType"], "JSONPatch");
    assert_eq!(response["warnings"], json!(["w"]));
    assert_eq!(response["auditAnnotations"], json!({ "outcome": "injected" }));
    let patch = BASE64_STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    let expected = json!([{ "op": "add", "path": "/metadata/labels/a", "value": "1" }]);
    assert_eq!(from_slice::<Value>(&patch).unwrap(), expected);
}
