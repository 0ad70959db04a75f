// SPDX-License-Identifier: Apache-2.0
//! Announcement policies: checked and compiled when they change, the last good version stays in force.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use ipnet::IpNet;
use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::{
    crd::{L2AnnouncementPolicySpec, L2AnnouncementPolicyStatus},
    interfaces::{BadPattern, InterfaceRule},
    selector::{Selector, SelectorError},
};

/// Whose resource a policy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    /// `L2AnnouncementPolicy`.
    Gateherald,
    /// `CiliumL2AnnouncementPolicy`.
    Cilium,
}

/// Which policy. Displayed as `Kind/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId {
    /// Whose resource.
    pub kind: PolicyKind,
    /// The object's name.
    pub name: String,
}

impl PolicyId {
    /// An id from its parts.
    pub fn new(kind: PolicyKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            PolicyKind::Gateherald => "L2AnnouncementPolicy",
            PolicyKind::Cilium => "CiliumL2AnnouncementPolicy",
        };
        write!(f, "{kind}/{}", self.name)
    }
}

impl Serialize for PolicyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A checked policy, ready to be evaluated.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The Services it selects.
    pub services: Selector,
    /// The nodes it selects.
    pub nodes: Selector,
    /// The links it selects.
    pub interfaces: InterfaceRule,
    /// It announces `spec.externalIPs`.
    pub external_ips: bool,
    /// It announces `status.loadBalancer.ingress[].ip`.
    pub load_balancer_ips: bool,
    /// It announces nothing outside these; empty: no restriction.
    pub addresses: Vec<IpNet>,
}

/// Why a policy cannot be taken.
#[derive(Debug, Error)]
pub enum InvalidPolicy {
    /// `nodeSelector` cannot be evaluated.
    #[error("nodeSelector cannot be evaluated")]
    BadNodeSelector(#[source] SelectorError),
    /// `serviceSelector` cannot be evaluated.
    #[error("serviceSelector cannot be evaluated")]
    BadServiceSelector(#[source] SelectorError),
    /// One of `interfaces` is no regular expression.
    #[error("interfaces cannot be compiled")]
    BadInterfaceRegex(#[source] BadPattern),
    /// One of `addresses` is no CIDR.
    #[error("addresses: {entry:?} is not a CIDR")]
    BadAddresses {
        /// What was found.
        entry: String,
        /// What is wrong with it.
        #[source]
        source: ipnet::AddrParseError,
    },
    /// `externalIPs` without `addresses`: anyone who may write a Service can set its external IPs.
    #[error("externalIPs needs addresses: name the networks whose addresses may be announced")]
    AddressesRequired,
    /// The object is not what its kind looks like, so its `CustomResourceDefinition` is not the one that this was built with.
    #[error("the object cannot be decoded: {0}; is its CustomResourceDefinition the one of this release?")]
    Undecodable(String),
}

impl InvalidPolicy {
    /// The condition's reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BadNodeSelector(_) => "BadNodeSelector",
            Self::BadServiceSelector(_) => "BadServiceSelector",
            Self::BadInterfaceRegex(_) => "BadInterfaceRegex",
            Self::BadAddresses { .. } => "BadAddresses",
            Self::AddressesRequired => "AddressesRequired",
            Self::Undecodable(_) => "Undecodable",
        }
    }
}

impl Policy {
    /// Checks and compiles a policy. Only our own kind must name addresses to announce external IPs:
    /// for Cilium's, which cannot, a flag of the announcer does.
    pub fn compile(kind: PolicyKind, spec: &L2AnnouncementPolicySpec) -> Result<Self, InvalidPolicy> {
        if kind == PolicyKind::Gateherald && spec.external_ips && spec.addresses.is_empty() {
            return Err(InvalidPolicy::AddressesRequired);
        }
        let cidr = |entry: &String| {
            entry.parse().map_err(|source| InvalidPolicy::BadAddresses { entry: entry.clone(), source })
        };
        Ok(Self {
            services: Selector::compile(spec.service_selector.as_ref())
                .map_err(InvalidPolicy::BadServiceSelector)?,
            nodes: Selector::compile(spec.node_selector.as_ref()).map_err(InvalidPolicy::BadNodeSelector)?,
            interfaces: InterfaceRule::compile(&spec.interfaces).map_err(InvalidPolicy::BadInterfaceRegex)?,
            external_ips: spec.external_ips,
            load_balancer_ips: spec.load_balancer_ips,
            addresses: spec.addresses.iter().map(cidr).collect::<Result<_, _>>()?,
        })
    }

    /// Whether it announces no kind of address at all.
    pub fn selects_nothing(&self) -> bool {
        !self.external_ips && !self.load_balancer_ips
    }

    /// Whether `addresses` lets this one through.
    pub fn covers(&self, address: IpAddr) -> bool {
        self.addresses.is_empty() || self.addresses.iter().any(|net| net.contains(&address))
    }
}

/// The newest version's verdict: what the condition `Valid` says.
#[derive(Debug)]
pub enum Validity {
    /// In force.
    Valid,
    /// In force, but it announces no kind of address.
    SelectsNothing,
    /// Not taken; the last good version, if there was one, stays in force.
    Invalid(InvalidPolicy),
}

impl Validity {
    /// The condition's reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Valid => "Valid",
            Self::SelectsNothing => "SelectsNothing",
            Self::Invalid(error) => error.reason(),
        }
    }

    /// The condition's message.
    pub fn message(&self) -> String {
        match self {
            Self::Valid => "the policy is in force".to_owned(),
            Self::SelectsNothing => {
                "neither externalIPs nor loadBalancerIPs is true, so no address is announced: set one"
                    .to_owned()
            }
            Self::Invalid(error) => chain(error),
        }
    }

    /// The condition's status.
    pub fn is_valid(&self) -> bool {
        matches!(self, Self::Valid)
    }
}

/// One version of a policy's object, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyVersion {
    /// `metadata.uid`: a policy that was deleted and made again is another one.
    pub uid: String,
    /// `metadata.generation`, which counts the versions of the spec.
    pub generation: i64,
    /// The spec, or why it cannot be decoded.
    pub spec: Result<L2AnnouncementPolicySpec, String>,
    /// The status that stands in the object; Cilium's kind has none that matters here.
    pub status: Option<L2AnnouncementPolicyStatus>,
}

impl From<&L2AnnouncementPolicySpec> for PolicyVersion {
    /// A version of an object that nobody numbers.
    fn from(spec: &L2AnnouncementPolicySpec) -> Self {
        Self { uid: String::new(), generation: 0, spec: Ok(spec.clone()), status: None }
    }
}

/// All policies of both kinds: each with the version in force and the newest version's verdict.
#[derive(Debug, Default)]
pub struct Policies {
    entries: BTreeMap<PolicyId, Entry>,
    /// A kind that is not honoured, and why.
    aside: Option<(PolicyKind, String)>,
}

#[derive(Debug)]
struct Entry {
    uid: String,
    generation: i64,
    in_force: Option<InForce>,
    validity: Validity,
    status: Option<L2AnnouncementPolicyStatus>,
}

#[derive(Debug)]
struct InForce {
    policy: Policy,
    generation: i64,
}

/// What became of a policy, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which object.
    pub uid: String,
    /// The generation that was judged: the newest one.
    pub generation: i64,
    /// The generation whose selectors are in force; none when no good one was ever seen.
    pub in_force: Option<i64>,
    /// What the condition `Valid` says.
    pub valid: bool,
    /// Its reason.
    pub reason: &'static str,
    /// Its message: the field, what is wrong with it, and what is in force meanwhile.
    pub message: String,
    /// The status that stands in the object.
    pub status: Option<L2AnnouncementPolicyStatus>,
}

impl Policies {
    /// Takes a new version; a bad one leaves the object's last good one in force.
    pub fn apply(&mut self, id: PolicyId, version: impl Into<PolicyVersion>) -> &Validity {
        let PolicyVersion { uid, generation, spec, status } = version.into();
        let last = self.entries.remove(&id).filter(|entry| entry.uid == uid).and_then(|entry| entry.in_force);
        let compiled =
            spec.map_err(InvalidPolicy::Undecodable).and_then(|spec| Policy::compile(id.kind, &spec));
        let (in_force, validity) = match compiled {
            Ok(policy) => {
                let validity =
                    if policy.selects_nothing() { Validity::SelectsNothing } else { Validity::Valid };
                (Some(InForce { policy, generation }), validity)
            }
            Err(error) => (last, Validity::Invalid(error)),
        };
        let entry = Entry { uid, generation, in_force, validity, status };
        &self.entries.entry(id).or_insert(entry).validity
    }

    /// Forgets a policy; whether it was known.
    pub fn remove(&mut self, id: &PolicyId) -> bool {
        self.entries.remove(id).is_some()
    }

    /// Forgets the policies that a fresh list no longer has.
    pub fn retain(&mut self, keep: impl Fn(&PolicyId) -> bool) {
        self.entries.retain(|id, _| keep(id));
    }

    /// Leaves the policies of this kind alone for this reason, until it is called without one. They are kept up to date
    /// meanwhile.
    pub fn set_aside(&mut self, kind: PolicyKind, why: Option<String>) {
        self.aside = why.map(|why| (kind, why));
    }

    /// The policies that are left alone, and why.
    pub fn aside(&self) -> impl Iterator<Item = (&PolicyId, &str)> {
        let aside = self.aside.as_ref();
        let of_kind = move |id: &PolicyId| aside.filter(|(kind, _)| *kind == id.kind);
        self.entries.keys().filter_map(move |id| Some((id, of_kind(id)?.1.as_str())))
    }

    /// Whether there is a policy of this kind, honoured or not.
    pub fn has(&self, kind: PolicyKind) -> bool {
        self.entries.keys().any(|id| id.kind == kind)
    }

    /// The newest version's verdict.
    pub fn validity(&self, id: &PolicyId) -> Option<&Validity> {
        self.entries.get(id).map(|entry| &entry.validity)
    }

    /// Every policy that is honoured, with its verdict and the version in force, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&PolicyId, &Validity, Option<&Policy>)> {
        self.honoured().map(|(id, entry)| (id, &entry.validity, entry.in_force.as_ref().map(|f| &f.policy)))
    }

    /// The same for people.
    pub fn verdicts(&self) -> BTreeMap<PolicyId, Verdict> {
        self.honoured().map(|(id, entry)| (id.clone(), entry.verdict())).collect()
    }

    /// What is wrong with a policy, if anything is, and what is in force meanwhile.
    pub fn message(&self, id: &PolicyId) -> Option<String> {
        self.entries.get(id).map(Entry::message)
    }

    fn honoured(&self) -> impl Iterator<Item = (&PolicyId, &Entry)> {
        let aside = self.aside.as_ref().map(|(kind, _)| *kind);
        self.entries.iter().filter(move |(id, _)| aside != Some(id.kind))
    }
}

impl Entry {
    fn verdict(&self) -> Verdict {
        Verdict {
            uid: self.uid.clone(),
            generation: self.generation,
            in_force: self.in_force.as_ref().map(|in_force| in_force.generation),
            valid: self.validity.is_valid(),
            reason: self.validity.reason(),
            message: self.message(),
            status: self.status.clone(),
        }
    }

    fn message(&self) -> String {
        let said = self.validity.message();
        match (&self.validity, &self.in_force) {
            (Validity::Invalid(_), Some(last)) => {
                format!("{said}; generation {} stays in force", last.generation)
            }
            (Validity::Invalid(_), None) => format!("{said}; no generation is in force"),
            _ => said,
        }
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<_> =
        causes.map(|cause| cause.to_string().split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    texts.join(": ")
}

#[cfg(test)]
mod tests;
