// SPDX-License-Identifier: Apache-2.0
//! The two kinds of Lease that announcers share ownership by: their names, annotations and contents.
//!
//! A **session** is one incarnation of one node's announcer; a **claim** is one address and who holds it.
//! What the contents oblige anybody to do is decided elsewhere (the announcer's `claims`); here they are only read and written.
//! Everything that cannot be read is an [`Unreadable`] with a reason, and counts as a stranger's.
//!
//! Of a Lease of another format this is known, and every format keeps to it: its name; `leaseDurationSeconds` is its
//! writer's D; a session's `holderIdentity` is empty exactly when no session lives under it; a held claim's
//! `holderIdentity` is the holder's node, and whoever gives a claim up empties it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::few::Few;

pub mod names;
pub mod strangers;

#[cfg(test)]
mod tests;

/// The field manager of every write of an announcer to a Lease. Another manager's hand on a claim is a stranger's.
pub const FIELD_MANAGER: &str = "gateherald-announcer";
/// The format that this code writes. A Lease of another format counts as a stranger's.
pub const FORMAT: &str = "1";
/// The label that tells sessions from claims: `session` or `claim`.
pub const KIND_LABEL: &str = "gateherald.io/lease";
/// How many ended session ids a session Lease keeps, newest last.
pub const ENDED_KEPT: usize = 16;

const FORMAT_KEY: &str = "gateherald.io/format";
const NONCE_KEY: &str = "gateherald.io/nonce";
const ENDED_KEY: &str = "gateherald.io/ended";
const POLICIES_KEY: &str = "gateherald.io/policies";
const LINKS_KEY: &str = "gateherald.io/links";
const BOOT_KEY: &str = "gateherald.io/boot-id";
const NETNS_KEY: &str = "gateherald.io/network-namespace";
const SESSION_KEY: &str = "gateherald.io/session";
const ADDRESS_KEY: &str = "gateherald.io/address";
const SERVICES_KEY: &str = "gateherald.io/services";
const INTERFACES_KEY: &str = "gateherald.io/interfaces";
const BIDS_KEY: &str = "gateherald.io/bids";
const UNPROVEN_KEY: &str = "gateherald.io/unproven";
const FAVOURS_KEY: &str = "gateherald.io/favours";
const RELEASED_KEY: &str = "gateherald.io/released";

/// Which Lease: a node's session, or the claim on an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The session of the node with this name.
    Session(String),
    /// The claim on this address.
    Claim(IpAddr),
}

/// One version of one object: an update must name both, so that it can neither overwrite nor re-create by accident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`, which Kubernetes promises to be a decimal number that grows (KEP-5504).
    pub resource_version: u64,
}

/// One incarnation of one node's announcer, as its Lease tells it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Session {
    /// The node.
    pub node: String,
    /// The id of the living session; none when it was ended. Of another format: the whole `holderIdentity`.
    pub id: Option<String>,
    /// It is of another format: only its id, node and duration are known, and the id is none that a claim names.
    pub other_format: bool,
    /// Ids that will never answer again, newest last.
    pub ended: Vec<Ended>,
    /// Lease duration D in whole seconds.
    pub duration_seconds: u32,
    /// Makes each write a change, so that its echo can be recognised in a watch.
    pub nonce: String,
    /// The names of the policies whose nodes this one is among.
    pub policies: BTreeSet<String>,
    /// The node's links that policies select.
    pub links: Vec<LinkNote>,
    /// The addresses that the node asks their holders for.
    pub bids: BTreeSet<IpAddr>,
    /// The kernel's boot id where the session runs.
    pub boot_id: String,
    /// The inode of the network namespace that the session answers in.
    pub network_namespace: u64,
}

/// A session id that is over, and who said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The session id.
    pub id: String,
    /// Who ended it.
    pub by: EndedBy,
}

/// Who ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndedBy {
    /// Its own process, shutting down: whoever wants its addresses may have them.
    Shutdown,
    /// Its own process, which lost its freshness and goes on under another id.
    Lapse,
    /// The next process on the same node, which has proof that it is the only one.
    Successor,
    /// Another node, after the session's silence.
    Observer,
}

/// A link as a session reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkNote {
    /// Its name.
    pub name: String,
    /// Its hardware address, `aa:bb:cc:dd:ee:ff`.
    pub mac: String,
    /// Whether it is up and has a carrier.
    pub up: bool,
}

/// Who has an address, as its Lease tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The address.
    pub address: IpAddr,
    /// The state of the holding.
    pub holder: Holder,
    /// Lease duration D of the claimant in whole seconds.
    pub duration_seconds: u32,
    /// How often the address changed hands; every take raises it.
    pub transitions: u32,
    /// Makes each write a change, and tells its writer's own from others'.
    pub nonce: String,
    /// The Services that want the address, `namespace/name`.
    pub services: Few<String>,
    /// The links that it is announced on, on the holder's node.
    pub interfaces: Few<String>,
    /// Nobody has made sure yet that the holder before, whose silence is a matter of time only, does not answer any more.
    pub unproven: bool,
    /// Whether anyone but an announcer wrote a part of it that says who holds it.
    pub touched: bool,
}

/// The state of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Held by this session of this node.
    Session {
        /// The node.
        node: String,
        /// The session id.
        session: String,
    },
    /// Given up by its holder, which said so itself.
    Released {
        /// The node that gave it up.
        node: String,
        /// The session that gave it up.
        session: String,
        /// The node that it was given up for.
        favours: Option<String>,
    },
    /// Held by some session of this node, whose announcer writes another format.
    OtherFormat {
        /// The node.
        node: String,
    },
    /// Empty or contradictory, as no announcer leaves it to itself: nobody knows who still answers.
    Stranger,
}

impl Holder {
    /// The session that holds the address.
    pub fn session(&self) -> Option<&str> {
        match self {
            Self::Session { session, .. } => Some(session),
            Self::Released { .. } | Self::OtherFormat { .. } | Self::Stranger => None,
        }
    }
}

/// What one of our Leases says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A node's session.
    Session(Session),
    /// The claim on an address.
    Claim(Claim),
}

impl Record {
    /// Which Lease this is the content of.
    pub fn key(&self) -> Key {
        match self {
            Self::Session(session) => Key::Session(session.node.clone()),
            Self::Claim(claim) => Key::Claim(claim.address),
        }
    }
}

/// Why a Lease of ours says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Its name is not one that announcers give: not ours at all.
    #[error("Lease {0} is neither a session nor a claim")]
    ForeignName(String),
    /// The name fits, but uid or resourceVersion are missing or no number.
    #[error("Lease {0} has no usable uid and resourceVersion")]
    NoVersion(String),
    /// A session Lease with a shortened name that does not say in full which node it is.
    #[error("Lease {0} names no node in the annotation {NODE_KEY}")]
    NoNode(String),
    /// A claim Lease without a readable address.
    #[error("Lease {0} has no address in the annotation {ADDRESS_KEY}")]
    NoAddress(String),
}

const NODE_KEY: &str = "gateherald.io/node";

/// Reads a Lease.
///
/// A session of another format reads as one that is alive under an id of its own and ended nothing, a claim of another
/// format as held by whatever session its node has: both are waited out, never trusted.
pub fn read(lease: &Lease) -> Result<(Version, Record), Unreadable> {
    let name = lease.metadata.name.as_deref().unwrap_or_default();
    let spec = lease.spec.clone().unwrap_or_default();
    let notes = Notes(lease.metadata.annotations.as_ref());
    let record = match names::kind(name) {
        Some(names::Kind::Session) => Record::Session(read_session(name, &spec, &notes)?),
        Some(names::Kind::Claim) => Record::Claim(read_claim(name, lease, &spec, &notes)?),
        None => return Err(Unreadable::ForeignName(name.to_owned())),
    };
    Ok((version(name, &lease.metadata)?, record))
}

/// The name, uid and resourceVersion of an object that is gone or of whose content nothing is wanted.
pub fn version(name: &str, meta: &ObjectMeta) -> Result<Version, Unreadable> {
    let resource_version = meta.resource_version.as_deref().and_then(|rv| rv.parse().ok());
    match (meta.uid.clone(), resource_version) {
        (Some(uid), Some(resource_version)) => Ok(Version { uid, resource_version }),
        _ => Err(Unreadable::NoVersion(name.to_owned())),
    }
}

/// Writes a Lease: `version` makes it a replacement of exactly that one, `now` is for people only.
pub fn write(
    record: &Record,
    namespace: &str,
    owner: Option<&OwnerReference>,
    version: Option<&Version>,
    now: Timestamp,
) -> Lease {
    let (kind, spec, annotations) = match record {
        Record::Session(session) => ("session", session_spec(session, now), session_notes(session)),
        Record::Claim(claim) => ("claim", claim_spec(claim, now), claim_notes(claim)),
    };
    let labels = [(KIND_LABEL, kind), ("app.kubernetes.io/managed-by", FIELD_MANAGER)];
    Lease {
        metadata: ObjectMeta {
            name: Some(names::of(&record.key())),
            namespace: Some(namespace.to_owned()),
            uid: version.map(|v| v.uid.clone()),
            resource_version: version.map(|v| v.resource_version.to_string()),
            labels: Some(labels.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()),
            annotations: Some(annotations),
            owner_references: owner.map(|owner| vec![owner.clone()]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
    }
}

fn session_spec(session: &Session, now: Timestamp) -> LeaseSpec {
    let holder = session.id.as_ref().map(|id| format!("{}_{id}", session.node));
    LeaseSpec {
        holder_identity: Some(holder.unwrap_or_default()),
        lease_duration_seconds: i32::try_from(session.duration_seconds).ok(),
        renew_time: Some(MicroTime(now)),
        ..LeaseSpec::default()
    }
}

fn session_notes(session: &Session) -> BTreeMap<String, String> {
    let mut map = notes([
        (FORMAT_KEY, FORMAT.to_owned()),
        (NODE_KEY, session.node.clone()),
        (NONCE_KEY, session.nonce.clone()),
        (ENDED_KEY, json(&session.ended)),
        (POLICIES_KEY, json(&session.policies)),
        (LINKS_KEY, json(&session.links)),
        (BOOT_KEY, session.boot_id.clone()),
        (NETNS_KEY, session.network_namespace.to_string()),
    ]);
    map.extend((!session.bids.is_empty()).then(|| (BIDS_KEY.to_owned(), json(&session.bids))));
    map
}

fn claim_spec(claim: &Claim, now: Timestamp) -> LeaseSpec {
    let holder = match &claim.holder {
        Holder::Session { node, .. } | Holder::OtherFormat { node } => node.clone(),
        Holder::Released { .. } | Holder::Stranger => String::new(),
    };
    LeaseSpec {
        holder_identity: Some(holder),
        lease_duration_seconds: i32::try_from(claim.duration_seconds).ok(),
        lease_transitions: i32::try_from(claim.transitions).ok(),
        acquire_time: Some(MicroTime(now)),
        ..LeaseSpec::default()
    }
}

fn claim_notes(claim: &Claim) -> BTreeMap<String, String> {
    let (session, released, favours) = match &claim.holder {
        Holder::Session { session, .. } => (session.clone(), None, None),
        Holder::Released { node, session, favours } => (session.clone(), Some(node), favours.as_ref()),
        Holder::OtherFormat { .. } | Holder::Stranger => (String::new(), None, None),
    };
    let mut map = notes([
        (FORMAT_KEY, FORMAT.to_owned()),
        (ADDRESS_KEY, claim.address.to_string()),
        (NONCE_KEY, claim.nonce.clone()),
        (SESSION_KEY, session),
        (SERVICES_KEY, json(&claim.services)),
        (INTERFACES_KEY, json(&claim.interfaces)),
    ]);
    map.extend(released.map(|node| (RELEASED_KEY.to_owned(), node.clone())));
    map.extend(claim.unproven.then(|| (UNPROVEN_KEY.to_owned(), "true".to_owned())));
    map.extend(favours.map(|node| (FAVOURS_KEY.to_owned(), node.clone())));
    map
}

fn read_session(name: &str, spec: &LeaseSpec, notes: &Notes<'_>) -> Result<Session, Unreadable> {
    let duration_seconds = duration(spec);
    let node = notes.text(NODE_KEY);
    let named = names::of(&Key::Session(node.clone())) == name;
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    if !named || notes.text(FORMAT_KEY) != FORMAT {
        let node = if named { Some(node) } else { names::session_node(name) };
        let node = node.ok_or_else(|| Unreadable::NoNode(name.to_owned()))?;
        let id = (!holder.is_empty()).then(|| holder.to_owned());
        return Ok(Session { node, id, other_format: true, duration_seconds, ..Session::default() });
    }
    let id = holder.strip_prefix(&node).and_then(|rest| rest.strip_prefix('_')).filter(|id| !id.is_empty());
    Ok(Session {
        id: id.map(str::to_owned),
        ended: notes.json(ENDED_KEY),
        duration_seconds,
        nonce: notes.text(NONCE_KEY),
        policies: notes.json(POLICIES_KEY),
        links: notes.json(LINKS_KEY),
        bids: notes.json(BIDS_KEY),
        other_format: false,
        boot_id: notes.text(BOOT_KEY),
        network_namespace: notes.text(NETNS_KEY).parse().unwrap_or_default(),
        node,
    })
}

fn read_claim(name: &str, lease: &Lease, spec: &LeaseSpec, notes: &Notes<'_>) -> Result<Claim, Unreadable> {
    let address = names::claimed_address(name).ok_or_else(|| Unreadable::NoAddress(name.to_owned()))?;
    let ours = notes.text(FORMAT_KEY) == FORMAT;
    let holder = spec.holder_identity.clone().unwrap_or_default();
    let (session, released) = (notes.text(SESSION_KEY), notes.text(RELEASED_KEY));
    let favours = Some(notes.text(FAVOURS_KEY)).filter(|node| !node.is_empty());
    let holder = match (ours, holder.is_empty()) {
        (true, false) if !session.is_empty() && released.is_empty() => {
            Holder::Session { node: holder, session }
        }
        (true, true) if !released.is_empty() => Holder::Released { node: released, session, favours },
        (false, false) => Holder::OtherFormat { node: holder },
        _ => Holder::Stranger,
    };
    Ok(Claim {
        address,
        holder,
        duration_seconds: duration(spec),
        transitions: spec.lease_transitions.and_then(|n| u32::try_from(n).ok()).unwrap_or_default(),
        nonce: notes.text(NONCE_KEY),
        services: notes.json(SERVICES_KEY),
        interfaces: notes.json(INTERFACES_KEY),
        unproven: notes.text(UNPROVEN_KEY) == "true",
        touched: strangers::touched(lease.metadata.managed_fields.as_deref().unwrap_or_default()),
    })
}

fn duration(spec: &LeaseSpec) -> u32 {
    spec.lease_duration_seconds.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or_default()
}

fn notes<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Sets and lists of strings always serialise, so the empty fallback is never taken.
fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

struct Notes<'a>(Option<&'a BTreeMap<String, String>>);

impl Notes<'_> {
    fn text(&self, key: &str) -> String {
        self.0.and_then(|map| map.get(key)).cloned().unwrap_or_default()
    }

    fn json<T: Default + for<'de> Deserialize<'de>>(&self, key: &str) -> T {
        serde_json::from_str(&self.text(key)).unwrap_or_default()
    }
}
