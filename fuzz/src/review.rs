// SPDX-License-Identifier: Apache-2.0
//! The review decoder against an independent JSON parser, and the response.

use base64::{Engine, prelude::BASE64_STANDARD};
use gateherald_model::patch;
use gateherald_webhook::review::{Response, Review};
use serde_json::{Value, from_slice, json, to_value};

/// Any bytes: they are refused with a reason, or read as `serde_json` reads them; and the response says what went into it.
pub fn review(bytes: &[u8]) {
    let review = match Review::decode(bytes) {
        Ok(review) => review,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(!review.uid.is_empty());
    assert!(review.user.len() <= 256 && review.service_name().starts_with(&review.service.namespace));
    // It gives up at a depth of 128, and looks at what the decoder skips.
    if let Ok(value) = from_slice::<Value>(bytes) {
        compare(&review, &value["request"]);
    }
    respond(&review);
}

fn compare(review: &Review<'_>, request: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    assert_eq!(review.uid, text(&request["uid"]));
    assert_eq!(review.service.namespace, text(&request["namespace"]));
    let metadata = &request["object"]["metadata"];
    assert_eq!(review.service.name, text(&metadata["name"]));
    for (read, value) in [
        (&review.service.labels, &metadata["labels"]),
        (&review.service.annotations, &metadata["annotations"]),
    ] {
        let absent = value.is_null() && read.is_empty();
        assert!(absent || json!(read) == *value, "{read:?} is not {value}");
    }
    let owners = metadata["ownerReferences"].as_array().map_or(0, Vec::len);
    assert_eq!(review.service.owner_references.len(), owners);
}

fn respond(review: &Review<'_>) {
    // The labels themselves as a patch: any text must survive.
    let operations: Vec<_> = review
        .service
        .labels
        .iter()
        .map(|(key, value)| patch::Operation::Add {
            path: format!("/{key}"),
            value: patch::Value::Text(value.clone()),
        })
        .collect();
    let warnings = vec![review.service_name()];
    let audit_annotations = [("outcome", review.user.to_string())].into();
    let response = Response { uid: &review.uid, patch: &operations, warnings, audit_annotations };
    let Ok(body) = response.encode() else { panic!("no response") };
    let Ok(body) = from_slice::<Value>(&body) else { panic!("the response is no JSON") };
    let response = &body["response"];
    assert_eq!((&response["uid"], &response["allowed"]), (&json!(review.uid), &json!(true)));
    assert_eq!(response["warnings"][0], json!(review.service_name()));
    let patch = response["patch"].as_str().and_then(|text| BASE64_STANDARD.decode(text).ok());
    let patch = patch.and_then(|bytes| from_slice::<Value>(&bytes).ok());
    assert_eq!(patch, (!operations.is_empty()).then(|| to_value(&operations).unwrap_or_default()));
}
