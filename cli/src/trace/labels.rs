// SPDX-License-Identifier: Apache-2.0
//! From the Gateway to its Service, and to the labels that the Service should have.

use std::collections::BTreeSet;

use gateherald_model::{
    alignment::RemovalReason,
    injection::Outcome,
    labels::{SkipReason, Skipped},
    owner::{INJECT, INJECT_LABELS},
};

use super::{Link, LinkKind};
use crate::{
    finding::{Finding, Severity},
    near,
    picture::{Picture, ServiceFacts},
};

/// That the Service is there is plain; whether its Gateway is, is the question.
pub(super) fn to_service(picture: &Picture<'_>, facts: &ServiceFacts<'_>) -> Link {
    let kind = LinkKind::Service;
    let Some((namespace, name)) = &facts.gateway else {
        return Link::good(kind, "belongs to no Gateway");
    };
    let object = format!("Service {}", facts.view.key);
    match facts.decision.outcome {
        Outcome::GatewayMissing => Link::found(
            kind,
            Finding::error(25, object, "metadata.ownerReferences")
                .says(format!("Gateway {namespace}/{name}, to which it belongs, is not there"))
                .mend(format!("Create Gateway {namespace}/{name}, or delete the Service.")),
        ),
        Outcome::GatewayReplaced => Link::found(
            kind,
            Finding::error(25, object, "metadata.ownerReferences[].uid")
                .says(format!("it belongs to an earlier Gateway {namespace}/{name} of another uid"))
                .mend(format!(
                    "Delete Service {}: its controller makes it again for the new Gateway.",
                    facts.view.key
                )),
        ),
        Outcome::LookupFailed => Link::unknown(kind, "Gateways could not be read"),
        _ if picture.gateways.contains_key(&(namespace.clone(), name.clone())) => Link::good(kind, ""),
        _ => Link::unknown(kind, "Gateways could not be read"),
    }
}

/// A Gateway for which no controller made a Service.
pub(super) fn no_service(picture: &Picture<'_>, key: &(String, String)) -> Link {
    let kind = LinkKind::Service;
    if let Some(gap) = picture.snapshot.services.unknown() {
        return Link::unknown(kind, gap.to_string());
    }
    let class = picture.gateways.get(key).map_or("", |facts| facts.object.spec.gateway_class_name.as_str());
    let object = format!("Gateway {}/{}", key.0, key.1);
    let finding = Finding::error(20, object.clone(), "spec.gatewayClassName")
        .says(format!("no controller of class {class:?} made a Service for it"));
    let known = picture.snapshot.classes.get("", class);
    let mend = match known {
        None if picture.snapshot.classes.unknown().is_none() => {
            let near = picture.snapshot.classes.items.iter().filter_map(|c| c.metadata.name.as_deref());
            let near = near.into_iter().find(|name| near::is_close(name, class));
            match near {
                Some(name) => {
                    format!("Set spec.gatewayClassName of {object} to {name:?}: {class:?} does not exist.")
                }
                None => format!("Set spec.gatewayClassName of {object} to a GatewayClass that exists."),
            }
        }
        Some(class) if !class.spec.controller_name.is_empty() => format!(
            "See why controller {} does not: the conditions in status.conditions of {object}{}.",
            class.spec.controller_name,
            accepted(picture, key)
        ),
        _ => format!("See the conditions in status.conditions of {object}{}.", accepted(picture, key)),
    };
    Link::found(kind, finding.mend(mend))
}

fn accepted(picture: &Picture<'_>, key: &(String, String)) -> String {
    let conditions = picture.gateways.get(key).map(|facts| &facts.object.status.conditions);
    let bad = conditions.and_then(|all| all.iter().find(|c| c.status != "True"));
    bad.map_or_else(String::new, |c| format!(" ({}={}: {} {})", c.type_, c.status, c.reason, c.message))
}

/// Whether the Service has the labels that it should have.
pub(super) fn link(picture: &Picture<'_>, facts: &ServiceFacts<'_>) -> Link {
    let kind = LinkKind::Labels;
    if facts.gateway.is_none() {
        return Link::good(kind, "its own");
    }
    let wanted = wanted_keys(picture);
    let findings = match facts.decision.outcome {
        Outcome::LookupFailed => return Link::unknown(kind, "the Gateway could not be read"),
        Outcome::GatewayMissing | Outcome::GatewayReplaced => {
            return Link::waiting(kind, "its Gateway is not there");
        }
        Outcome::AnnotationsFull => vec![
            Finding::error(21, service(facts), "metadata.annotations")
                .says("its annotations are full, so what is injected cannot be remembered")
                .mend(format!("Make the annotations of {} smaller than 256 KiB in all.", service(facts))),
        ],
        Outcome::OptedOut => opted_out(picture, facts, &wanted),
        _ => {
            let mut findings = missing(facts, &wanted);
            findings.extend(stale(facts, &wanted));
            findings.extend(kept_off(picture, facts, &wanted));
            findings
        }
    };
    let says = findings.first().map(|finding| finding.says.clone());
    Link::judged(kind, says.unwrap_or_else(|| "as the Gateway's".to_owned()), findings)
}

/// The keys that pools and policies select by.
fn wanted_keys(picture: &Picture<'_>) -> BTreeSet<String> {
    let pools = picture.pools.iter().flat_map(|pool| &pool.selectors);
    let policies = picture.specs.values().filter_map(|spec| spec.service_selector.as_ref());
    pools.chain(policies).flat_map(near::keys).map(str::to_owned).collect()
}

fn service(facts: &ServiceFacts<'_>) -> String {
    format!("Service {}", facts.view.key)
}

fn gateway(facts: &ServiceFacts<'_>) -> String {
    facts.gateway.as_ref().map_or_else(String::new, |(namespace, name)| format!("Gateway {namespace}/{name}"))
}

fn label(key: &str) -> String {
    format!("metadata.labels[{key}]")
}

/// A label that nothing selects by is no reason for an address to be silent.
fn rank(finding: Finding, key: &str, wanted: &BTreeSet<String>) -> Finding {
    let severity = if wanted.contains(key) { Severity::Error } else { Severity::Warning };
    Finding { severity, ..finding }
}

fn missing(facts: &ServiceFacts<'_>, wanted: &BTreeSet<String>) -> Vec<Finding> {
    let finding = |(key, value): (&String, &String)| {
        let finding = Finding::error(21, service(facts), label(key))
            .says(format!("the label {key}={value} of {} is not on it", gateway(facts)))
            .mend(format!(
                "Set {} of {} to {value:?}: the webhook does so when it runs (GH010, GH011); by hand: kubectl label \
                 service -n {} {} {key}={value}",
                label(key),
                service(facts),
                facts.view.key.namespace,
                facts.view.key.name,
            ));
        rank(finding, key, wanted)
    };
    facts.decision.labels.injected.iter().map(finding).collect()
}

fn stale(facts: &ServiceFacts<'_>, wanted: &BTreeSet<String>) -> Vec<Finding> {
    let labels = &facts.decision.labels;
    let changed = labels.updated.iter().map(|(key, value)| {
        let has = facts.metadata.labels.get(key).map_or("", String::as_str);
        let finding = Finding::error(22, service(facts), label(key))
            .says(format!("it still has {key}={has}, and {} has {key}={value}", gateway(facts)))
            .mend(format!(
                "Set {} of {} to {value:?}: the webhook's leader does so when it runs (GH011).",
                label(key),
                service(facts)
            ));
        rank(finding, key, wanted)
    });
    let dropped = labels.removed.iter().map(|removed| {
        let why = match removed.reason {
            RemovalReason::GatewayLacks => "has it no longer",
            RemovalReason::GatewayOptedOut => "opted out",
            RemovalReason::Rejected => "may no longer hand it on",
        };
        Finding::warning(22, service(facts), label(&removed.key))
            .says(format!("it still has the label {}, and {} {why}", removed.key, gateway(facts)))
            .mend(format!(
                "Remove {} from {}: the webhook's leader does so when it runs (GH011).",
                label(&removed.key),
                service(facts)
            ))
    });
    changed.chain(dropped).collect()
}

fn kept_off(picture: &Picture<'_>, facts: &ServiceFacts<'_>, wanted: &BTreeSet<String>) -> Vec<Finding> {
    let skipped = facts.decision.labels.skipped.iter();
    skipped.filter_map(|skipped| kept(picture, facts, skipped, wanted)).collect()
}

fn kept(
    picture: &Picture<'_>,
    facts: &ServiceFacts<'_>,
    skipped: &Skipped,
    wanted: &BTreeSet<String>,
) -> Option<Finding> {
    let Skipped { key, reason } = skipped;
    let theirs = facts.gateway.as_ref().and_then(|g| picture.gateways.get(g)).map(|g| &g.gateway.labels);
    let theirs = theirs.and_then(|labels| labels.get(key)).map_or("", String::as_str);
    let ours = facts.metadata.labels.get(key);
    let object = service(facts);
    match reason {
        SkipReason::AlreadySet => {
            let ours = ours.filter(|ours| *ours != theirs)?;
            let finding = Finding::warning(24, object, label(key))
                .says(format!("it has {key}={ours} of its own, and {} has {key}={theirs}", gateway(facts)));
            Some(finding.mend(format!(
                "Remove {} from {}, if the Gateway's value {theirs:?} is meant: what others set is never overwritten.",
                label(key),
                service(facts)
            )))
        }
        SkipReason::Unreadable => Some(
            Finding::warning(22, object, format!("metadata.annotations[{key}]"))
                .says("what was injected earlier cannot be read, so it is taken for the user's")
                .mend(format!("Remove the annotation {key} from {}.", service(facts))),
        ),
        SkipReason::NotByWildcard | SkipReason::UntrustedNamespace => None,
        _ if !wanted.contains(key) || ours.is_some() => None,
        _ => {
            let (field, way) = way_out(facts, *reason);
            Some(
                Finding::warning(23, gateway(facts), field.unwrap_or_else(|| label(key)))
                    .says(format!(
                        "its label {key}={theirs}, which a pool or policy selects by, is kept off ({reason})"
                    ))
                    .mend(format!("{way} Or set {} of {} to {theirs:?}.", label(key), service(facts))),
            )
        }
    }
}

fn way_out(facts: &ServiceFacts<'_>, reason: SkipReason) -> (Option<String>, String) {
    let rules = "webhook.labelRules of the chart";
    match reason {
        SkipReason::Denied => (None, format!("Add the key to labels.denyExcept in {rules}.")),
        SkipReason::Excluded => (None, format!("Take the key out of labels.exclude in {rules}.")),
        SkipReason::NotIncluded => (None, format!("Add the key to labels.include in {rules}.")),
        SkipReason::Narrowed => (
            Some(format!("metadata.annotations[{INJECT_LABELS}]")),
            format!("Add the key to the annotation {INJECT_LABELS} of {}.", gateway(facts)),
        ),
        _ => (None, format!("Give {} a label that Kubernetes accepts.", gateway(facts))),
    }
}

/// Only when a label that something selects by would be there otherwise.
fn opted_out(picture: &Picture<'_>, facts: &ServiceFacts<'_>, wanted: &BTreeSet<String>) -> Vec<Finding> {
    let theirs = facts.gateway.as_ref().and_then(|g| picture.gateways.get(g)).map(|g| &g.gateway.labels);
    let lacks = |key: &&String| wanted.contains(*key) && !facts.metadata.labels.contains_key(*key);
    let Some(key) = theirs.and_then(|labels| labels.keys().find(lacks)) else { return Vec::new() };
    let own = facts.metadata.annotations.get(INJECT).is_some_and(|value| value == "false");
    let object = if own { service(facts) } else { gateway(facts) };
    vec![
        Finding::warning(23, object.clone(), format!("metadata.annotations[{INJECT}]"))
            .says(format!("it opted out, so the label {key}, which a pool or policy selects by, is kept off"))
            .mend(format!("Remove the annotation {INJECT} from {object}, or label the Service yourself.")),
    ]
}
