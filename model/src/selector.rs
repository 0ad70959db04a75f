// SPDX-License-Identifier: Apache-2.0
//! Label selectors with Kubernetes' exact semantics, compiled once and matched often.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    labels::{is_valid_key, is_valid_value},
    metadata::Entries,
};

/// The label under which a Service's namespace can be selected.
pub const NAMESPACE_LABEL: &str = "io.kubernetes.service.namespace";
/// The label under which a Service's name can be selected.
pub const NAME_LABEL: &str = "io.kubernetes.service.name";

/// A label selector as it is written in an object; all requirements must hold, none selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be present with exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "label_values")]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements with operators; all of them must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<LabelRequirement>,
}

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 \
             : !has(self.values) || self.values.size() == 0",
    "message": "In and NotIn need values, Exists and DoesNotExist take none",
}]))]
pub struct LabelRequirement {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// One of `In`, `NotIn`, `Exists` and `DoesNotExist`.
    #[schemars(extend("enum" = ["In", "NotIn", "Exists", "DoesNotExist"]))]
    pub operator: String,
    /// The values of `In` and `NotIn`; empty for the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 63), regex(pattern = LABEL_VALUE)))]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub values: Vec<String>,
}

/// What Kubernetes takes as a label's value (RFC 1123 with `_` and `.`); keys are judged when the policy is read.
const LABEL_VALUE: &str = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";

fn label_values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": { "type": "string", "maxLength": 63, "pattern": LABEL_VALUE },
        "maxProperties": 64,
    })
}

/// Why a selector cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelectorError {
    /// Kubernetes would not accept this as a label's key.
    #[error("{0:?} is not a label key")]
    BadKey(String),
    /// Kubernetes would not accept this as a label's value.
    #[error("key {key:?}: {value:?} is not a label value")]
    BadValue {
        /// The requirement's key.
        key: String,
        /// What was found.
        value: String,
    },
    /// The operator is none of the four.
    #[error("key {key:?}: unknown operator {operator:?}")]
    UnknownOperator {
        /// The requirement's key.
        key: String,
        /// What was found.
        operator: String,
    },
    /// In or `NotIn` without values.
    #[error("key {key:?}: operator {operator} needs at least one value")]
    MissingValues {
        /// The requirement's key.
        key: String,
        /// In or `NotIn`.
        operator: String,
    },
    /// Exists or `DoesNotExist` with values.
    #[error("key {key:?}: operator {operator} takes no values")]
    UnexpectedValues {
        /// The requirement's key.
        key: String,
        /// Exists or `DoesNotExist`.
        operator: String,
    },
}

/// Something that has labels.
pub trait Labels {
    /// The value of one label.
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Labels for Entries {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

/// A compiled selector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Checks and compiles a selector; `None` and an empty one select everything.
    pub fn compile(selector: Option<&LabelSelector>) -> Result<Self, SelectorError> {
        let Some(selector) = selector else { return Ok(Self::default()) };
        let labels = selector.match_labels.iter().map(|(key, value)| {
            check(key, std::slice::from_ref(value))?;
            Ok(Requirement { key: key.clone(), test: Test::In(vec![value.clone()]) })
        });
        let expressions = selector.match_expressions.iter().map(Requirement::compile);
        let requirements = labels.chain(expressions).collect::<Result<_, _>>()?;
        Ok(Self { requirements })
    }

    /// Whether all requirements hold for these labels.
    pub fn matches(&self, labels: &impl Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(labels.label(&requirement.key)))
    }
}

impl Requirement {
    fn compile(source: &LabelRequirement) -> Result<Self, SelectorError> {
        check(&source.key, &source.values)?;
        let key = source.key.clone();
        let test = match (source.operator.as_str(), source.values.is_empty()) {
            ("In", false) => Test::In(source.values.clone()),
            ("NotIn", false) => Test::NotIn(source.values.clone()),
            ("Exists", true) => Test::Exists,
            ("DoesNotExist", true) => Test::DoesNotExist,
            ("In" | "NotIn", true) => {
                return Err(SelectorError::MissingValues { key, operator: source.operator.clone() });
            }
            ("Exists" | "DoesNotExist", false) => {
                return Err(SelectorError::UnexpectedValues { key, operator: source.operator.clone() });
            }
            (operator, _) => {
                return Err(SelectorError::UnknownOperator { key, operator: operator.to_owned() });
            }
        };
        Ok(Self { key, test })
    }

    fn holds(&self, value: Option<&str>) -> bool {
        match (&self.test, value) {
            (Test::In(values), Some(value)) => values.iter().any(|v| v == value),
            (Test::NotIn(values), Some(value)) => values.iter().all(|v| v != value),
            (Test::Exists, Some(_)) | (Test::NotIn(_) | Test::DoesNotExist, None) => true,
            (Test::In(_) | Test::Exists, None) | (Test::DoesNotExist, Some(_)) => false,
        }
    }
}

fn check(key: &str, values: &[String]) -> Result<(), SelectorError> {
    if !is_valid_key(key) {
        return Err(SelectorError::BadKey(key.to_owned()));
    }
    match values.iter().find(|value| !is_valid_value(value)) {
        Some(value) => Err(SelectorError::BadValue { key: key.to_owned(), value: value.clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
