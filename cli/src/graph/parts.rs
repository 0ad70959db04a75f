// SPDX-License-Identifier: Apache-2.0
//! What the chain reads of an object, as YAML.

use gateherald_model::{metadata::LabelMap, policy::PolicyKind, service::ServiceKey};
use serde_json::{Value, json};

use super::PartKind;
use crate::picture::Picture;

/// The part of the object that a box stands for; empty when there is no object.
pub(super) fn yaml(picture: &Picture<'_>, kind: PartKind, name: &str) -> String {
    let value = match kind {
        PartKind::Gateway => gateway(picture, name),
        PartKind::Service => service(picture, name),
        PartKind::Labels => labels(picture, name),
        PartKind::Pool => pool(picture, name),
        PartKind::Policy => policy(picture, name),
        PartKind::Claim => claim(picture, name),
        PartKind::Session => session(picture, name),
        PartKind::Node => node(picture, name),
        PartKind::Address | PartKind::Interface => None,
    };
    value.and_then(|value| serde_yaml_ng::to_string(&value).ok()).unwrap_or_default()
}

fn split(name: &str) -> Option<(String, String)> {
    name.split_once('/').map(|(namespace, name)| (namespace.to_owned(), name.to_owned()))
}

fn gateway(picture: &Picture<'_>, name: &str) -> Option<Value> {
    let facts = picture.gateways.get(&split(name)?)?;
    Some(json!({
        "kind": "Gateway",
        "metadata": { "labels": LabelMap::from_iter(facts.gateway.labels.clone()) },
        "spec": { "gatewayClassName": facts.object.spec.gateway_class_name },
    }))
}

fn service(picture: &Picture<'_>, name: &str) -> Option<Value> {
    let (namespace, name) = split(name)?;
    let facts = picture.services.get(&ServiceKey::new(namespace, name))?;
    let spec = facts.object.spec.as_ref();
    let ingress = facts.object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    Some(json!({
        "kind": "Service",
        "metadata": { "labels": facts.metadata.labels },
        "spec": {
            "type": facts.kind(),
            "externalIPs": spec.and_then(|spec| spec.external_ips.clone()),
            "externalTrafficPolicy": spec.and_then(|spec| spec.external_traffic_policy.clone()),
            "loadBalancerClass": spec.and_then(|spec| spec.load_balancer_class.clone()),
        },
        "status": { "loadBalancer": ingress },
    }))
}

fn labels(picture: &Picture<'_>, name: &str) -> Option<Value> {
    let (namespace, name) = split(name)?;
    let facts = picture.services.get(&ServiceKey::new(namespace, name))?;
    let changes = &facts.decision.labels;
    Some(json!({
        "present": facts.metadata.labels,
        "injectedEarlier": facts.remembered,
        "missing": changes.injected,
        "stale": changes.updated,
        "toBeRemoved": changes.removed,
        "keptOff": changes.skipped,
        "outcome": facts.decision.outcome,
    }))
}

fn pool(picture: &Picture<'_>, id: &str) -> Option<Value> {
    let pool = picture.pools.iter().find(|pool| pool.id == id)?;
    let ranges: Vec<String> = pool.ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
    Some(
        json!({ "pool": pool.id, "selectors": pool.selectors, "namespaces": pool.namespaces, "ranges": ranges }),
    )
}

fn policy(picture: &Picture<'_>, id: &str) -> Option<Value> {
    let (policy, spec) = picture.specs.iter().find(|(policy, _)| policy.to_string() == id)?;
    let kind = match policy.kind {
        PolicyKind::Gateherald => "L2AnnouncementPolicy",
        PolicyKind::Cilium => "CiliumL2AnnouncementPolicy",
    };
    Some(json!({ "kind": kind, "metadata": { "name": policy.name }, "spec": spec }))
}

fn claim(picture: &Picture<'_>, lease: &str) -> Option<Value> {
    let facts = picture.claims.values().find(|facts| facts.lease == lease)?;
    let claim = &facts.claim;
    Some(json!({
        "kind": "Lease",
        "address": claim.address,
        "services": claim.services,
        "interfaces": claim.interfaces,
        "leaseTransitions": claim.transitions,
        "acquireTime": facts.since.map(|since| since.to_string()),
    }))
}

fn session(picture: &Picture<'_>, name: &str) -> Option<Value> {
    let (node, _) = name.rsplit_once('_')?;
    let facts = picture.sessions.get(node)?;
    let session = &facts.session;
    Some(json!({
        "kind": "Lease",
        "node": session.node,
        "session": session.id,
        "policies": session.policies,
        "links": session.links,
        "renewTime": facts.renewed.map(|at| at.to_string()),
    }))
}

fn node(picture: &Picture<'_>, name: &str) -> Option<Value> {
    let node = picture.nodes.get(name)?;
    let addresses: Vec<String> = node.view.addresses.iter().map(ToString::to_string).collect();
    Some(json!({
        "kind": "Node",
        "metadata": { "labels": node.view.labels },
        "ready": node.ready,
        "addresses": addresses,
    }))
}
