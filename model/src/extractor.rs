// SPDX-License-Identifier: Apache-2.0
//! Label pairs by which a controller's Services name their Gateway, for controllers that set no ownerReference to it.

use serde::{Deserialize, Serialize};

use crate::{labels::is_valid_value, metadata::Metadata};

/// Envoy Gateway's Services live in its own namespace and belong to the `GatewayClass`.
const ENVOY_GATEWAY: Preset = Preset {
    name: "envoy-gateway",
    name_label: "gateway.envoyproxy.io/owning-gateway-name",
    namespace_label: Some("gateway.envoyproxy.io/owning-gateway-namespace"),
    controller_namespaces: &["envoy-gateway-system"],
};
/// Contour's provisioner puts the Service beside the Gateway, without any owner.
const CONTOUR: Preset = Preset {
    name: "contour",
    name_label: "gateway.networking.k8s.io/gateway-name",
    namespace_label: None,
    controller_namespaces: &[],
};

/// The presets by the names that a rules file uses.
pub(crate) const PRESETS: &[Preset] = &[ENVOY_GATEWAY, CONTOUR];

/// An extractor that is shipped.
#[derive(Debug)]
pub(crate) struct Preset {
    pub(crate) name: &'static str,
    name_label: &'static str,
    namespace_label: Option<&'static str>,
    controller_namespaces: &'static [&'static str],
}

/// How a controller's Services name their Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Extractor {
    /// What audit lines call it.
    pub name: String,
    /// The label that holds the Gateway's name, in full.
    pub name_label: String,
    /// The label that holds the Gateway's namespace; without one, it is the Service's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_label: Option<String>,
    /// Where Services may name a Gateway of another namespace: the controller's own namespaces. Anybody who may write a
    /// Service could name anybody's Gateway otherwise.
    pub controller_namespaces: Vec<String>,
}

/// What an extractor reads off a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extracted<'a> {
    /// Nothing: the Service is not of this controller.
    Nothing,
    /// A Gateway.
    Gateway {
        /// The Gateway's namespace.
        namespace: &'a str,
        /// The Gateway's name.
        name: &'a str,
    },
    /// A Gateway of another namespace, from a namespace that is not the controller's: not believed.
    Untrusted,
}

impl Extractor {
    /// Reads the labels of a Service. Values are taken whole: what a controller shortened names no Gateway.
    pub fn extract<'a>(&self, service: &'a Metadata) -> Extracted<'a> {
        // What is no label value comes from no API server.
        let label = |key: &str| {
            service
                .labels
                .get(key)
                .map(String::as_str)
                .filter(|value| !value.is_empty() && is_valid_value(value))
        };
        let Some(name) = label(&self.name_label) else { return Extracted::Nothing };
        let namespace = match &self.namespace_label {
            None => service.namespace.as_str(),
            Some(key) => match label(key) {
                Some(namespace) => namespace,
                None => return Extracted::Nothing,
            },
        };
        let trusted =
            namespace == service.namespace || self.controller_namespaces.contains(&service.namespace);
        if trusted { Extracted::Gateway { namespace, name } } else { Extracted::Untrusted }
    }
}

impl Preset {
    /// The extractor; `controller_namespaces` replaces the usual ones.
    pub(crate) fn extractor(&self, controller_namespaces: Option<Vec<String>>) -> Extractor {
        let usual = || self.controller_namespaces.iter().map(|&namespace| namespace.into()).collect();
        Extractor {
            name: self.name.into(),
            name_label: self.name_label.into(),
            namespace_label: self.namespace_label.map(Into::into),
            controller_namespaces: controller_namespaces.unwrap_or_else(usual),
        }
    }
}

#[cfg(test)]
mod tests;
