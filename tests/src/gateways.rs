// SPDX-License-Identifier: Apache-2.0
//! What the suites about the webhook share: Gateways, Services as a controller writes them, and the webhook in action.

use anyhow::Context;
use gateherald_lab::Lab;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::standin::gateway_controller::gateway_resource;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::ResourceExt;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

/// The annotation in which the webhook remembers what it injected.
pub const MEMORY: &str = "gateherald.io/injected-labels";

/// Runs a test in a namespace whose Services the shared webhook attends to.
///
/// # Errors
/// Those of the test, and when the webhook does not start.
pub fn with_webhook(
    prefix: &str,
    test: impl AsyncFnOnce(&Shop<'_>) -> anyhow::Result<()> + Send,
) -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        lab.shared_webhook().await?;
        test(&Shop::open(lab, prefix).await?).await
    })
}

/// A namespace with Gateways and their Services.
pub struct Shop<'a> {
    /// The cluster.
    pub lab: &'a Lab,
    /// The namespace.
    pub namespace: String,
}

impl<'a> Shop<'a> {
    /// A new namespace; returns when the API server calls the webhook for its Services.
    ///
    /// # Errors
    /// Those of the API server, and when no Service gets labels within a minute.
    pub async fn open(lab: &'a Lab, prefix: &str) -> anyhow::Result<Self> {
        let shop = Self::unattended(lab, prefix).await?;
        shop.until_labelled().await?;
        Ok(shop)
    }

    /// A new namespace, whatever the webhook does.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn unattended(lab: &'a Lab, prefix: &str) -> anyhow::Result<Self> {
        Ok(Self { lab, namespace: lab.namespace(prefix).await? })
    }

    /// Waits until a Service that is created (as a dry run) gets its Gateway's labels: a registration that the webhook
    /// has seen reaches the API server's own cache a moment later.
    ///
    /// # Errors
    /// Those of the API server, and when it does not within a minute.
    pub async fn until_labelled(&self) -> anyhow::Result<()> {
        let gateway = self.gateway("until-labelled", &json!({ "labels": { "seen": "yes" } })).await?;
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let service = service("until-labelled", &owned_by(&gateway)?)?;
        until("the API server calls the webhook", LONG, async || {
            let labels = self.services().create(&dry_run, &service).await?.labels().clone();
            Ok(if labels.contains_key("seen") {
                Look::Found(())
            } else {
                Look::NotYet(format!("{labels:?}"))
            })
        })
        .await
    }

    /// Waits until a Service of this Gateway that is created (as a dry run) gets no labels: the API server calls no more.
    ///
    /// # Errors
    /// Those of the API server, and when it does within a minute.
    pub async fn until_unlabelled(&self, gateway: &DynamicObject) -> anyhow::Result<()> {
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let service = service("until-unlabelled", &owned_by(gateway)?)?;
        until("the API server calls the webhook no more", LONG, async || {
            let labels = labels(&self.services().create(&dry_run, &service).await?);
            Ok(if labels == json!({}) { Look::Found(()) } else { Look::NotYet(labels.to_string()) })
        })
        .await
    }

    /// Changes labels of a Gateway; null removes one.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn relabel(&self, gateway: &str, labels: &Value) -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({ "metadata": { "labels": labels } }));
        self.gateways().patch(gateway, &PatchParams::default(), &patch).await.map(drop).map_err(Into::into)
    }

    /// Changes metadata of a Service by a merge patch.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn edit(&self, service: &str, metadata: &Value) -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        self.services().patch(service, &PatchParams::default(), &patch).await.map(drop).map_err(Into::into)
    }

    /// Waits until a Service has exactly these labels.
    ///
    /// # Errors
    /// Those of the API server, and when it does not within a minute.
    pub async fn until_labels(&self, name: &str, expected: &Value) -> anyhow::Result<()> {
        until(&format!("{name} has the labels {expected}"), LONG, async || {
            let found = labels(&self.services().get(name).await?);
            Ok(if found == *expected { Look::Found(()) } else { Look::NotYet(found.to_string()) })
        })
        .await
    }

    /// Creates a Gateway, or changes it to exactly this metadata.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn gateway(&self, name: &str, metadata: &Value) -> anyhow::Result<DynamicObject> {
        let mut gateway = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": metadata,
            "spec": {
                // No controller of these tests watches the class.
                "gatewayClassName": "by-hand",
                "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP" }],
            },
        });
        gateway["metadata"]["name"] = name.into();
        let params = PatchParams::apply("tests");
        Ok(self.gateways().patch(name, &params, &Patch::Apply(&gateway)).await?)
    }

    /// Creates a Service; the result is what the API server answered.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn create(&self, name: &str, metadata: &Value) -> anyhow::Result<Service> {
        Ok(self.services().create(&PostParams::default(), &service(name, metadata)?).await?)
    }

    /// Waits for a record of this namespace's Services in the API server's own audit log.
    ///
    /// # Errors
    /// When there is none within a minute.
    pub async fn audit_record(&self, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        until("the API server's audit record", LONG, async || {
            let log = std::fs::read_to_string(self.lab.control_plane().audit_log())?;
            let parse = |line: &str| serde_json::from_str::<Value>(line).ok();
            let ours = |record: &Value| {
                let object = &record["objectRef"];
                object["resource"] == "services" && object["namespace"] == self.namespace.as_str()
            };
            let found = log.lines().filter_map(parse).find(|record| ours(record) && wanted(record));
            Ok(found.map_or(Look::NotYet("none".to_owned()), Look::Found))
        })
        .await
    }

    /// The namespace's Gateways.
    pub fn gateways(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.lab.client(), &self.namespace, &gateway_resource())
    }

    /// The namespace's Services.
    pub fn services(&self) -> Api<Service> {
        Api::namespaced(self.lab.client(), &self.namespace)
    }
}

/// Metadata that points back to a Gateway as Cilium's controller does.
///
/// # Errors
/// When the Gateway has no uid.
pub fn owned_by(gateway: &DynamicObject) -> anyhow::Result<Value> {
    let uid = gateway.uid().context("uid")?;
    let api = "gateway.networking.k8s.io/v1";
    Ok(json!({ "ownerReferences": [
        { "apiVersion": api, "kind": "Gateway", "name": gateway.name_any(), "uid": uid, "controller": true },
    ] }))
}

/// A Service with this metadata.
///
/// # Errors
/// When the metadata is not an object's.
pub fn service(name: &str, metadata: &Value) -> anyhow::Result<Service> {
    let mut metadata = metadata.clone();
    metadata["name"] = name.into();
    Ok(serde_json::from_value(json!({ "metadata": metadata, "spec": { "ports": [{ "port": 80 }] } }))?)
}

/// The labels as JSON.
pub fn labels(service: &Service) -> Value {
    json!(service.labels())
}

/// What the webhook remembers on a Service.
///
/// # Errors
/// When the annotation is no JSON.
pub fn memory(service: &Service) -> anyhow::Result<Value> {
    let text = service.annotations().get(MEMORY);
    Ok(text.map_or(Ok(Value::Null), |text| serde_json::from_str(text))?)
}
