// SPDX-License-Identifier: Apache-2.0
//! What an installation is asked to show that it works, and whether the answer does.

use gateherald_model::memory::INJECTED_LABELS;
use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Service};
use kube::{
    ResourceExt,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};
use serde_json::json;

/// Of the Gateway, fixed so that RBAC can name it, and of the Service.
pub const NAME: &str = "gateherald-self-test";
const VALUE: &str = "passed";

/// The kind of Gateway API v1.
pub fn gateway_resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "Gateway");
    ApiResource::from_gvk_with_plural(&kind, "gateways")
}

/// A Gateway that carries `label`. Nobody serves its class, so no controller acts upon it.
pub fn gateway(namespace: &str, label: &str) -> DynamicObject {
    let mut gateway = DynamicObject::new(NAME, &gateway_resource()).within(namespace);
    gateway.metadata.labels = Some([(label.to_owned(), VALUE.to_owned())].into());
    gateway.data = json!({ "spec": {
        "gatewayClassName": NAME,
        "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP" }],
    }});
    gateway
}

/// The Service that a controller would generate for `gateway`; without labels.
pub fn service(gateway: &DynamicObject) -> serde_json::Result<Service> {
    serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": NAME,
            "namespace": gateway.namespace(),
            "ownerReferences": [{
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "Gateway",
                "name": gateway.name_any(),
                "uid": gateway.uid(),
                "controller": true,
            }],
        },
        // No LoadBalancer: a dry run must not make anybody think of an address.
        "spec": { "type": "ClusterIP", "ports": [{ "port": 80 }] },
    }))
}

/// Whether the webhook saw the Service; else why it may not have.
pub fn labelled(service: &Service, label: &str) -> Result<(), String> {
    let has_label = service.labels().get(label).is_some_and(|value| value == VALUE);
    if has_label && service.annotations().contains_key(INJECTED_LABELS) {
        return Ok(());
    }
    Err(format!(
        "the API server made the Service without label {label}: it did not call the webhook, got no answer, or \
         webhook.labelRules leave {label} out. Look at `kubectl get pods`, at /ready of a replica, and whether the \
         registration selects namespace {}",
        service.namespace().unwrap_or_default()
    ))
}

/// How many nodes have a ready announcer of the present version, if it is all of them; else what is missing.
pub fn rolled_out(set: &DaemonSet) -> Result<i32, String> {
    let Some(status) = &set.status else { return Err("its status has not been written yet".into()) };
    if status.observed_generation < set.metadata.generation {
        return Err("its newest version has not been seen by its controller yet".into());
    }
    let (wanted, updated) = (status.desired_number_scheduled, status.updated_number_scheduled.unwrap_or(0));
    if wanted == 0 {
        return Err("no node takes it: look at announcer.nodeSelector and announcer.tolerations".into());
    }
    if updated < wanted || status.number_ready < wanted {
        let ready = status.number_ready;
        return Err(format!(
            "{ready} ready and {updated} up to date of {wanted} nodes: see `kubectl describe daemonset`"
        ));
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests;
