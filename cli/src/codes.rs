// SPDX-License-Identifier: Apache-2.0
//! Every check: its code, its group, and what holds when it passes.

use serde::Serialize;

use crate::finding::Code;

/// Checks that are shown under one heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Group {
    /// The API server and the kinds it serves.
    Server,
    /// The webhook and its registration.
    Webhook,
    /// The labels of Gateways on their Services.
    Labels,
    /// Pools, policies, addresses.
    Selection,
    /// Who announces what.
    Announcing,
    /// Other programs that answer, or let others answer, for the same addresses.
    Neighbours,
}

/// One check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    /// Its code.
    pub(crate) code: Code,
    /// Where it is shown.
    pub(crate) group: Group,
    /// What holds when it passes.
    pub(crate) title: &'static str,
}

const fn check(code: u16, group: Group, title: &'static str) -> Check {
    Check { code: Code(code), group, title }
}

/// All of them, in the order in which they are shown.
pub(crate) const CHECKS: &[Check] = &[
    check(1, Group::Server, "the API server is new enough"),
    check(2, Group::Server, "the kinds of the Gateway API are served"),
    check(3, Group::Server, "a kind of announcement policy is served"),
    check(4, Group::Server, "webhook, announcer and this plugin are of one version"),
    check(10, Group::Webhook, "the webhook is registered"),
    check(11, Group::Webhook, "the webhook's Service has ready endpoints"),
    check(12, Group::Webhook, "the CA bundle verifies the certificate that is served"),
    check(13, Group::Webhook, "the webhook's certificates are valid for long enough"),
    check(14, Group::Webhook, "the registration asks for Gateways' Services, and harms nobody"),
    check(15, Group::Webhook, "a Gateway's Service that is created gets its labels (dry run)"),
    check(16, Group::Webhook, "no request went past the webhook"),
    check(20, Group::Labels, "every Gateway has a Service"),
    check(21, Group::Labels, "Services have their Gateways' labels"),
    check(22, Group::Labels, "no Service has a label that its Gateway changed or dropped"),
    check(23, Group::Labels, "no label that a pool or policy selects by is kept off"),
    check(24, Group::Labels, "no Service overrides its Gateway's label"),
    check(25, Group::Labels, "the Gateway that a Service names is there"),
    check(26, Group::Labels, "the label rules are readable"),
    check(30, Group::Selection, "a pool selects each Service"),
    check(31, Group::Selection, "a policy selects each Service"),
    check(32, Group::Selection, "every policy is valid"),
    check(33, Group::Selection, "the Services' loadBalancerClass is announced"),
    check(34, Group::Selection, "every Service has an address"),
    check(35, Group::Selection, "the policies announce the Services' addresses"),
    check(40, Group::Announcing, "an announcer runs on the nodes that policies select"),
    check(41, Group::Announcing, "every address is claimed"),
    check(42, Group::Announcing, "the sessions of all holders are alive"),
    check(43, Group::Announcing, "every policy selects a node"),
    check(44, Group::Announcing, "the holders' nodes are ready"),
    check(45, Group::Announcing, "the interfaces exist and are up"),
    check(46, Group::Announcing, "addresses lie in the subnet of their holders"),
    check(47, Group::Announcing, "externalTrafficPolicy Local has endpoints on the holder"),
    check(48, Group::Announcing, "nothing is taken out of announcing"),
    check(49, Group::Announcing, "nobody but announcers wrote claims"),
    check(60, Group::Neighbours, "Cilium does not announce the same Services"),
    check(61, Group::Neighbours, "Cilium holds no leases of the same Services"),
    check(62, Group::Neighbours, "no MetalLB speaker runs beside"),
    check(63, Group::Neighbours, "no kube-vip runs beside"),
    check(64, Group::Neighbours, "nobody else uses an address"),
    check(65, Group::Neighbours, "a restart of the API server silences nothing"),
    check(66, Group::Neighbours, "kube-proxy leaves ARP to the announcer"),
];

impl Group {
    /// The heading.
    pub(crate) const fn heading(self) -> &'static str {
        match self {
            Self::Server => "API server and kinds",
            Self::Webhook => "Webhook",
            Self::Labels => "Labels",
            Self::Selection => "Pools, policies, addresses",
            Self::Announcing => "Announcing",
            Self::Neighbours => "Neighbours",
        }
    }
}

impl Check {
    /// Where its page is.
    pub(crate) fn page(&self) -> String {
        format!("{}/blob/main/docs/checks/{}.md", env!("CARGO_PKG_REPOSITORY"), self.code)
    }
}

#[cfg(test)]
mod tests;
