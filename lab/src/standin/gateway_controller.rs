// SPDX-License-Identifier: Apache-2.0
//! Stands in for Cilium's Gateway controller: writes the Service `cilium-gateway-<name>` of each Gateway.
//!
//! Cilium ≥ 1.15 creates or patches: spec and ownerReferences are replaced, labels and annotations merged, its own keys
//! win, and one controller ownerReference (without blockOwnerDeletion) points back. Other controllers' ways to update are
//! the other [`UpdateStyle`]s.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Cilium's longest name of a generated object.
const LONGEST_NAME: usize = 63;
const HASH_LENGTH: usize = 10;
const OWNING_GATEWAY: &str = "io.cilium.gateway/owning-gateway";
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
const MANAGER: &str = "cilium-operator";

/// How a controller writes a Service that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateStyle {
    /// Labels and annotations are merged, in a merge patch (Cilium ≥ 1.15).
    MergeLabels,
    /// Labels and annotations are replaced, in a merge patch (Cilium ≤ 1.14; NGINX Gateway Fabric).
    ReplaceLabels,
    /// Forced server-side apply (Istio, kgateway, Envoy Gateway).
    Apply,
    /// The whole object is written by PUT with its resourceVersion, labels replaced.
    Put,
}

/// The controller. Call [`GatewayController::reconcile`] yourself, or let [`GatewayController::run`] watch.
#[derive(Clone)]
pub struct GatewayController {
    api: Client,
    style: UpdateStyle,
}

impl GatewayController {
    /// One that has the rights of `api`.
    pub fn new(api: Client, style: UpdateStyle) -> Self {
        Self { api, style }
    }

    /// Writes the Service and the dummy endpoint of the Gateway; the result is the Service as the API server answered.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn reconcile(&self, gateway: &DynamicObject) -> anyhow::Result<Service> {
        let namespace = gateway.metadata.namespace.as_deref().context("a Gateway without a namespace")?;
        let service =
            self.write(Api::namespaced(self.api.clone(), namespace), &desired_service(gateway)?).await?;
        self.write(Api::namespaced(self.api.clone(), namespace), &dummy_endpoints(gateway)?).await?;
        Ok(service)
    }

    /// Watches all Gateways of a class, and the Services made for them, until the result is dropped.
    pub fn run(self, class: &str) -> Running {
        let api: Api<DynamicObject> = Api::all_with(self.api.clone(), &gateway_resource());
        let services: Api<Service> = Api::all(self.api.clone());
        let class = class.to_owned();
        let reconcile = move |gateway: Arc<DynamicObject>, controller: Arc<Self>| {
            let ours = gateway.data["spec"]["gatewayClassName"] == class.as_str()
                && gateway.metadata.deletion_timestamp.is_none();
            async move {
                if ours {
                    let service = controller.reconcile(&gateway).await.map_err(Failure)?;
                    controller.publish(&gateway, &service).await.map_err(Failure)?;
                }
                Ok(Action::await_change())
            }
        };
        let again = |_: Arc<DynamicObject>, error: &Failure, _: Arc<Self>| {
            tracing::warn!("Gateway controller stand-in: {:#}", error.0);
            Action::requeue(Duration::from_millis(200))
        };
        let events = Controller::new_with(api, watcher::Config::default(), gateway_resource())
            .owns(services, watcher::Config::default())
            .run(reconcile, again, Arc::new(self));
        Running(tokio::spawn(events.for_each(async |_| ())))
    }

    /// Writes the Service's addresses into the Gateway's status, and that it is programmed once there are any.
    async fn publish(&self, gateway: &DynamicObject, service: &Service) -> anyhow::Result<()> {
        let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress = status.and_then(|status| status.ingress.clone()).unwrap_or_default();
        let ips = ingress.into_iter().filter_map(|entry| entry.ip);
        let addresses: Vec<Value> = ips.map(|ip| json!({ "type": "IPAddress", "value": ip })).collect();
        let programmed = if addresses.is_empty() { "False" } else { "True" };
        let old = gateway.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let is_told = old.iter().any(|told| told["type"] == "Programmed" && told["status"] == programmed);
        if is_told && gateway.data["status"]["addresses"] == json!(addresses) {
            return Ok(());
        }
        let now = gateway.metadata.creation_timestamp.clone();
        let condition = |kind: &str, status: &str, reason: &str| {
            json!({ "type": kind, "status": status, "reason": reason, "message": "written by the lab's stand-in",
                    "lastTransitionTime": now, "observedGeneration": gateway.metadata.generation })
        };
        let reason = if addresses.is_empty() { "AddressNotAssigned" } else { "Programmed" };
        let conditions =
            [condition("Accepted", "True", "Accepted"), condition("Programmed", programmed, reason)];
        let patch = json!({ "status": { "addresses": addresses, "conditions": conditions } });
        let (name, namespace) = (gateway.name_any(), gateway.namespace().unwrap_or_default());
        let api: Api<DynamicObject> = Api::namespaced_with(self.api.clone(), &namespace, &gateway_resource());
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    /// controller-runtime's `CreateOrPatch`, or what the style has in its place.
    async fn write<K: Generated>(&self, api: Api<K>, desired: &K) -> anyhow::Result<K> {
        let name = desired.meta().name.clone().context("a name")?;
        if self.style == UpdateStyle::Apply {
            let params = PatchParams::apply(MANAGER).force();
            return Ok(api.patch(&name, &params, &Patch::Apply(desired)).await?);
        }
        let Some(current) = api.get_opt(&name).await? else {
            let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
            return Ok(api.create(&params, desired).await?);
        };
        let mut wanted = current.clone();
        wanted.take_over(desired);
        let (labels, annotations) = (desired.meta().labels.clone(), desired.meta().annotations.clone());
        let meta = wanted.meta_mut();
        meta.owner_references.clone_from(&desired.meta().owner_references);
        if self.style == UpdateStyle::MergeLabels {
            meta.labels.get_or_insert_default().extend(labels.unwrap_or_default());
            meta.annotations.get_or_insert_default().extend(annotations.unwrap_or_default());
        } else {
            meta.labels = labels;
            meta.annotations = annotations;
        }
        if self.style == UpdateStyle::Put {
            let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
            return Ok(api.replace(&name, &params, &wanted).await?);
        }
        let patch = merge_diff(&serde_json::to_value(&current)?, &serde_json::to_value(&wanted)?);
        let Some(patch) = patch else { return Ok(current) };
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        Ok(api.patch(&name, &params, &Patch::Merge(&patch)).await?)
    }
}

/// Work in the background that ends when this is dropped.
#[derive(Debug)]
pub struct Running(pub(crate) tokio::task::JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The error type that kube's controller asks for.
#[derive(Debug, thiserror::Error)]
#[error("cannot reconcile a Gateway")]
struct Failure(anyhow::Error);

/// A kind that the controller generates.
trait Generated:
    Clone + std::fmt::Debug + Serialize + DeserializeOwned + kube::Resource<DynamicType = ()>
{
    /// Replaces what the controller owns besides metadata.
    fn take_over(&mut self, desired: &Self);
}

impl Generated for Service {
    fn take_over(&mut self, desired: &Self) {
        // "e.g. if a mutating webhook writes this field": Cilium keeps what is there.
        let class = self.spec.as_ref().and_then(|spec| spec.load_balancer_class.clone());
        self.spec.clone_from(&desired.spec);
        if let Some(spec) = &mut self.spec {
            spec.load_balancer_class = class;
        }
    }
}

impl Generated for EndpointSlice {
    fn take_over(&mut self, desired: &Self) {
        self.endpoints.clone_from(&desired.endpoints);
        self.ports.clone_from(&desired.ports);
    }
}

/// The API resource of Gateways.
pub fn gateway_resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "Gateway"))
}

/// The name of the Service that Cilium generates for a Gateway.
pub fn service_name(gateway: &str) -> String {
    shorten(&format!("cilium-gateway-{gateway}"))
}

/// Cilium's shortening: 52 characters, `-`, and 10 characters of a hash without vowels and look-alikes.
fn shorten(name: &str) -> String {
    if name.len() <= LONGEST_NAME {
        return name.to_owned();
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
    let hex = digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let safe = |c| match c {
        '0' => 'g',
        '1' => 'h',
        '3' => 'k',
        'a' => 'm',
        'e' => 't',
        other => other,
    };
    let hash: String = hex.chars().take(HASH_LENGTH).map(safe).collect();
    format!("{}-{hash}", &name[..LONGEST_NAME - HASH_LENGTH - 1])
}

fn desired_service(gateway: &DynamicObject) -> anyhow::Result<Service> {
    let spec = ServiceSpec {
        type_: Some("LoadBalancer".to_owned()),
        external_traffic_policy: Some("Cluster".to_owned()),
        ip_families: Some(vec!["IPv4".to_owned()]),
        ports: Some(ports(gateway)),
        ..ServiceSpec::default()
    };
    Ok(Service { metadata: metadata(gateway, BTreeMap::new())?, spec: Some(spec), status: None })
}

fn dummy_endpoints(gateway: &DynamicObject) -> anyhow::Result<EndpointSlice> {
    let name = gateway.metadata.name.as_deref().context("a Gateway without a name")?;
    let service = ("kubernetes.io/service-name".to_owned(), service_name(name));
    Ok(EndpointSlice {
        metadata: metadata(gateway, BTreeMap::from([service]))?,
        address_type: "IPv4".to_owned(),
        // Cilium's agent wants one backend before it programs a Service; this one belongs to no node.
        endpoints: vec![Endpoint {
            addresses: vec!["192.192.192.192".to_owned()],
            conditions: Some(EndpointConditions { ready: Some(true), ..EndpointConditions::default() }),
            ..Endpoint::default()
        }],
        ports: Some(vec![EndpointPort { port: Some(9999), ..EndpointPort::default() }]),
    })
}

fn metadata(gateway: &DynamicObject, extra: BTreeMap<String, String>) -> anyhow::Result<ObjectMeta> {
    let name = gateway.metadata.name.clone().context("a Gateway without a name")?;
    let mut labels = extra;
    labels.insert(OWNING_GATEWAY.to_owned(), shorten(&name));
    labels.insert(GATEWAY_NAME.to_owned(), shorten(&name));
    labels.extend(infrastructure(gateway, "labels"));
    let annotations = infrastructure(gateway, "annotations");
    Ok(ObjectMeta {
        name: Some(service_name(&name)),
        namespace: gateway.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: (!annotations.is_empty()).then_some(annotations),
        owner_references: Some(vec![OwnerReference {
            api_version: "gateway.networking.k8s.io/v1".to_owned(),
            kind: "Gateway".to_owned(),
            name,
            uid: gateway.metadata.uid.clone().context("a Gateway without a uid")?,
            controller: Some(true),
            block_owner_deletion: None,
        }]),
        ..ObjectMeta::default()
    })
}

/// `spec.infrastructure.labels` or `.annotations`: Gateway API's own way to hand something on.
fn infrastructure(gateway: &DynamicObject, field: &str) -> BTreeMap<String, String> {
    let map = gateway.data["spec"]["infrastructure"][field].as_object();
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    map.map(|map| map.iter().filter_map(text).collect()).unwrap_or_default()
}

fn ports(gateway: &DynamicObject) -> Vec<ServicePort> {
    let listeners = gateway.data["spec"]["listeners"].as_array().cloned().unwrap_or_default();
    let mut ports: Vec<(i32, &str)> = listeners
        .iter()
        .filter_map(|listener| {
            let port = i32::try_from(listener["port"].as_i64()?).ok()?;
            Some((port, if listener["protocol"] == "UDP" { "UDP" } else { "TCP" }))
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    let suffix = |protocol| if protocol == "UDP" { "-udp" } else { "" };
    ports
        .into_iter()
        .map(|(port, protocol)| ServicePort {
            name: Some(format!("port-{port}{}", suffix(protocol))),
            port,
            protocol: Some(protocol.to_owned()),
            ..ServicePort::default()
        })
        .collect()
}

/// The JSON merge patch (RFC 7396) that turns one value into the other; `None` when they are equal.
fn merge_diff(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        return (from != to).then(|| to.clone());
    };
    let mut patch = Map::new();
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in to {
        match from.get(key) {
            None => {
                patch.insert(key.clone(), value.clone());
            }
            Some(old) => patch.extend(merge_diff(old, value).map(|change| (key.clone(), change))),
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests;
