// SPDX-License-Identifier: Apache-2.0
//! From the address to its claim, and to the session and the node that hold it; and why nobody claims it.

use std::net::IpAddr;

use gateherald_model::{
    endpoints::Whereabouts,
    leases::Holder,
    policy::{PolicyId, PolicyKind},
};

use super::{AddressTrace, Holding, Link, LinkKind, interfaces};
use crate::{
    finding::Finding,
    picture::{ClaimFacts, Picture, ServiceFacts},
};

/// The chain from this address on. `announcing` are the policies that announce it.
pub(super) fn of_address(
    picture: &Picture<'_>,
    facts: &ServiceFacts<'_>,
    address: IpAddr,
    announcing: &[&PolicyId],
    to_address: Link,
) -> AddressTrace {
    let claim = picture.claims.get(&address);
    let holding = claim.map(holding).unwrap_or_default();
    let [claim, session, node, interface] = if let Some(gap) = picture.snapshot.leases.unknown() {
        [LinkKind::Claim, LinkKind::Session, LinkKind::Node, LinkKind::Interface]
            .map(|kind| Link::unknown(kind, gap.to_string()))
    } else if announcing.is_empty() {
        let says =
            if to_address.holds() { "nobody knows who should" } else { "no policy announces the address" };
        after(says, [LinkKind::Claim, LinkKind::Session, LinkKind::Node, LinkKind::Interface])
    } else if announcing.iter().all(|id| id.kind == PolicyKind::Cilium) && picture.settings.cilium_announces {
        by_cilium(picture, facts)
    } else {
        match claim.filter(|_| holding.node.is_some()) {
            Some(claim) => held(picture, facts, claim, announcing, &holding),
            None => unclaimed(picture, facts, claim, address, announcing),
        }
    };
    AddressTrace { address: Some(address), to_address, claim, session, node, interface, holding }
}

fn after<const N: usize>(says: &str, kinds: [LinkKind; N]) -> [Link; N] {
    kinds.map(|kind| Link::waiting(kind, says))
}

fn holding(facts: &ClaimFacts) -> Holding {
    let claim = &facts.claim;
    let (node, session) = match &claim.holder {
        Holder::Session { node, session } => (Some(node.clone()), Some(session.clone())),
        Holder::OtherFormat { node } => (Some(node.clone()), None),
        Holder::Released { .. } | Holder::Stranger => (None, None),
    };
    Holding {
        lease: Some(facts.lease.clone()),
        node,
        session,
        interfaces: claim.interfaces.iter().cloned().collect(),
        since: facts.since,
        transitions: claim.transitions,
    }
}

/// Cilium's agents answer; their Lease says which one.
fn by_cilium(picture: &Picture<'_>, facts: &ServiceFacts<'_>) -> [Link; 4] {
    let key = &facts.view.key;
    let name = format!("cilium-l2announce-{}-{}", key.namespace, key.name);
    let lease = picture.snapshot.cilium_leases.items.iter().find(|l| l.metadata.name.as_ref() == Some(&name));
    let holder =
        lease.and_then(|lease| lease.spec.as_ref()?.holder_identity.clone()).filter(|h| !h.is_empty());
    let says = match holder {
        Some(holder) => format!("Cilium announces it, on {holder}"),
        None => "Cilium announces it itself".to_owned(),
    };
    [LinkKind::Claim, LinkKind::Session, LinkKind::Node, LinkKind::Interface]
        .map(|kind| Link::unknown(kind, says.clone()))
}

/// Somebody holds it.
fn held(
    picture: &Picture<'_>,
    facts: &ServiceFacts<'_>,
    claim: &ClaimFacts,
    announcing: &[&PolicyId],
    holding: &Holding,
) -> [Link; 4] {
    let node = holding.node.clone().unwrap_or_default();
    let mut findings = Vec::new();
    if claim.claim.touched {
        findings.push(
            Finding::warning(49, format!("Lease {}", claim.lease), "metadata.managedFields")
                .says("somebody who is no announcer wrote who holds it")
                .mend(format!(
                    "Leave Lease {} to the announcers: the next change of hands mends it.",
                    claim.lease
                )),
        );
    }
    let says = format!("held by {node}");
    let claimed = Link::judged(LinkKind::Claim, says, findings);
    [
        claimed,
        session(picture, claim, holding, &node),
        node_link(picture, facts, announcing, claim.claim.address, &node),
        interfaces::of_holder(picture, claim, announcing, &node),
    ]
}

fn session(picture: &Picture<'_>, claim: &ClaimFacts, holding: &Holding, node: &str) -> Link {
    let kind = LinkKind::Session;
    let broken = |lease: &str, field: &str, says: String| {
        Link::found(
            kind,
            Finding::error(42, format!("Lease {lease}"), field).says(says).mend(format!(
                "See the announcer's pod on node {node}: another node takes the address over if one can."
            )),
        )
    };
    let Some(id) = &holding.session else {
        return Link::unknown(kind, "its announcer writes another format");
    };
    let Some(session) = picture.sessions.get(node) else {
        return broken(&claim.lease, "spec.holderIdentity", format!("node {node} has no session"));
    };
    let field = "spec.holderIdentity";
    match &session.session.id {
        Some(living) if living == id && session.is_silent(picture.snapshot.now) => {
            let renewed = session.renewed.map_or_else(String::new, |at| format!(" since {at:.0}"));
            broken(&session.lease, "spec.renewTime", format!("the session {id} was not renewed{renewed}"))
        }
        Some(living) if living == id => Link::good(kind, ""),
        Some(living) => broken(
            &session.lease,
            field,
            format!("the claim is of session {id}, and node {node} goes on as {living}"),
        ),
        None => broken(&session.lease, field, format!("the session {id} has ended")),
    }
}

fn node_link(
    picture: &Picture<'_>,
    facts: &ServiceFacts<'_>,
    announcing: &[&PolicyId],
    address: IpAddr,
    node: &str,
) -> Link {
    let kind = LinkKind::Node;
    if let Some(gap) = picture.snapshot.nodes.unknown() {
        return Link::unknown(kind, gap.to_string());
    }
    let object = format!("Node {node}");
    let Some(known) = picture.nodes.get(node) else {
        let finding = Finding::error(44, object, "").says("the holder's node does not exist any more");
        return Link::found(kind, finding.mend("Nothing: another node takes the address over."));
    };
    if !known.ready {
        let finding = Finding::error(44, object.clone(), "status.conditions[Ready]")
            .says("the holder's node is not ready")
            .mend(format!("Mend {object}, or move its addresses: kubectl gateherald evacuate {node}"));
        return Link::found(kind, finding);
    }
    if !announcing.iter().any(|id| picture.nodes_of(id).0.contains(node)) {
        let why = announcing.iter().find_map(|id| {
            picture.nodes_of(id).1.into_iter().find(|(other, _)| *other == node).map(|(_, why)| why.name())
        });
        let says = format!(
            "no policy lets it announce the address ({}): it is giving it up",
            why.unwrap_or_default()
        );
        return Link::waiting(kind, says);
    }
    match local_endpoints(picture, facts, address, &[node]) {
        Some(finding) => Link::found(kind, finding),
        None => Link::good(kind, if known.cordoned { "cordoned" } else { "" }),
    }
}

/// `externalTrafficPolicy: Local` drops what comes in on a node without an endpoint.
fn local_endpoints(
    picture: &Picture<'_>,
    facts: &ServiceFacts<'_>,
    address: IpAddr,
    nodes: &[&str],
) -> Option<Finding> {
    if !facts.view.local || picture.snapshot.slices.unknown().is_some() {
        return None;
    }
    let on: Vec<&str> = match picture.endpoints.of(&facts.view.key, address.into()) {
        Whereabouts::Anywhere => return None,
        Whereabouts::On(on) if nodes.iter().any(|node| on.contains(node)) => return None,
        Whereabouts::On(on) => on.into_iter().collect(),
        Whereabouts::Nowhere => Vec::new(),
    };
    let on = if on.is_empty() { "no node".to_owned() } else { on.join(", ") };
    Some(
        Finding::error(47, format!("Service {}", facts.view.key), "spec.externalTrafficPolicy")
            .says(format!("it is Local, ready endpoints are on {on}, and {} has none", nodes.join(", ")))
            .mend(format!(
                "Set spec.externalTrafficPolicy of Service {} to Cluster, or run an endpoint on a node that the policy selects.",
                facts.view.key
            )),
    )
}

/// Nobody holds it: either no node can, or no announcer does.
fn unclaimed(
    picture: &Picture<'_>,
    facts: &ServiceFacts<'_>,
    claim: Option<&ClaimFacts>,
    address: IpAddr,
    announcing: &[&PolicyId],
) -> [Link; 4] {
    let waiting = |says: &str, kind| Link::waiting(kind, says);
    if let Some(gap) = picture.snapshot.nodes.unknown() {
        let finding =
            not_claimed(claim, address).says("nobody holds it").mend("See that announcers run (GH040).");
        let [session, node, interface] = [LinkKind::Session, LinkKind::Node, LinkKind::Interface]
            .map(|kind| Link::unknown(kind, gap.to_string()));
        return [Link::found(LinkKind::Claim, finding), session, node, interface];
    }
    let mut nodes: Vec<&str> = announcing.iter().flat_map(|id| picture.nodes_of(id).0).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let no_node = "no node may announce it";
    if nodes.is_empty() {
        let node = Link::found(LinkKind::Node, interfaces::no_node(picture, announcing));
        let [claim, session] = [LinkKind::Claim, LinkKind::Session].map(|kind| waiting(no_node, kind));
        return [claim, session, node, waiting(no_node, LinkKind::Interface)];
    }
    if let Some(finding) = local_endpoints(picture, facts, address, &nodes) {
        let node = Link::found(LinkKind::Node, finding);
        let [claim, session] = [LinkKind::Claim, LinkKind::Session].map(|kind| waiting(no_node, kind));
        return [claim, session, node, waiting(no_node, LinkKind::Interface)];
    }
    let alive = |node: &&str| picture.sessions.get(*node).is_some_and(|s| s.session.id.is_some());
    let running: Vec<&str> = nodes.iter().copied().filter(alive).collect();
    let may = Link::good(LinkKind::Node, format!("{} may announce it", nodes.join(", ")));
    if running.is_empty() {
        let session = Link::found(LinkKind::Session, no_session(picture, &nodes));
        let says = "no announcer runs there";
        return [waiting(says, LinkKind::Claim), session, may, waiting(says, LinkKind::Interface)];
    }
    let could = |node: &&str| announcing.iter().any(|id| interfaces::could_carry(picture, id, node, address));
    let session = Link::good(LinkKind::Session, "");
    if !running.iter().any(could) {
        let says = "no interface carries it";
        let interface =
            Link::found(LinkKind::Interface, interfaces::none_matches(picture, announcing, &running));
        return [waiting(says, LinkKind::Claim), session, may, interface];
    }
    let words = words(picture, address, announcing);
    let finding = not_claimed(claim, address)
        .says(format!("nobody holds it, although {} may{words}", running.join(", ")))
        .mend(format!(
            "See what the announcer on {} says about {address}: kubectl port-forward to its port 9472, /vips.",
            running[0]
        ));
    [Link::found(LinkKind::Claim, finding), session, may, Link::unknown(LinkKind::Interface, "")]
}

/// On none of the nodes that may announce an announcer runs.
fn no_session(picture: &Picture<'_>, nodes: &[&str]) -> Finding {
    let set = picture.settings.announcer.as_deref().unwrap_or("gateherald-announcer");
    Finding::error(40, format!("DaemonSet {set}"), "status.numberReady")
        .says(format!("no announcer has a session on {}", nodes.join(", ")))
        .mend(format!(
            "See that DaemonSet {set} has a ready pod on {} (tolerations, image, NET_RAW): \
             kubectl get pods -A -l app.kubernetes.io/part-of=gateherald -o wide",
            nodes.first().copied().unwrap_or_default()
        ))
}

/// What an announcer says itself about an address that it does not claim.
fn words(picture: &Picture<'_>, address: IpAddr, announcing: &[&PolicyId]) -> String {
    let ciliums = announcing.iter().all(|id| id.kind == PolicyKind::Cilium);
    picture
        .snapshot
        .announcers
        .iter()
        .find_map(|page| {
            let stance = &page.cilium_policies;
            if ciliums && !matches!(stance.stance.as_str(), "" | "Honoured") {
                return Some(format!("; the announcer on {} says: {}", page.node, stance.detail));
            }
            let refusal = page.not_announced.iter().find(|refusal| refusal.address == Some(address))?;
            Some(format!("; the announcer on {} says: {}", page.node, refusal.detail))
        })
        .unwrap_or_default()
}

fn not_claimed(claim: Option<&ClaimFacts>, address: IpAddr) -> Finding {
    let name = claim.map_or_else(|| format!("gateherald-vip-{address}"), |claim| claim.lease.clone());
    Finding::error(41, format!("Lease {name}"), "spec.holderIdentity")
}
