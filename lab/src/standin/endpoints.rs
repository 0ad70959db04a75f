// SPDX-License-Identifier: Apache-2.0
//! Stands in for the kubelet and the EndpointSlice controller where a Service's pods are the lab's processes.

use std::net::Ipv4Addr;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

/// Writes the slice `name` of a Service: one endpoint at `address`, for the Service's port `https` (8443).
///
/// # Errors
/// Those of the API server.
pub async fn set(
    api: Client,
    namespace: &str,
    service: &str,
    name: &str,
    address: Ipv4Addr,
    ready: bool,
) -> anyhow::Result<()> {
    let endpoints = json!([{ "addresses": [address], "conditions": { "ready": ready, "serving": true } }]);
    apply(api, namespace, service, (name, "IPv4"), &endpoints, ("https", 8443)).await
}

/// Writes the slice `name` of a Service with these endpoints, in the API's form.
///
/// # Errors
/// Those of the API server.
pub async fn write(
    api: Client,
    namespace: &str,
    service: &str,
    (name, address_type): (&str, &str),
    endpoints: &Value,
) -> anyhow::Result<()> {
    apply(api, namespace, service, (name, address_type), endpoints, ("http", 80)).await
}

async fn apply(
    api: Client,
    namespace: &str,
    service: &str,
    (name, address_type): (&str, &str),
    endpoints: &Value,
    (port_name, port): (&str, u16),
) -> anyhow::Result<()> {
    let slices: Api<EndpointSlice> = Api::namespaced(api, namespace);
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/service-name": service,
                "endpointslice.kubernetes.io/managed-by": "gateherald-lab",
            },
        },
        "addressType": address_type,
        "endpoints": endpoints,
        "ports": [{ "name": port_name, "port": port, "protocol": "TCP" }],
    });
    slices.patch(name, &PatchParams::apply("gateherald-lab").force(), &Patch::Apply(&slice)).await?;
    Ok(())
}

/// Deletes a slice.
///
/// # Errors
/// Those of the API server.
pub async fn remove(api: Client, namespace: &str, name: &str) -> anyhow::Result<()> {
    let slices: Api<EndpointSlice> = Api::namespaced(api, namespace);
    slices.delete(name, &DeleteParams::default()).await?;
    Ok(())
}
