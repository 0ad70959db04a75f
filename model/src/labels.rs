// SPDX-License-Identifier: Apache-2.0
//! Keys and values that Kubernetes accepts, and why a label or annotation of a Gateway stays off its Services.

use std::fmt;

use serde::Serialize;

/// Longest name part of a key, and longest value (Kubernetes' label rules).
const MAX_NAME: usize = 63;
/// Longest prefix of a key: a DNS subdomain.
const MAX_PREFIX: usize = 253;

/// Why a label or annotation is not injected. The name is the metric label, the audit field and the test's expectation.
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
    /// An annotation that changes how a Service is treated, or by whom: only a rule that names it in full allows it.
    NotByWildcard,
    /// The label under this key names a Gateway of another namespace, which is believed from the controller's namespaces
    /// alone.
    UntrustedNamespace,
}

/// A key that is not injected (or not read), and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Skipped {
    /// Which key.
    pub key: String,
    /// Why.
    pub reason: SkipReason,
}

impl SkipReason {
    /// Every reason, for metrics that start at zero.
    pub const ALL: [Self; 10] = [
        Self::Denied,
        Self::Excluded,
        Self::NotIncluded,
        Self::Narrowed,
        Self::AlreadySet,
        Self::InvalidKey,
        Self::InvalidValue,
        Self::Unreadable,
        Self::NotByWildcard,
        Self::UntrustedNamespace,
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
            Self::NotByWildcard => "not-by-wildcard",
            Self::UntrustedNamespace => "untrusted-namespace",
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

/// Whether Kubernetes accepts `key` as an annotation's key: as a label's, in either case.
pub fn is_valid_annotation_key(key: &str) -> bool {
    is_valid_key(&key.to_ascii_lowercase())
}

/// Whether Kubernetes accepts `name` as a namespace's.
pub(crate) fn is_valid_namespace(name: &str) -> bool {
    name.len() <= MAX_NAME && !name.contains('.') && is_valid_subdomain(name)
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
