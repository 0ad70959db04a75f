// SPDX-License-Identifier: Apache-2.0
//! From the node to the interface; and which word of a policy keeps all nodes or all interfaces out.

use std::net::IpAddr;

use gateherald_model::{
    announcement::Why, interfaces::Link, leases::LinkNote, node::EXCLUDE_LABEL, policy::PolicyId,
    service::ANNOUNCE,
};

use ipnet::IpNet;

use super::{Link as Step, LinkKind};
use crate::{
    finding::Finding,
    near,
    picture::{ClaimFacts, Picture},
};

/// The interfaces that the holder says it announces on.
pub(super) fn of_holder(
    picture: &Picture<'_>,
    claim: &ClaimFacts,
    announcing: &[&PolicyId],
    node: &str,
) -> Step {
    let kind = LinkKind::Interface;
    let Some(links) = picture.links.get(node) else {
        return Step::unknown(kind, "the node's session could not be read");
    };
    let named: Vec<&str> = claim.claim.interfaces.iter().map(String::as_str).collect();
    let state = |name: &str| links.selected.iter().find(|link| link.name == name).map(|link| link.up);
    if named.is_empty() {
        return Step::unknown(kind, "the claim names no interface");
    }
    if named.iter().any(|name| state(name) == Some(true)) {
        return Step::judged(kind, "", subnet(picture, claim, node).into_iter().collect());
    }
    if named.iter().all(|name| state(name).is_none()) {
        return Step::unknown(kind, format!("node {node} tells nothing about {}", named.join(", ")));
    }
    let policy = announcing.first().map_or_else(String::new, ToString::to_string);
    Step::found(
        kind,
        Finding::error(45, format!("Node {node}"), named.join(", "))
            .says(format!("{} is down", named.join(", ")))
            .mend(format!(
                "Mend the link of {} on node {node}, or name another interface in spec.interfaces of {policy}.",
                named.join(", ")
            )),
    )
}

/// The announcer tells the networks of the links. Where it could not be asked, the lengths of their prefixes are not known:
/// most networks are no wider than this.
fn subnet(picture: &Picture<'_>, claim: &ClaimFacts, node: &str) -> Option<Finding> {
    use IpAddr::{V4, V6};
    let address = claim.claim.address;
    let networks = networks(picture, node, address);
    if !networks.is_empty() {
        let list = networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let links = claim.claim.interfaces.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let says = format!("{address} is in no network of {links} of node {node} ({list})");
        return (!networks.iter().any(|network| network.contains(&address))).then(|| elsewhere(claim, says));
    }
    let own = &picture.nodes.get(node)?.view.addresses;
    let same_family: Vec<_> = own.iter().filter(|other| other.is_ipv4() == address.is_ipv4()).collect();
    let near = |other: &&&IpAddr| match (***other, address) {
        (V4(a), V4(b)) => a.octets()[..2] == b.octets()[..2],
        (V6(a), V6(b)) => a.segments()[..4] == b.segments()[..4],
        _ => false,
    };
    if same_family.is_empty() || same_family.iter().any(|other| near(&other)) {
        return None;
    }
    let has: Vec<String> = same_family.iter().map(ToString::to_string).collect();
    let has = has.join(", ");
    Some(elsewhere(
        claim,
        format!("{address} does not look like an address of the network of node {node} ({has})"),
    ))
}

/// Those of the address's family, as the announcer of a node tells them.
fn networks(picture: &Picture<'_>, node: &str, address: IpAddr) -> Vec<IpNet> {
    let pages = picture.snapshot.announcers.iter().filter(|page| page.node == node);
    let shown = pages.flat_map(|page| &page.addresses).filter(|shown| shown.address == address);
    let networks = shown.flat_map(|shown| &shown.interfaces).flat_map(|interface| &interface.networks);
    let networks = networks.filter_map(|network| network.parse::<IpNet>().ok());
    networks.filter(|network| network.addr().is_ipv4() == address.is_ipv4()).collect()
}

fn elsewhere(claim: &ClaimFacts, says: String) -> Finding {
    Finding::warning(46, format!("Lease {}", claim.lease), "metadata.name").says(says).mend(
        "Use a pool inside the nodes' network, or route the pool's network to it: neighbours do not ask for others.",
    )
}

/// No policy that announces the address selects a node.
pub(super) fn no_node(picture: &Picture<'_>, announcing: &[&PolicyId]) -> Finding {
    let Some(id) = announcing.first() else { return Finding::error(43, "", "") };
    let (_, excluded) = picture.nodes_of(id);
    let (mut opted_out, mut other) = (Vec::new(), Vec::new());
    for (node, why) in &excluded {
        match why {
            Why::NodeNotSelected => {}
            Why::NodeOptedOut => opted_out.push(*node),
            why => other.push(format!("{node}: {}", why.name())),
        }
    }
    if excluded.is_empty() {
        return Finding::error(43, id.to_string(), "spec.nodeSelector")
            .says("there is no node")
            .mend("Add a node to the cluster.");
    }
    if let Some(node) = opted_out.first() {
        return Finding::error(48, format!("Node {node}"), format!("metadata.labels[{ANNOUNCE}]"))
            .says(format!(
                "every node that {id} selects is taken out of announcing: {}",
                opted_out.join(", ")
            ))
            .mend(format!(
                "Remove the label {ANNOUNCE} from Node {node}: kubectl gateherald evacuate {node} --undo"
            ));
    }
    if !other.is_empty() {
        return Finding::error(43, id.to_string(), "spec.nodeSelector")
            .says(format!("no node that it selects may announce ({})", other.join(", ")))
            .mend(format!(
                "Select another node in spec.nodeSelector of {id}, or mend the node (the label {EXCLUDE_LABEL} counts only \
                 with --honor-exclude-label)."
            ));
    }
    excludes_all(picture, id, excluded.len())
}

fn excludes_all(picture: &Picture<'_>, id: &PolicyId, nodes: usize) -> Finding {
    let selector = picture.specs.get(id).and_then(|spec| spec.node_selector.as_ref());
    let finding = Finding::error(43, id.to_string(), "spec.nodeSelector")
        .says(format!("{} excludes all {nodes} nodes", near::words(selector)));
    let Some(selector) = selector else { return finding };
    let miss = picture
        .nodes
        .values()
        .find_map(|node| Some((node, near::miss(selector, &node.view.labels, &node.view.labels)?)));
    if let Some((node, miss)) = miss {
        let field = format!("spec.nodeSelector.{}", miss.field);
        return Finding { field: field.clone(), ..finding }.mend(format!(
            "Set {field} of {id} to {}={}, which Node {} has; it asks for {}={}.",
            miss.found_key, miss.found, node.view.name, miss.key, miss.wanted
        ));
    }
    let unmet =
        picture.nodes.values().map(|node| (near::unmet(selector, &node.view.labels), &node.view.name));
    let nearest = unmet.min_by_key(|(unmet, name)| (unmet.len(), *name));
    let hint =
        nearest.map_or_else(String::new, |(unmet, name)| format!(": {name} lacks {}", unmet.join(",")));
    finding.mend(format!("Change spec.nodeSelector of {id} so that it selects a node, or label one{hint}."))
}

/// Whether the announcer of a node says, or lets one think, that an interface there carries the address for the policy.
///
/// Its own page knows. Its session lists the policy if some interface matches and is up; but an announcer that has nothing
/// to announce any more need not write its session, so the links that it listed last are held against the policy too.
/// None are listed while no address is selected; whoever then could take one would write its session first.
pub(super) fn could_carry(picture: &Picture<'_>, id: &PolicyId, node: &str, address: IpAddr) -> bool {
    if let Some(page) = picture.snapshot.announcers.iter().find(|page| page.node == node) {
        let refused = page.not_announced.iter().any(|refusal| {
            refusal.address == Some(address)
                && matches!(refusal.reason.as_str(), "NoInterface" | "InterfacesDown")
        });
        return !refused;
    }
    let Some(facts) = picture.sessions.get(node) else { return false };
    if !facts.session.policies.contains(&id.to_string()) {
        return false;
    }
    let by_name = picture.specs.get(id).is_some_and(|spec| !spec.interfaces.is_empty());
    let rule = picture.policies.iter().find_map(|(other, _, policy)| policy.filter(|_| other == id));
    let links: Vec<Link> = facts.session.links.iter().map(noted).collect();
    match rule {
        Some(policy) if by_name => policy.interfaces.candidates(&links).any_up(),
        _ => true,
    }
}

/// A link as a session notes it, for the model's own rule; it would not be noted if it were virtual or enslaved.
fn noted(note: &LinkNote) -> Link {
    Link { index: 1, name: note.name.clone(), mac: Some([2, 0, 0, 0, 0, 1]), up: note.up, ..Link::default() }
}

/// Announcers run on selected nodes, and none of them lists the policy: no interface there matches and is up.
pub(super) fn none_matches(picture: &Picture<'_>, announcing: &[&PolicyId], running: &[&str]) -> Finding {
    let Some(id) = announcing.first() else { return Finding::error(45, "", "") };
    let patterns = picture.specs.get(id).map(|spec| spec.interfaces.join(", ")).unwrap_or_default();
    let mut names: Vec<&str> = running
        .iter()
        .filter_map(|node| picture.links.get(*node))
        .flat_map(|l| l.names.iter().map(String::as_str))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| *name != "lo");
    let finding = Finding::error(45, id.to_string(), "spec.interfaces");
    let whose = running.join(", ");
    if patterns.is_empty() {
        return finding
            .says(format!("it names no interface, and no link of {whose} has the address's subnet or a default route and is up"))
            .mend(format!("Name the interface of the local network in spec.interfaces of {id}."));
    }
    if names.is_empty() {
        return finding.says(format!("{patterns} matches no interface of {whose} that is up")).mend(format!(
            "Set spec.interfaces of {id} to the name of the interface that is on the local network: ip -br link on {}.",
            running.first().copied().unwrap_or_default()
        ));
    }
    finding
        .says(format!("{patterns} matches no interface of {whose} that is up; there is {}", names.join(", ")))
        .mend(format!(
            "Set spec.interfaces of {id} to a pattern that matches the interface on the local network: {}.",
            names[0]
        ))
}
