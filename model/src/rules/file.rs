// SPDX-License-Identifier: Apache-2.0
//! The rules as an administrator writes them, in YAML.
//!
//! ```yaml
//! apiVersion: config.gateherald.io/v1alpha1
//! kind: LabelRules
//! labels:
//!   include: ["*"]
//!   exclude: [internal.example.com/*]
//! annotations:
//!   include: [example.com/cost-centre]
//! extractors:
//! - preset: envoy-gateway
//! - name: acme
//!   nameLabel: acme.example/gateway
//!   namespaceLabel: acme.example/gateway-namespace
//!   controllerNamespaces: [acme-system]
//! ```
//!
//! What is absent has its default; what is unknown is an error.

use serde::Deserialize;
use thiserror::Error;

use super::{AnnotationRules, BY_NAME_ONLY, DENIED, LabelRules, NEVER, Rules};
use crate::{
    extractor::{Extractor, PRESETS},
    labels::{is_valid_key, is_valid_namespace},
    pattern::{Pattern, covers},
};

/// The file's `apiVersion`.
pub const API_VERSION: &str = "config.gateherald.io/v1alpha1";
/// The file's `kind`.
pub const KIND: &str = "LabelRules";

/// Why a file holds no rules. Each names the field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RulesError {
    /// Not YAML, a field of another type, or one that does not exist.
    #[error("{field}: {said}")]
    Yaml {
        /// Where, as far as it could be read.
        field: String,
        /// What, with line and column.
        said: String,
    },
    /// The file is of another kind or version.
    #[error("apiVersion and kind: expected {API_VERSION} {KIND}, got {api_version:?} {kind:?}")]
    Type {
        /// As found.
        api_version: String,
        /// As found.
        kind: String,
    },
    /// A pattern that no key can match.
    #[error("{field}: {pattern:?} is not a pattern: it may hold letters, digits, '-', '_', '.', '/' and '*'")]
    Pattern {
        /// Where.
        field: String,
        /// What.
        pattern: String,
    },
    /// An annotation pattern with a wildcard that covers nothing but keys which must be named in full.
    #[error("{field}: {pattern:?} can allow nothing: name these annotations one by one, without '*'")]
    Wildcard {
        /// Where.
        field: String,
        /// What.
        pattern: String,
    },
    /// A key that no rule can allow.
    #[error("{field}: {pattern:?} is never injected")]
    Never {
        /// Where.
        field: String,
        /// What.
        pattern: String,
    },
    /// No preset has this name.
    #[error("{field}: there is no preset {preset:?}; there are: {}", PRESETS.iter().map(|p| p.name).collect::<Vec<_>>().join(", "))]
    Preset {
        /// Where.
        field: String,
        /// What.
        preset: String,
    },
    /// An extractor is neither a preset nor complete, or both.
    #[error("{0}: give either `preset`, or `name` and `nameLabel`")]
    Extractor(String),
    /// Not a label's key.
    #[error("{field}: {key:?} is not a label key")]
    Label {
        /// Where.
        field: String,
        /// What.
        key: String,
    },
    /// Not a namespace's name.
    #[error("{field}: {namespace:?} is not a namespace")]
    Namespace {
        /// Where.
        field: String,
        /// What.
        namespace: String,
    },
    /// Two extractors of one name.
    #[error("{field}: another extractor is called {name:?} too")]
    Twice {
        /// Where.
        field: String,
        /// What.
        name: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    annotations: Annotations,
    #[serde(default)]
    extractors: Vec<ExtractorEntry>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Labels {
    include: Option<Vec<String>>,
    exclude: Option<Vec<String>>,
    deny: Option<Vec<String>>,
    deny_except: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Annotations {
    include: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ExtractorEntry {
    preset: Option<String>,
    name: Option<String>,
    name_label: Option<String>,
    namespace_label: Option<String>,
    controller_namespaces: Option<Vec<String>>,
}

impl Rules {
    /// Reads a rules file.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        let file = read(text)?;
        if file.api_version != API_VERSION || file.kind != KIND {
            return Err(RulesError::Type { api_version: file.api_version, kind: file.kind });
        }
        Ok(Self {
            labels: file.labels.compile()?,
            annotations: file.annotations.compile()?,
            extractors: extractors(file.extractors)?,
        })
    }
}

fn read(text: &str) -> Result<File, RulesError> {
    let mut field = String::new();
    let read = serde_saphyr::with_deserializer_from_str(text, |deserializer| {
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            field = error.path().to_string();
            error.into_inner()
        })
    });
    read.map_err(|error| {
        // The lines after the first draw the place.
        let said = error.to_string();
        let said = said.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        RulesError::Yaml { field: std::mem::take(&mut field), said }
    })
}

impl Labels {
    fn compile(self) -> Result<LabelRules, RulesError> {
        let default = LabelRules::default();
        let patterns = |field: &str, given: Option<Vec<String>>, default| {
            given.map_or(Ok(default), |texts| compile(&format!("labels.{field}"), texts))
        };
        Ok(LabelRules {
            include: patterns("include", self.include, default.include)?,
            exclude: patterns("exclude", self.exclude, default.exclude)?,
            deny: patterns("deny", self.deny, default.deny)?,
            deny_except: patterns("denyExcept", self.deny_except, default.deny_except)?,
        })
    }
}

impl Annotations {
    fn compile(self) -> Result<AnnotationRules, RulesError> {
        let texts = self.include.unwrap_or_default();
        for (number, text) in texts.iter().enumerate() {
            let (field, pattern) = (format!("annotations.include[{number}]"), text.clone());
            // `a/*` covers all that `a/b*` does: compared as a key, the narrower pattern matches the wider one.
            let within = |list: &[&str]| list.iter().any(|wider| covers(wider, text));
            if within(NEVER) {
                return Err(RulesError::Never { field, pattern });
            }
            if text.contains('*') && (within(BY_NAME_ONLY) || within(DENIED)) {
                return Err(RulesError::Wildcard { field, pattern });
            }
        }
        Ok(AnnotationRules { include: compile("annotations.include", texts)? })
    }
}

fn compile(field: &str, texts: Vec<String>) -> Result<Vec<Pattern>, RulesError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '*');
    let pattern = |(number, text): (usize, String)| {
        if text.is_empty() || !text.chars().all(is_allowed) {
            return Err(RulesError::Pattern { field: format!("{field}[{number}]"), pattern: text });
        }
        Ok(Pattern::new(text))
    };
    texts.into_iter().enumerate().map(pattern).collect()
}

fn extractors(entries: Vec<ExtractorEntry>) -> Result<Vec<Extractor>, RulesError> {
    let mut extractors = Vec::<Extractor>::new();
    for (number, entry) in entries.into_iter().enumerate() {
        let field = format!("extractors[{number}]");
        let extractor = entry.compile(&field)?;
        if extractors.iter().any(|other| other.name == extractor.name) {
            return Err(RulesError::Twice { field, name: extractor.name });
        }
        extractors.push(extractor);
    }
    Ok(extractors)
}

impl ExtractorEntry {
    fn compile(self, field: &str) -> Result<Extractor, RulesError> {
        for (number, namespace) in self.controller_namespaces.iter().flatten().enumerate() {
            if !is_valid_namespace(namespace) {
                let field = format!("{field}.controllerNamespaces[{number}]");
                return Err(RulesError::Namespace { field, namespace: namespace.clone() });
            }
        }
        match self {
            Self {
                preset: Some(name),
                name: None,
                name_label: None,
                namespace_label: None,
                controller_namespaces,
            } => {
                let preset = PRESETS.iter().find(|preset| preset.name == name);
                let unknown =
                    || RulesError::Preset { field: format!("{field}.preset"), preset: name.clone() };
                Ok(preset.ok_or_else(unknown)?.extractor(controller_namespaces))
            }
            Self {
                preset: None,
                name: Some(name),
                name_label: Some(name_label),
                namespace_label,
                controller_namespaces,
            } => {
                let labels = [("nameLabel", Some(&name_label)), ("namespaceLabel", namespace_label.as_ref())];
                for (label, key) in labels {
                    if let Some(key) = key.filter(|key| !is_valid_key(key)) {
                        return Err(RulesError::Label {
                            field: format!("{field}.{label}"),
                            key: key.clone(),
                        });
                    }
                }
                let controller_namespaces = controller_namespaces.unwrap_or_default();
                Ok(Extractor { name, name_label, namespace_label, controller_namespaces })
            }
            _ => Err(RulesError::Extractor(field.into())),
        }
    }
}

#[cfg(test)]
mod tests;
