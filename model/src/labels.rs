// SPDX-License-Identifier: Apache-2.0
//! Which of a Gateway's labels may go onto its Service, and why the others may not.

use std::fmt;

use serde::Serialize;

use crate::pattern::Pattern;

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

/// Longest name part of a key, and longest value (Kubernetes' label rules).
const MAX_NAME: usize = 63;
/// Longest prefix of a key: a DNS subdomain.
const MAX_PREFIX: usize = 253;

/// The administrator's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Keys that are never injected.
    pub deny: Vec<Pattern>,
    /// Keys that [`Self::deny`] does not mean.
    pub deny_except: Vec<Pattern>,
    /// Only keys that match one of these are injected.
    pub include: Vec<Pattern>,
    /// Keys that match one of these are not injected.
    pub exclude: Vec<Pattern>,
}

/// Why a label is not injected. The name is the metric label, the audit field and the test's expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SkipReason {
    /// On the deny list.
    Denied,
    /// Matches an exclude pattern.
    Excluded,
    /// Matches no include pattern.
    NotIncluded,
    /// The Gateway's own `gateherald.io/inject-labels` does not name it.
    Narrowed,
    /// The Service has the key, and not from Gateherald.
    AlreadySet,
    /// Kubernetes would not accept the key on a Service.
    InvalidKey,
    /// Kubernetes would not accept the value on a Service.
    InvalidValue,
    /// The annotation under this key cannot be read; it is ignored.
    Unreadable,
}

/// A key that is not injected (or not read), and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Skipped {
    /// Which key.
    pub key: String,
    /// Why.
    pub reason: SkipReason,
}

impl Default for Rules {
    /// Everything but [`DENIED`].
    fn default() -> Self {
        let patterns = |texts: &[&str]| texts.iter().copied().map(Pattern::new).collect();
        Self {
            deny: patterns(DENIED),
            deny_except: patterns(DENIED_EXCEPT),
            include: patterns(&["*"]),
            exclude: Vec::new(),
        }
    }
}

impl Rules {
    /// Why a Gateway's label stays off its Services; `None` when it may go onto them.
    ///
    /// `narrow` is the Gateway's own list: it can only take away from what the administrator includes.
    pub fn rejects(&self, key: &str, value: &str, narrow: Option<&[Pattern]>) -> Option<SkipReason> {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(key));
        if any(&self.deny) && !any(&self.deny_except) {
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

impl SkipReason {
    /// Every reason, for metrics that start at zero.
    pub const ALL: [Self; 8] = [
        Self::Denied,
        Self::Excluded,
        Self::NotIncluded,
        Self::Narrowed,
        Self::AlreadySet,
        Self::InvalidKey,
        Self::InvalidValue,
        Self::Unreadable,
    ];

    /// The reason's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Excluded => "excluded",
            Self::NotIncluded => "not-included",
            Self::Narrowed => "narrowed",
            Self::AlreadySet => "already-set",
            Self::InvalidKey => "invalid-key",
            Self::InvalidValue => "invalid-value",
            Self::Unreadable => "unreadable",
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether Kubernetes accepts `key` as a label's key: `[prefix/]name`.
pub fn is_valid_key(key: &str) -> bool {
    match key.split_once('/') {
        None => is_valid_name(key),
        Some((prefix, name)) => is_valid_subdomain(prefix) && is_valid_name(name),
    }
}

/// Whether Kubernetes accepts `value` as a label's value.
pub fn is_valid_value(value: &str) -> bool {
    value.is_empty() || is_valid_name(value)
}

/// Letters, digits, `-`, `_`, `.`; letter or digit at both ends; 1 to 63 characters.
fn is_valid_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    bytes.len() <= MAX_NAME && bytes.iter().all(inner) && ends(bytes.first()) && ends(bytes.last())
}

/// RFC 1123 subdomain, lower case, at most 253 characters.
fn is_valid_subdomain(text: &str) -> bool {
    let part_is_valid = |part: &str| {
        let bytes = part.as_bytes();
        let letter_or_digit = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        bytes.iter().all(|byte| letter_or_digit(byte) || *byte == b'-')
            && bytes.first().is_some_and(letter_or_digit)
            && bytes.last().is_some_and(letter_or_digit)
    };
    text.len() <= MAX_PREFIX && text.split('.').all(part_is_valid)
}

#[cfg(test)]
mod tests;
