// SPDX-License-Identifier: Apache-2.0
//! The part of an object's metadata that label decisions read.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

use crate::few::Few;

/// Labels or annotations: key to value.
pub type LabelMap = BTreeMap<String, String>;
/// The same, kept: in half the memory.
pub type Entries = Few<(String, String)>;

/// Entries of a map or list that are decoded. More are an error: real objects have dozens, and a small text of many short
/// entries takes ten times its size in memory.
pub const MOST_ENTRIES: usize = 16_384;

/// Metadata without what no decision reads (managedFields above all); decodes straight from an object's JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Empty at admission when the name is generated.
    #[serde(deserialize_with = "null_is_empty")]
    pub name: String,
    /// The prefix of a generated name.
    #[serde(deserialize_with = "null_is_empty")]
    pub generate_name: String,
    /// The namespace, empty for cluster-scoped objects.
    #[serde(deserialize_with = "null_is_empty")]
    pub namespace: String,
    /// Empty in the admission of a CREATE.
    #[serde(deserialize_with = "null_is_empty")]
    pub uid: String,
    /// When deletion began, if it did.
    pub deletion_timestamp: Option<String>,
    /// The labels.
    #[serde(deserialize_with = "map")]
    pub labels: LabelMap,
    /// The annotations.
    #[serde(deserialize_with = "map")]
    pub annotations: LabelMap,
    /// What owns the object.
    #[serde(deserialize_with = "list")]
    pub owner_references: Vec<OwnerReference>,
}

/// One entry of `metadata.ownerReferences`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// Group and version, `group/version`.
    #[serde(deserialize_with = "null_is_empty")]
    pub api_version: String,
    /// The owner's kind.
    #[serde(deserialize_with = "null_is_empty")]
    pub kind: String,
    /// The owner's name, in the object's own namespace.
    #[serde(deserialize_with = "null_is_empty")]
    pub name: String,
    /// Which object of that name.
    #[serde(deserialize_with = "null_is_empty")]
    pub uid: String,
    /// Whether this owner is the managing controller.
    pub controller: Option<bool>,
}

impl From<ObjectMeta> for Metadata {
    fn from(meta: ObjectMeta) -> Self {
        let reference =
            |owner: k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| OwnerReference {
                api_version: owner.api_version,
                kind: owner.kind,
                name: owner.name,
                uid: owner.uid,
                controller: owner.controller,
            };
        Self {
            name: meta.name.unwrap_or_default(),
            generate_name: meta.generate_name.unwrap_or_default(),
            namespace: meta.namespace.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
            deletion_timestamp: meta.deletion_timestamp.map(|time| time.0.to_string()),
            labels: meta.labels.unwrap_or_default(),
            annotations: meta.annotations.unwrap_or_default(),
            owner_references: meta.owner_references.unwrap_or_default().into_iter().map(reference).collect(),
        }
    }
}

/// Kubernetes writes an empty list or map as absent, some clients write it as `null`.
fn null_is_empty<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(
    decoder: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(decoder)?.unwrap_or_default())
}

/// As [`null_is_empty`], with at most [`MOST_ENTRIES`]. As in Go, the last of several equal keys counts.
fn map<'de, D: Deserializer<'de>>(decoder: D) -> Result<LabelMap, D::Error> {
    decoder.deserialize_option(Bounded(PhantomData::<LabelMap>))
}

/// As [`map`], of a list.
fn list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(decoder: D) -> Result<Vec<T>, D::Error> {
    decoder.deserialize_option(Bounded(PhantomData::<Vec<T>>))
}

struct Bounded<C>(PhantomData<C>);

impl<'de> Visitor<'de> for Bounded<LabelMap> {
    type Value = LabelMap;

    fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(text, "a map of at most {MOST_ENTRIES} strings")
    }

    fn visit_none<E: Error>(self) -> Result<LabelMap, E> {
        Ok(LabelMap::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, decoder: D) -> Result<LabelMap, D::Error> {
        decoder.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<LabelMap, A::Error> {
        let mut decoded = LabelMap::new();
        while let Some((key, value)) = entries.next_entry()? {
            decoded.insert(key, value);
            if decoded.len() > MOST_ENTRIES {
                return Err(A::Error::invalid_length(decoded.len(), &self));
            }
        }
        Ok(decoded)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<Vec<T>> {
    type Value = Vec<T>;

    fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(text, "a list of at most {MOST_ENTRIES} entries")
    }

    fn visit_none<E: Error>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, decoder: D) -> Result<Vec<T>, D::Error> {
        decoder.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
        let mut decoded = Vec::new();
        while let Some(entry) = entries.next_element()? {
            decoded.push(entry);
            if decoded.len() > MOST_ENTRIES {
                return Err(A::Error::invalid_length(decoded.len(), &self));
            }
        }
        Ok(decoded)
    }
}

#[cfg(test)]
mod tests;
