// SPDX-License-Identifier: Apache-2.0
//! The custom resources: our `L2AnnouncementPolicy`, and Cilium's, which is only read.
#![allow(unreachable_pub, reason = "KubeSchema derives a hidden twin of the spec inside a function")]
#![allow(clippy::duplicated_attributes, reason = "the columns of one table have fields of the same names")]

use std::borrow::Cow;

use k8s_openapi::{
    ClusterResourceScope,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{CustomResource, KubeSchema, Resource};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::selector::LabelSelector;

/// The type of the one condition in a policy's status.
pub const VALID: &str = "Valid";

/// Which Services' addresses are announced, from which nodes and on which interfaces.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "gateherald.io",
    version = "v1alpha1",
    kind = "L2AnnouncementPolicy",
    plural = "l2announcementpolicies",
    shortname = "ghl2",
    category = "gateherald",
    status = "L2AnnouncementPolicyStatus",
    derive = "PartialEq",
    doc = "Selects the Services whose addresses Gateherald announces, and the nodes and interfaces that announce them.",
    printcolumn(
        name = "Valid",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Valid\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Valid\")].reason"
    ),
    printcolumn(name = "Services", type_ = "integer", json_path = ".status.selectedServices"),
    printcolumn(name = "Addresses", type_ = "integer", json_path = ".status.selectedAddresses"),
    printcolumn(name = "Announced", type_ = "integer", json_path = ".status.announcedAddresses"),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".status.eligibleNodes"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "In-Force", type_ = "integer", json_path = ".status.inForceGeneration", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Valid\")].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.externalIPs) || !self.externalIPs || (has(self.addresses) && self.addresses.size() > 0)"
).message("externalIPs needs addresses: anyone who may write a Service can set its external IPs"))]
pub struct L2AnnouncementPolicySpec {
    /// The Services; absent or empty: all. Besides their labels, `io.kubernetes.service.namespace` and
    /// `io.kubernetes.service.name` can be selected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_selector: Option<LabelSelector>,
    /// The nodes that may announce; absent or empty: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
    /// Regular expressions over interface names, not anchored, any of which selects; absent or empty: the
    /// interfaces with the address's subnet, else the default route's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "expressions")]
    pub interfaces: Vec<String>,
    /// Announce the Services' `spec.externalIPs`; needs `addresses`.
    #[serde(default, rename = "externalIPs", skip_serializing_if = "is_false")]
    pub external_ips: bool,
    /// Announce the Services' `status.loadBalancer.ingress[].ip`.
    #[serde(default, rename = "loadBalancerIPs", skip_serializing_if = "is_false")]
    pub load_balancer_ips: bool,
    /// CIDRs that may be announced; absent or empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "cidrs")]
    pub addresses: Vec<String>,
}

/// What became of a policy. The counts are of the generation in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct L2AnnouncementPolicyStatus {
    /// The generation of the policy that was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The generation whose spec is in force: the last good one; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force_generation: Option<i64>,
    /// How many Services it selects.
    #[serde(default)]
    pub selected_services: i32,
    /// How many addresses of theirs are to be announced.
    #[serde(default)]
    pub selected_addresses: i32,
    /// How many of these a node has taken.
    #[serde(default)]
    pub announced_addresses: i32,
    /// How many Nodes it selects that may announce; whether an interface there matches is known to them alone.
    #[serde(default)]
    pub eligible_nodes: i32,
    /// One condition, of type Valid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<PolicyCondition>,
}

/// A condition as in `meta/v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyCondition {
    /// The aspect it speaks of: Valid.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: String,
    /// The generation of the policy that was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the status last changed.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: Time,
    /// Why, in one word.
    pub reason: String,
    /// Why, for a person.
    pub message: String,
}

/// Cilium's policy: read, never written. Absent fields and unknown ones are fine.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct CiliumL2AnnouncementPolicy {
    /// Its metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// All of it is optional.
    #[serde(default)]
    pub spec: CiliumL2AnnouncementPolicySpec,
}

/// The part of Cilium's policy that says what is announced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CiliumL2AnnouncementPolicySpec {
    /// As in [`L2AnnouncementPolicySpec`].
    pub service_selector: Option<LabelSelector>,
    /// As in [`L2AnnouncementPolicySpec`].
    pub node_selector: Option<LabelSelector>,
    /// As in [`L2AnnouncementPolicySpec`].
    pub interfaces: Vec<String>,
    /// As in [`L2AnnouncementPolicySpec`].
    #[serde(rename = "externalIPs")]
    pub external_ips: bool,
    /// As in [`L2AnnouncementPolicySpec`].
    #[serde(rename = "loadBalancerIPs")]
    pub load_balancer_ips: bool,
}

impl From<CiliumL2AnnouncementPolicySpec> for L2AnnouncementPolicySpec {
    fn from(spec: CiliumL2AnnouncementPolicySpec) -> Self {
        Self {
            service_selector: spec.service_selector,
            node_selector: spec.node_selector,
            interfaces: spec.interfaces,
            external_ips: spec.external_ips,
            load_balancer_ips: spec.load_balancer_ips,
            addresses: Vec::new(),
        }
    }
}

impl Resource for CiliumL2AnnouncementPolicy {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "CiliumL2AnnouncementPolicy".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "cilium.io".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v2alpha1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "ciliuml2announcementpolicies".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What RE2 does not take is refused at once: the rule is true for every expression that compiles, and an error for others. What
/// RE2 takes and this program does not is left to the condition.
fn expressions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {
            "type": "string",
            "minLength": 1,
            "maxLength": 253,
            "x-kubernetes-validations": [{
                "rule": "'eth0'.matches(self) || !'eth0'.matches(self)",
                "message": "must be a regular expression",
            }],
        },
        "maxItems": 64,
        "x-kubernetes-list-type": "atomic",
    })
}

/// The API server checks the format; no CIDR is longer than an IPv6 one, 43 characters.
fn cidrs(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": { "type": "string", "format": "cidr", "maxLength": 43 },
        "maxItems": 64,
        "x-kubernetes-list-type": "atomic",
    })
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests;
