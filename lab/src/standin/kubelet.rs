// SPDX-License-Identifier: Apache-2.0
//! Stands in for the kubelet as the writer of Node objects.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Map, Value, json};

const MANAGER: &str = "gateherald-lab-kubelet";

/// Creates a Ready Node whose InternalIP is `address`.
///
/// # Errors
/// Those of the API server.
pub async fn register(
    api: Client,
    name: &str,
    labels: &BTreeMap<String, String>,
    address: Ipv4Addr,
) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(api.clone());
    let mut labels = labels.clone();
    labels.insert("kubernetes.io/hostname".to_owned(), name.to_owned());
    labels.insert("kubernetes.io/os".to_owned(), "linux".to_owned());
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels } });
    nodes.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&node)).await?;
    let addresses = json!([
        { "type": "InternalIP", "address": address },
        { "type": "Hostname", "address": name },
    ]);
    let status = json!({ "status": { "addresses": addresses } });
    nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(&status)).await?;
    set_condition(api, name, "Ready", true).await
}

/// Sets one condition and leaves the others.
///
/// # Errors
/// Those of the API server.
pub async fn set_condition(api: Client, name: &str, kind: &str, status: bool) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(api);
    let status = if status { "True" } else { "False" };
    let condition =
        json!({ "type": kind, "status": status, "reason": "Lab", "message": "written by the lab" });
    // Conditions are a list keyed by type; a strategic patch merges by that key.
    let patch = json!({ "status": { "conditions": [condition] } });
    nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(&patch)).await?;
    Ok(())
}

/// Sets and removes (`None`) labels.
///
/// # Errors
/// Those of the API server.
pub async fn label(api: Client, name: &str, labels: &[(&str, Option<&str>)]) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(api);
    let labels: Map<String, Value> =
        labels.iter().map(|&(key, value)| (key.to_owned(), json!(value))).collect();
    let patch = json!({ "metadata": { "labels": labels } });
    nodes.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}

/// Deletes the Node.
///
/// # Errors
/// Those of the API server.
pub async fn delete(api: Client, name: &str) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(api);
    nodes.delete(name, &DeleteParams::default()).await?;
    Ok(())
}
