// SPDX-License-Identifier: Apache-2.0
//! The administrator's rules: which labels and annotations of a Gateway may go onto its Services, and which labels name a
//! Gateway.

use serde::Serialize;

use crate::{
    extractor::Extractor,
    labels::{SkipReason, is_valid_annotation_key, is_valid_key, is_valid_value},
    pattern::{Pattern, covers},
};

/// The file that an administrator writes.
pub mod file;

/// Keys that never go onto a Service unless an administrator changes the list.
///
/// Deployment tools, pruners and operators delete objects that carry their label without being theirs; the rest are keys
/// private to a controller, or keys that change how it treats the Service.
pub const DENIED: &[&str] = &[
    "argocd.argoproj.io/*",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "helm.sh/*",
    "*.toolkit.fluxcd.io/*",
    "*.cattle.io/*",
    "kro.run/*",
    "kapp.k14s.io/*",
    "tanka.dev/*",
    "olm.*",
    "operators.coreos.com/*",
    "velero.io/*",
    "crossplane.io/*",
    "istio.io/*",
    "*.istio.io/*",
    "cilium.io/*",
    "*.cilium.io/*",
    "io.cilium.gateway/*",
    "gateway.envoyproxy.io/*",
    "gateway.networking.k8s.io/*",
    "gateherald.io/*",
    "kubernetes.io/*",
    "*.kubernetes.io/*",
    "k8s.io/*",
    "*.k8s.io/*",
];

/// Keys that [`DENIED`] covers and that are harmless.
pub const DENIED_EXCEPT: &[&str] = &[
    "app.kubernetes.io/name",
    "app.kubernetes.io/component",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/version",
];

/// Keys that no rule can allow: what Gateherald itself reads and writes, and a copy of the whole object.
const NEVER: &[&str] = &["gateherald.io/*", "kubectl.kubernetes.io/last-applied-configuration"];

/// Annotations that request addresses and names, besides [`DENIED`]: a wildcard does not mean them.
const BY_NAME_ONLY: &[&str] =
    &["lbipam.cilium.io/*", "io.cilium/*", "external-dns.*", "metallb.io/*", "metallb.universe.tf/*"];

/// The rules, compiled. As JSON they have the shape of the file that they come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rules {
    /// Which labels.
    pub labels: LabelRules,
    /// Which annotations.
    pub annotations: AnnotationRules,
    /// Who else than an ownerReference names a Gateway, in this order.
    pub extractors: Vec<Extractor>,
}

/// Which labels of a Gateway may go onto its Services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelRules {
    /// Only keys that match one of these are injected.
    pub include: Vec<Pattern>,
    /// Keys that match one of these are not injected.
    pub exclude: Vec<Pattern>,
    /// Keys that are never injected.
    pub deny: Vec<Pattern>,
    /// Keys that [`Self::deny`] does not mean.
    pub deny_except: Vec<Pattern>,
}

/// Which annotations of a Gateway may go onto its Services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AnnotationRules {
    /// Only keys that match one of these are injected: none by default.
    pub include: Vec<Pattern>,
}

impl Default for LabelRules {
    /// Everything but [`DENIED`].
    fn default() -> Self {
        Self {
            include: patterns(&["*"]),
            exclude: Vec::new(),
            deny: patterns(DENIED),
            deny_except: patterns(DENIED_EXCEPT),
        }
    }
}

impl LabelRules {
    /// Why a Gateway's label stays off its Services; `None` when it may go onto them.
    ///
    /// `narrow` is the Gateway's own list: it can only take away from what the administrator includes.
    pub fn rejects(&self, key: &str, value: &str, narrow: Option<&[Pattern]>) -> Option<SkipReason> {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(key));
        if is_never_injected(key) || (any(&self.deny) && !any(&self.deny_except)) {
            Some(SkipReason::Denied)
        } else if any(&self.exclude) {
            Some(SkipReason::Excluded)
        } else if !any(&self.include) {
            Some(SkipReason::NotIncluded)
        } else if narrow.is_some_and(|patterns| !any(patterns)) {
            Some(SkipReason::Narrowed)
        } else if !is_valid_key(key) {
            Some(SkipReason::InvalidKey)
        } else if !is_valid_value(value) {
            Some(SkipReason::InvalidValue)
        } else {
            None
        }
    }
}

impl AnnotationRules {
    /// Whether the rules are about an annotation at all; they are silent about all others.
    pub fn mention(&self, key: &str) -> bool {
        self.include.iter().any(|pattern| pattern.matches(key))
    }

    /// Why a Gateway's annotation stays off its Services although it is mentioned; `None` when it may go onto them.
    pub fn rejects(&self, key: &str) -> Option<SkipReason> {
        if is_never_injected(key) {
            Some(SkipReason::Denied)
        } else if is_by_name_only(key) && !self.include.iter().any(|pattern| pattern.is_literal(key)) {
            Some(SkipReason::NotByWildcard)
        } else if !is_valid_annotation_key(key) {
            Some(SkipReason::InvalidKey)
        } else {
            None
        }
    }
}

/// Whether no rule can allow a key.
pub(crate) fn is_never_injected(key: &str) -> bool {
    is_listed(NEVER, key)
}

/// Whether an annotation's key must be named in full. On Services, annotations of the denied families say whose they are
/// and how they are treated, as labels do.
fn is_by_name_only(key: &str) -> bool {
    is_listed(BY_NAME_ONLY, key) || is_listed(DENIED, key)
}

fn is_listed(list: &[&str], key: &str) -> bool {
    list.iter().any(|pattern| covers(pattern, key))
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().copied().map(Pattern::new).collect()
}

#[cfg(test)]
mod tests;
