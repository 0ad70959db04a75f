// SPDX-License-Identifier: Apache-2.0
//! What policies amount to, whatever addresses there are.

use std::collections::BTreeMap;

use gateherald_model::{announcement::Why, policy::PolicyId, service::ANNOUNCE};

use crate::{finding::Finding, picture::Picture, trace};

/// GH032.
pub(super) fn validity(picture: &Picture<'_>) -> Vec<Finding> {
    let invalid = picture.policies.iter().filter(|(_, validity, _)| !validity.is_valid());
    let finding = |id: &PolicyId, validity: &gateherald_model::policy::Validity| {
        let field = match validity.reason() {
            "BadNodeSelector" => "spec.nodeSelector",
            "BadServiceSelector" => "spec.serviceSelector",
            "BadInterfaceRegex" => "spec.interfaces",
            "BadAddresses" | "AddressesRequired" => "spec.addresses",
            _ => "spec.loadBalancerIPs",
        };
        Finding::error(32, id.to_string(), field)
            .says(format!("{}: {}", validity.reason(), validity.message()))
            .mend(format!(
                "Mend {field} of {id}; until then its last good version is in force, if an announcer saw one."
            ))
    };
    invalid.map(|(id, validity, _)| finding(id, validity)).collect()
}

/// GH030: pools that select nothing because their selector cannot be evaluated.
pub(super) fn pools(picture: &Picture<'_>) -> Vec<Finding> {
    let bad = picture.pools.iter().filter_map(|pool| Some((pool, pool.error.as_ref()?)));
    let finding = |(pool, error): (&crate::picture::Pool, &gateherald_model::selector::SelectorError)| {
        Finding::error(30, pool.id.clone(), pool.field)
            .says(format!("its selector cannot be evaluated: {error}"))
            .mend(format!("Mend {} of {}.", pool.field, pool.id))
    };
    bad.map(finding).collect()
}

/// GH043.
pub(super) fn nodes(picture: &Picture<'_>) -> Vec<Finding> {
    let in_force = picture.policies.iter().filter(|(_, _, policy)| policy.is_some());
    let none = in_force.filter(|(id, ..)| picture.nodes_of(id).0.is_empty());
    none.map(|(id, ..)| trace::no_node(picture, id)).filter(|finding| finding.code.0 == 43).collect()
}

/// GH040: nodes that should announce, and where nobody runs.
pub(super) fn sessions(picture: &Picture<'_>) -> Vec<Finding> {
    let mut wanted: BTreeMap<&str, &PolicyId> = BTreeMap::new();
    for (id, _, policy) in picture.policies.iter() {
        for node in picture.nodes_of(id).0.into_iter().filter(|_| policy.is_some()) {
            wanted.entry(node).or_insert(id);
        }
    }
    let absent = |node: &str| picture.sessions.get(node).is_none_or(|s| s.session.id.is_none());
    let finding = |(node, id): (&str, &PolicyId)| {
        Finding::warning(40, format!("Node {node}"), "Lease gateherald-node-…")
            .says(format!("{id} selects it, and no announcer has a session there"))
            .mend(format!(
                "See the announcer's pod on {node}: kubectl get pods -A -l app.kubernetes.io/component=announcer \
                 --field-selector spec.nodeName={node}"
            ))
    };
    wanted.into_iter().filter(|(node, _)| absent(node)).map(finding).collect()
}

/// GH048: nodes that were taken out; Services are told by their chains.
pub(super) fn opted_out(picture: &Picture<'_>) -> Vec<Finding> {
    let out = picture.nodes.iter().filter(|(_, node)| node.view.opted_out());
    let selected = |node: &str| {
        picture.specs.keys().any(|id| {
            picture.nodes_of(id).1.iter().any(|(other, why)| *other == node && **why == Why::NodeOptedOut)
        })
    };
    out.filter(|(name, _)| selected(name))
        .map(|(name, _)| {
            Finding::warning(48, format!("Node {name}"), format!("metadata.labels[{ANNOUNCE}]"))
                .says("it is taken out of announcing")
                .mend(format!("When the maintenance is over: kubectl gateherald evacuate {name} --undo"))
        })
        .collect()
}
