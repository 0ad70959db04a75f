// SPDX-License-Identifier: Apache-2.0
//! Which Services are the webhook's business: those that the live registration selects, not more.

use std::collections::HashMap;

use gateherald_model::{
    metadata::{LabelMap, Metadata},
    selector::{LabelRequirement, LabelSelector, Selector, SelectorError},
};
use k8s_openapi::{
    api::admissionregistration::v1::MutatingWebhookConfiguration,
    apimachinery::pkg::apis::meta::v1::LabelSelector as ApiSelector,
};

/// What the live registration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    /// It was not seen yet.
    #[default]
    Unknown,
    /// There is none that could be followed, for this reason: nothing is touched.
    Unusable(String),
    /// It selects these namespaces and Services.
    Selects {
        /// By the namespace's labels.
        namespaces: Selector,
        /// By the Service's own labels.
        services: Selector,
    },
}

impl Registration {
    /// Reads our entry of the configuration; `None` when there is no configuration.
    pub fn read(configuration: Option<&MutatingWebhookConfiguration>, name: &str, entry: &str) -> Self {
        let Some(configuration) = configuration else {
            return Self::Unusable(format!("MutatingWebhookConfiguration {name} is missing"));
        };
        let mut entries = configuration.webhooks.iter().flatten();
        let Some(found) = entries.find(|webhook| webhook.name == entry) else {
            return Self::Unusable(format!("MutatingWebhookConfiguration {name} has no entry {entry}"));
        };
        let namespaces = compile(found.namespace_selector.as_ref());
        let services = compile(found.object_selector.as_ref());
        match (namespaces, services) {
            (Ok(namespaces), Ok(services)) => Self::Selects { namespaces, services },
            (Err(error), _) | (_, Err(error)) => {
                Self::Unusable(format!("MutatingWebhookConfiguration {name}: {error}"))
            }
        }
    }
}

fn compile(selector: Option<&ApiSelector>) -> Result<Selector, SelectorError> {
    let requirement =
        |found: &k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement| LabelRequirement {
            key: found.key.clone(),
            operator: found.operator.clone(),
            values: found.values.clone().unwrap_or_default(),
        };
    let selector = selector.map(|selector| LabelSelector {
        match_labels: selector.match_labels.clone().unwrap_or_default(),
        match_expressions: selector.match_expressions.iter().flatten().map(requirement).collect(),
    });
    Selector::compile(selector.as_ref())
}

/// The registration and what it is compared with.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    registration: Registration,
    namespaces: Option<HashMap<String, LabelMap>>,
}

impl Scope {
    /// Whether everything was seen that decides.
    pub fn is_known(&self) -> bool {
        self.namespaces.is_some() && self.registration != Registration::Unknown
    }

    /// Whether the registration selects a Service. A namespace that is not known (yet) is not selected.
    pub fn covers(&self, service: &Metadata) -> bool {
        let Registration::Selects { namespaces, services } = &self.registration else { return false };
        let labels = self.namespaces.as_ref().and_then(|known| known.get(&service.namespace));
        labels.is_some_and(|labels| namespaces.matches(labels)) && services.matches(&service.labels)
    }

    /// The registration as it is now; whether that is a change.
    pub fn registered(&mut self, registration: Registration) -> bool {
        let changed = self.registration != registration;
        self.registration = registration;
        changed
    }

    /// All namespaces.
    pub fn all_namespaces(&mut self, namespaces: HashMap<String, LabelMap>) {
        self.namespaces = Some(namespaces);
    }

    /// One namespace; `None` when it is gone. Whether that is a change.
    pub fn namespace(&mut self, name: String, labels: Option<LabelMap>) -> bool {
        let known = self.namespaces.get_or_insert_default();
        match labels {
            Some(labels) => known.insert(name, labels.clone()).as_ref() != Some(&labels),
            None => known.remove(&name).is_some(),
        }
    }
}

#[cfg(test)]
mod tests;
