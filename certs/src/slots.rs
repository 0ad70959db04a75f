// SPDX-License-Identifier: Apache-2.0
//! The Secret's contents: a current CA, and a second slot that a rotation uses.
//!
//! | key | meaning |
//! |---|---|
//! | `ca.crt`, `ca.key` | the CA that signs, PEM |
//! | `next-ca.crt`, `next-ca.key` | the CA that signs after the next promotion, or the one before it until it is dropped |
//! | `next-published-at` | when the second CA was seen in the live bundle, RFC 3339 |
//! | `next-drop-after` | when the second CA, having been replaced, leaves the Secret and the bundle, RFC 3339 |

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use thiserror::Error;

use crate::authority::{Authority, AuthorityError};

const CURRENT: Keys = Keys { certificate: "ca.crt", key: "ca.key" };
const NEXT: Keys = Keys { certificate: "next-ca.crt", key: "next-ca.key" };
const PUBLISHED_AT: &str = "next-published-at";
const DROP_AFTER: &str = "next-drop-after";

/// The Secret's data as Kubernetes keeps it.
pub type Data = BTreeMap<String, ByteString>;

struct Keys {
    certificate: &'static str,
    key: &'static str,
}

/// Both slots.
#[derive(Debug)]
pub struct Slots {
    /// The CA that signs.
    pub current: Authority,
    /// The CA before or after it.
    pub next: Option<Next>,
}

/// The second slot.
#[derive(Debug)]
pub struct Next {
    /// Its CA.
    pub authority: Authority,
    /// When it was seen in the live bundle.
    pub published_at: Option<Timestamp>,
    /// When it goes.
    pub drop_after: Option<Timestamp>,
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
        let next = if data.contains_key(NEXT.certificate) {
            let authority = authority(data, &NEXT)?;
            Some(Next {
                authority,
                published_at: time(data, PUBLISHED_AT)?,
                drop_after: time(data, DROP_AFTER)?,
            })
        } else {
            None
        };
        Ok(Self { current, next })
    }

    /// The Secret's data.
    pub fn write(&self) -> Data {
        let mut data = Data::new();
        let mut put =
            |key: &str, text: &str| data.insert(key.to_owned(), ByteString(text.as_bytes().to_vec()));
        put(CURRENT.certificate, self.current.certificate_pem());
        put(CURRENT.key, self.current.key_pem());
        if let Some(next) = &self.next {
            put(NEXT.certificate, next.authority.certificate_pem());
            put(NEXT.key, next.authority.key_pem());
            for (key, time) in [(PUBLISHED_AT, next.published_at), (DROP_AFTER, next.drop_after)] {
                time.map(|time| put(key, &time.to_string()));
            }
        }
        data
    }

    /// Every CA that clients must trust, the current one first.
    pub fn authorities(&self) -> impl Iterator<Item = &Authority> {
        std::iter::once(&self.current).chain(self.next.iter().map(|next| &next.authority))
    }
}

fn text<'a>(data: &'a Data, key: &'static str) -> Result<&'a str, SlotsError> {
    let bytes = data.get(key).ok_or(SlotsError::Missing(key))?;
    str::from_utf8(&bytes.0).map_err(|_| SlotsError::NotText(key))
}

fn authority(data: &Data, keys: &Keys) -> Result<Authority, SlotsError> {
    let Keys { certificate, key } = *keys;
    Authority::load(text(data, certificate)?, text(data, key)?).map_err(|source| SlotsError::Authority {
        certificate,
        key,
        source,
    })
}

fn time(data: &Data, key: &'static str) -> Result<Option<Timestamp>, SlotsError> {
    if !data.contains_key(key) {
        return Ok(None);
    }
    text(data, key)?.parse().map(Some).map_err(|source| SlotsError::Time { key, source })
}

#[cfg(test)]
mod tests;
