// SPDX-License-Identifier: Apache-2.0
//! The Secret's contents: a current CA, and a second slot that a rotation uses.
//!
//! | key | meaning |
//! |---|---|
//! | `ca.crt`, `ca.key` | the CA that signs, PEM |
//! | `next-ca.crt`, `next-ca.key` | the CA that signs after the next promotion; after it, the one that signed before |
//! | `next-published-at` | when the CA that comes next was seen in the live bundle, RFC 3339 |
//! | `next-drop-after` | there if the second CA has been replaced: when it leaves the bundle and the Secret, RFC 3339 |

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::ByteString;
use thiserror::Error;

use crate::authority::{Authority, AuthorityError};

const CURRENT: Keys = Keys { certificate: "ca.crt", key: "ca.key" };
const SECOND: Keys = Keys { certificate: "next-ca.crt", key: "next-ca.key" };
const PUBLISHED_AT: &str = "next-published-at";
const DROP_AFTER: &str = "next-drop-after";

/// The Secret's data as Kubernetes keeps it.
pub type Data = BTreeMap<String, ByteString>;

struct Keys {
    certificate: &'static str,
    key: &'static str,
}

/// Both slots; `A` is an [`Authority`], or stands for one in tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots<A = Arc<Authority>> {
    /// The CA that signs.
    pub current: A,
    /// The CA before or after it.
    pub second: Option<Second<A>>,
}

/// The second slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Second<A = Arc<Authority>> {
    /// Its CA.
    pub authority: A,
    /// What it is there for.
    pub role: Role,
}

/// What the second CA is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It will sign.
    Successor {
        /// When it was first seen in the live bundle.
        published_at: Option<Timestamp>,
    },
    /// It has signed.
    Predecessor {
        /// When it leaves the bundle, and then this slot.
        drop_after: Timestamp,
    },
}

/// Why the Secret's contents cannot be used.
#[derive(Debug, Error)]
pub enum SlotsError {
    /// A key is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A value is not text.
    #[error("{0} is not text")]
    NotText(&'static str),
    /// A time is not RFC 3339.
    #[error("{key} is not a time")]
    Time {
        /// Which key.
        key: &'static str,
        /// What is wrong with it.
        source: jiff::Error,
    },
    /// A CA cannot be used.
    #[error("{certificate} and {key} cannot be used")]
    Authority {
        /// The certificate's key in the Secret.
        certificate: &'static str,
        /// The key's key in the Secret.
        key: &'static str,
        /// Why.
        source: AuthorityError,
    },
}

impl Slots {
    /// Reads the Secret's data.
    pub fn read(data: &Data) -> Result<Self, SlotsError> {
        let current = authority(data, &CURRENT)?;
        let second = if data.contains_key(SECOND.certificate) {
            let role = match time(data, DROP_AFTER)? {
                Some(drop_after) => Role::Predecessor { drop_after },
                None => Role::Successor { published_at: time(data, PUBLISHED_AT)? },
            };
            Some(Second { authority: authority(data, &SECOND)?, role })
        } else {
            None
        };
        Ok(Self { current, second })
    }

    /// What can be read of broken data: one CA that can sign, better than a new one that nobody trusts yet.
    pub fn salvage(data: &Data) -> Option<Self> {
        let readable = authority(data, &CURRENT).or_else(|_| authority(data, &SECOND));
        readable.ok().map(|current| Self { current, second: None })
    }

    /// The Secret's data.
    pub fn write(&self) -> Data {
        let mut data = Data::new();
        let mut put =
            |key: &str, text: &str| data.insert(key.to_owned(), ByteString(text.as_bytes().to_vec()));
        put(CURRENT.certificate, self.current.certificate_pem());
        put(CURRENT.key, self.current.key_pem());
        if let Some(Second { authority, role }) = &self.second {
            put(SECOND.certificate, authority.certificate_pem());
            put(SECOND.key, authority.key_pem());
            let (key, time) = match role {
                Role::Successor { published_at } => (PUBLISHED_AT, *published_at),
                Role::Predecessor { drop_after } => (DROP_AFTER, Some(*drop_after)),
            };
            time.map(|time| put(key, &time.to_string()));
        }
        data
    }
}

fn text<'a>(data: &'a Data, key: &'static str) -> Result<&'a str, SlotsError> {
    let bytes = data.get(key).ok_or(SlotsError::Missing(key))?;
    str::from_utf8(&bytes.0).map_err(|_| SlotsError::NotText(key))
}

fn authority(data: &Data, keys: &Keys) -> Result<Arc<Authority>, SlotsError> {
    let Keys { certificate, key } = *keys;
    Authority::load(text(data, certificate)?, text(data, key)?)
        .map(Arc::new)
        .map_err(|source| SlotsError::Authority { certificate, key, source })
}

fn time(data: &Data, key: &'static str) -> Result<Option<Timestamp>, SlotsError> {
    if !data.contains_key(key) {
        return Ok(None);
    }
    text(data, key)?.parse().map(Some).map_err(|source| SlotsError::Time { key, source })
}

#[cfg(test)]
mod tests;
