// SPDX-License-Identifier: Apache-2.0
//! Patterns over label keys: text in which `*` stands for any characters, also none, also `/`.

use std::fmt;

use serde::Serialize;

/// A pattern; every text is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Pattern {
    text: String,
}

impl Pattern {
    /// A pattern from its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// The patterns of a comma-separated list; spaces around them and empty ones don't count.
    pub fn list(text: &str) -> Vec<Self> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Self::new).collect()
    }

    /// Whether the pattern covers the whole of `key`.
    pub fn matches(&self, key: &str) -> bool {
        covers(&self.text, key)
    }

    /// Whether the pattern is `key` itself, without any `*`.
    pub fn is_literal(&self, key: &str) -> bool {
        self.text == key && !key.contains('*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a pattern's text covers the whole of `key`.
pub(crate) fn covers(pattern: &str, key: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == key;
    };
    let Some(mut key) = key.strip_prefix(head) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return key.ends_with(part);
        }
        // Leftmost is enough: what follows the part only gets longer.
        let Some(at) = key.find(part) else { return false };
        key = &key[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests;
