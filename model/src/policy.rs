// SPDX-License-Identifier: Apache-2.0
//! Announcement policies: checked and compiled when they change, the last good version stays in force.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use ipnet::IpNet;
use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::{
    crd::L2AnnouncementPolicySpec,
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
    #[error("externalIPs needs addresses")]
    AddressesRequired,
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
                "neither externalIPs nor loadBalancerIPs is true: no address is announced".to_owned()
            }
            Self::Invalid(error) => chain(error),
        }
    }

    /// The condition's status.
    pub fn is_valid(&self) -> bool {
        matches!(self, Self::Valid)
    }
}

/// All policies of both kinds: each with the version in force and the newest version's verdict.
#[derive(Debug, Default)]
pub struct Policies {
    entries: BTreeMap<PolicyId, Entry>,
}

#[derive(Debug)]
struct Entry {
    in_force: Option<Policy>,
    validity: Validity,
}

impl Policies {
    /// Takes a new version; a bad one leaves the last good one in force.
    pub fn apply(&mut self, id: PolicyId, spec: &L2AnnouncementPolicySpec) -> &Validity {
        let last = self.entries.remove(&id).and_then(|entry| entry.in_force);
        let entry = match Policy::compile(id.kind, spec) {
            Ok(policy) if policy.selects_nothing() => {
                Entry { in_force: Some(policy), validity: Validity::SelectsNothing }
            }
            Ok(policy) => Entry { in_force: Some(policy), validity: Validity::Valid },
            Err(error) => Entry { in_force: last, validity: Validity::Invalid(error) },
        };
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

    /// The newest version's verdict.
    pub fn validity(&self, id: &PolicyId) -> Option<&Validity> {
        self.entries.get(id).map(|entry| &entry.validity)
    }

    /// Every policy with its verdict and the version in force, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&PolicyId, &Validity, Option<&Policy>)> {
        self.entries.iter().map(|(id, entry)| (id, &entry.validity, entry.in_force.as_ref()))
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
