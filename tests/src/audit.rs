// SPDX-License-Identifier: Apache-2.0
//! The API server's audit log: what programs asked for, and when.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use anyhow::Context;
use gateherald_lab::ControlPlane;
use serde_json::Value;

use crate::vips::micros_of;

/// A request as the API server answered it.
#[derive(Clone, Debug)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// The group, empty for the core one.
    pub group: String,
    /// The plural, with the subresource: `pods/status`.
    pub resource: String,
    /// The object's namespace, or empty.
    pub namespace: String,
    /// The object's name, or empty.
    pub name: String,
    /// The HTTP status of the answer.
    pub code: u64,
    /// When it was received, since 1970.
    pub received: Duration,
}

/// The requests that came from one of these addresses, in the order of their answers; of watches the beginning.
///
/// # Errors
/// When the log cannot be read.
pub fn requests_from(plane: &ControlPlane, addresses: &[String]) -> anyhow::Result<Vec<Request>> {
    let log = std::fs::File::open(plane.audit_log()).context("the audit log")?;
    let mut requests = Vec::new();
    for line in BufReader::new(log).lines() {
        let line = line?;
        // Most lines are about others; a line that is still being written is not whole.
        let Some(event) = addresses
            .iter()
            .any(|address| line.contains(address.as_str()))
            .then(|| serde_json::from_str::<Value>(&line).ok())
            .flatten()
        else {
            continue;
        };
        let source = event["sourceIPs"][0].as_str().unwrap_or_default();
        let first =
            event["stage"] == if event["verb"] == "watch" { "ResponseStarted" } else { "ResponseComplete" };
        // A watch that is refused never starts.
        let refused = event["responseStatus"]["code"].as_u64().is_some_and(|code| code >= 400);
        if addresses.iter().any(|address| address == source) && (first || refused) {
            requests.push(request(&event)?);
        }
    }
    Ok(requests)
}

fn request(event: &Value) -> anyhow::Result<Request> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let (resource, sub) = (text(&object["resource"]), text(&object["subresource"]));
    Ok(Request {
        verb: text(&event["verb"]),
        group: text(&object["apiGroup"]),
        resource: if sub.is_empty() { resource } else { format!("{resource}/{sub}") },
        namespace: text(&object["namespace"]),
        name: text(&object["name"]),
        code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
        received: micros_of(&text(&event["requestReceivedTimestamp"]))?,
    })
}
