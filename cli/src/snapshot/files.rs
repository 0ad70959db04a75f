// SPDX-License-Identifier: Apache-2.0
//! A snapshot from files: YAML or JSON, several documents, lists as `kubectl get -o yaml` writes them, and pages that
//! announcers serve under `/vips`.

use gateherald_model::rules::{Rules, file};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use thiserror::Error;

use super::{Gap, Listing, Named, Snapshot, questions::ServerVersion};

/// A text and where it is from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The file's name.
    pub(crate) name: String,
    /// Its content.
    pub(crate) text: String,
}

/// Why a file cannot be used.
#[derive(Debug, Error)]
pub(crate) enum FileError {
    /// Not YAML.
    #[error("{file}, document {document}: not YAML")]
    Yaml {
        file: String,
        document: usize,
        #[source]
        source: serde_yaml_ng::Error,
    },
    /// A field of another type.
    #[error("{file}: {object}, {field}")]
    Field {
        file: String,
        object: String,
        field: String,
        #[source]
        source: serde_json::Error,
    },
    /// Label rules that are none.
    #[error("{file}: label rules")]
    Rules {
        file: String,
        #[source]
        source: file::RulesError,
    },
}

/// What was in files and is no object of a cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extras {
    /// Label rules, if a file had some: the last ones.
    pub(crate) rules: Option<Rules>,
    /// Kinds that nothing here is about.
    pub(crate) ignored: Vec<String>,
}

/// Reads all documents of all sources into the snapshot, in the place of what it has under the same names.
pub(crate) fn load(snapshot: &mut Snapshot, sources: &[Source]) -> Result<Extras, FileError> {
    let mut extras = Extras::default();
    for source in sources {
        for (number, document) in serde_yaml_ng::Deserializer::from_str(&source.text).enumerate() {
            let value = Value::deserialize(document).map_err(|error| FileError::Yaml {
                file: source.name.clone(),
                document: number + 1,
                source: error,
            })?;
            take(snapshot, &mut extras, &source.name, value)?;
        }
    }
    extras.ignored.sort();
    extras.ignored.dedup();
    Ok(extras)
}

/// Files are the whole world: what no file speaks of is not there. And they are of the time at which they were written,
/// which the newest renewal of a Lease tells best: no session is silent because they were read later.
pub(crate) fn close(snapshot: &mut Snapshot) {
    fn none<T>(listing: &mut Listing<T>) {
        if listing.gap == Some(Gap::NotAsked) {
            listing.gap = None;
        }
    }
    let renewals = snapshot.leases.items.iter().filter_map(|lease| lease.spec.as_ref()?.renew_time.as_ref());
    if let Some(newest) = renewals.map(|time| time.0).max() {
        snapshot.now = newest;
    }
    none(&mut snapshot.gateways);
    none(&mut snapshot.services);
    none(&mut snapshot.nodes);
    none(&mut snapshot.policies);
    none(&mut snapshot.cilium_policies);
    none(&mut snapshot.leases);
}

fn take(snapshot: &mut Snapshot, extras: &mut Extras, file: &str, value: Value) -> Result<(), FileError> {
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if kind.ends_with("List") && value["items"].is_array() {
        let Value::Object(mut list) = value else { return Ok(()) };
        let items = list.remove("items").unwrap_or_default();
        let Value::Array(items) = items else { return Ok(()) };
        for mut item in items {
            // Items of a typed list carry no kind of their own.
            if item["kind"].is_null() && item.is_object() {
                item["kind"] = kind.trim_end_matches("List").into();
                item["apiVersion"] = version.clone().into();
            }
            take(snapshot, extras, file, item)?;
        }
        return Ok(());
    }
    let group = version.split_once('/').map_or("", |(group, _)| group).to_owned();
    object(snapshot, extras, file, (&group, &kind), value)
}

fn object(
    snapshot: &mut Snapshot,
    extras: &mut Extras,
    file: &str,
    kind: (&str, &str),
    value: Value,
) -> Result<(), FileError> {
    let s = snapshot;
    match kind {
        ("gateway.networking.k8s.io", "Gateway") => put(&mut s.gateways, file, value),
        ("gateway.networking.k8s.io", "GatewayClass") => put(&mut s.classes, file, value),
        ("", "Service") => put(&mut s.services, file, value),
        ("", "Node") => put(&mut s.nodes, file, value),
        ("", "Pod") => put(&mut s.pods, file, value),
        ("", "ConfigMap") => put(&mut s.config_maps, file, value),
        ("", "Event") => put(&mut s.events, file, value),
        ("apps", "DaemonSet") => put(&mut s.daemon_sets, file, value),
        ("gateherald.io", "L2AnnouncementPolicy") => put(&mut s.policies, file, value),
        ("cilium.io", "CiliumL2AnnouncementPolicy") => put(&mut s.cilium_policies, file, value),
        ("cilium.io", "CiliumLoadBalancerIPPool") => put(&mut s.cilium_pools, file, value),
        ("metallb.io", "IPAddressPool") => put(&mut s.metallb_pools, file, value),
        ("discovery.k8s.io", "EndpointSlice") => put(&mut s.slices, file, value),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => {
            put(&mut s.registrations, file, value)
        }
        ("coordination.k8s.io", "Lease") => {
            let name = value["metadata"]["name"].as_str().unwrap_or_default();
            let cilium = name.starts_with("cilium-l2announce-");
            put(if cilium { &mut s.cilium_leases } else { &mut s.leases }, file, value)
        }
        (group, _) if Some(group) == file::API_VERSION.split('/').next() => rules(extras, file, &value),
        ("", "") if value["notAnnounced"].is_array() => {
            s.announcers.push(typed(file, value)?);
            s.announcers.sort_by(|a, b| a.node.cmp(&b.node));
            Ok(())
        }
        ("", "") if value["gitVersion"].is_string() => {
            s.questions.version = Ok(version(&value));
            Ok(())
        }
        ("", "") if value.is_null() => Ok(()),
        (_, kind) => {
            extras.ignored.push(if kind.is_empty() { "no kind".to_owned() } else { kind.to_owned() });
            Ok(())
        }
    }
}

/// The answer of `/version`.
pub(crate) fn version(value: &Value) -> ServerVersion {
    let number = |field: &str| {
        let digits = value[field].as_str().unwrap_or_default();
        digits.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or_default()
    };
    let text = value["gitVersion"].as_str().unwrap_or_default().to_owned();
    ServerVersion { major: number("major"), minor: number("minor"), text }
}

fn rules(extras: &mut Extras, file: &str, value: &Value) -> Result<(), FileError> {
    let text = value.to_string();
    let rules = Rules::parse(&text).map_err(|source| FileError::Rules { file: file.to_owned(), source })?;
    extras.rules = Some(rules);
    Ok(())
}

fn put<T: DeserializeOwned + Named>(
    listing: &mut Listing<T>,
    file: &str,
    value: Value,
) -> Result<(), FileError> {
    listing.put(typed(file, value)?);
    Ok(())
}

fn typed<T: DeserializeOwned>(file: &str, value: Value) -> Result<T, FileError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = format!("{} {}", text(&value["kind"]), text(&value["metadata"]["name"]));
    serde_path_to_error::deserialize(value).map_err(|error| FileError::Field {
        file: file.to_owned(),
        object,
        field: error.path().to_string(),
        source: error.into_inner(),
    })
}

#[cfg(test)]
mod tests;
