// SPDX-License-Identifier: Apache-2.0
//! Objects of kinds that no library of ours has, reduced to what is shown. What is absent is empty.

use std::net::IpAddr;

use gateherald_model::selector::LabelSelector;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::Deserialize;

/// The label of the chart that says which program a pod runs: `webhook` or `announcer`. Others use it too.
pub(crate) const COMPONENT: &str = "app.kubernetes.io/component";

/// Which of Gateherald's programs a pod runs. The names of the chart's objects can be changed; then its image tells.
pub(crate) fn component(pod: &Pod) -> Option<&str> {
    let label = |key: &str| pod.metadata.labels.as_ref()?.get(key).map(String::as_str);
    let images = pod.spec.iter().flat_map(|spec| &spec.containers).filter_map(|c| c.image.as_deref());
    let ours = label("app.kubernetes.io/name") == Some("gateherald")
        || images.into_iter().any(|image| image.contains("gateherald"));
    label(COMPONENT).filter(|component| ours && matches!(*component, "webhook" | "announcer"))
}

/// A Gateway.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Gateway {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: GatewaySpec,
    pub(crate) status: GatewayStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GatewaySpec {
    pub(crate) gateway_class_name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct GatewayStatus {
    pub(crate) conditions: Vec<Condition>,
}

/// A `GatewayClass`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct GatewayClass {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: GatewayClassSpec,
    pub(crate) status: GatewayStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GatewayClassSpec {
    pub(crate) controller_name: String,
}

/// A condition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) type_: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// `CiliumLoadBalancerIPPool`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CiliumPool {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: CiliumPoolSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CiliumPoolSpec {
    pub(crate) service_selector: Option<LabelSelector>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) disabled: bool,
}

/// A CIDR, or the first and the last address.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Block {
    pub(crate) cidr: Option<String>,
    pub(crate) start: Option<String>,
    pub(crate) stop: Option<String>,
}

/// MetalLB's `IPAddressPool`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct MetalLbPool {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: MetalLbPoolSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct MetalLbPoolSpec {
    /// CIDRs, or `first-last`.
    pub(crate) addresses: Vec<String>,
    pub(crate) auto_assign: Option<bool>,
    pub(crate) service_allocation: Option<ServiceAllocation>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ServiceAllocation {
    pub(crate) namespaces: Vec<String>,
    pub(crate) service_selectors: Vec<LabelSelector>,
}

/// What an announcer says on its loopback port under `/vips`; only what is used.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AnnouncerPage {
    pub(crate) node: String,
    #[serde(default)]
    pub(crate) addresses: Vec<PageAddress>,
    pub(crate) not_announced: Vec<PageRefusal>,
    #[serde(default)]
    pub(crate) cilium_policies: PageStance,
}

/// An address that this announcer may announce.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PageAddress {
    pub(crate) address: IpAddr,
    #[serde(default)]
    pub(crate) interfaces: Vec<PageInterface>,
    #[serde(default)]
    pub(crate) conflict: Option<PageConflict>,
}

/// A link that it is announced on.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PageInterface {
    /// The link's own addresses with the lengths of their prefixes; none is told by an older announcer.
    #[serde(default)]
    pub(crate) networks: Vec<String>,
}

/// Another host uses it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PageConflict {
    pub(crate) claimant: String,
    pub(crate) stage: String,
}

/// Something that it does not announce.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PageRefusal {
    pub(crate) address: Option<IpAddr>,
    pub(crate) reason: String,
    pub(crate) detail: String,
}

/// What is done about Cilium's policies.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PageStance {
    pub(crate) stance: String,
    pub(crate) detail: String,
}
