// SPDX-License-Identifier: Apache-2.0
//! Gateways that no controller looks at, in a namespace of their own.

use anyhow::Context;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::harness::Lab;
use crate::standin::gateway_controller::gateway_resource;

/// A label that a Service gets from its Gateway.
pub(super) const LABEL: &str = "mdhlabs-arp";

/// The Gateways, and where they are.
#[derive(Clone)]
pub(super) struct Gateways {
    api: Api<DynamicObject>,
    pub(super) namespace: String,
}

impl Gateways {
    /// In a new namespace.
    pub(super) async fn new(lab: &Lab) -> anyhow::Result<Self> {
        let namespace = lab.namespace("bench-gateways").await?;
        Ok(Self { api: Api::namespaced_with(lab.client(), &namespace, &gateway_resource()), namespace })
    }

    pub(super) async fn create(&self, name: String) -> anyhow::Result<DynamicObject> {
        let gateway = serde_json::from_value(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": { "name": name, "labels": { LABEL: "enable", "team": "edge" } },
            "spec": {
                "gatewayClassName": "by-hand",
                "listeners": [{ "name": "http", "protocol": "HTTP", "port": 80 }],
            },
        }))?;
        Ok(self.api.create(&PostParams::default(), &gateway).await?)
    }

    pub(super) async fn label(&self, name: &str, value: &str) -> anyhow::Result<()> {
        let patch = json!({ "metadata": { "labels": { LABEL: value } } });
        self.api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)?;
        Ok(())
    }
}

/// `ownerReferences` to a Gateway.
pub(super) fn owner(gateway: &DynamicObject) -> anyhow::Result<Value> {
    Ok(json!([{
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": gateway.name_any(),
        "uid": gateway.uid().context("a Gateway without uid")?, "controller": true,
    }]))
}
