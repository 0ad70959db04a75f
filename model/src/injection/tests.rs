// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::{
    alignment::Removed,
    memory::{self, INJECTED_ANNOTATIONS, INJECTED_LABELS},
    metadata::{LabelMap, OwnerReference},
    owner::INJECT_LABELS,
};

mod properties;

const UID: &str = "uid-of-the-gateway";

fn labels(pairs: &[(&str, &str)]) -> LabelMap {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

fn gateway(pairs: &[(&str, &str)]) -> Gateway {
    Gateway { uid: UID.into(), labels: labels(pairs).into(), ..Gateway::default() }
}

fn owner() -> OwnerReference {
    OwnerReference {
        api_version: "gateway.networking.k8s.io/v1".into(),
        kind: "Gateway".into(),
        name: "cd-arp-gw".into(),
        uid: UID.into(),
        controller: Some(true),
    }
}

/// A Service of the Gateway with these labels and this memory.
fn service(has: &[(&str, &str)], remembers: &[(&str, &str)]) -> Metadata {
    let mut service =
        Metadata { owner_references: vec![owner()], labels: labels(has), ..Metadata::default() };
    if !remembers.is_empty() {
        service.annotations.insert(INJECTED_LABELS.into(), memory::write(&labels(remembers)));
    }
    service
}

/// The Service as the patch leaves it.
fn applied(service: &Metadata, decision: &Decision) -> Metadata {
    let mut after = service.clone();
    for (map, changes) in
        [(&mut after.labels, &decision.labels), (&mut after.annotations, &decision.annotations)]
    {
        map.extend(changes.injected.clone());
        map.extend(changes.updated.clone());
        for removed in &changes.removed {
            map.remove(&removed.key).unwrap();
        }
    }
    for (key, changes) in [(INJECTED_LABELS, &decision.labels), (INJECTED_ANNOTATIONS, &decision.annotations)]
    {
        match &changes.memory {
            MemoryChange::Keep => {}
            MemoryChange::Write(text) => drop(after.annotations.insert(key.into(), text.clone())),
            MemoryChange::Remove => drop(after.annotations.remove(key).unwrap()),
        }
    }
    after
}

fn skipped(decision: &Decision) -> Vec<(&str, &str)> {
    decision.skipped().map(|skipped| (skipped.key.as_str(), skipped.reason.name())).collect()
}

type Pairs = &'static [(&'static str, &'static str)];

/// What the Service has and remembers, what the Gateway has, what the Service has and remembers afterwards.
const ROWS: &[(&str, Pairs, Pairs, Pairs, Pairs, Pairs)] = &[
    ("inject", &[], &[], &[("a", "1")], &[("a", "1")], &[("a", "1")]),
    ("beside others", &[("x", "9")], &[], &[("a", "1")], &[("a", "1"), ("x", "9")], &[("a", "1")]),
    ("set by the user", &[("a", "9")], &[], &[("a", "1")], &[("a", "9")], &[]),
    ("set to the same by the user", &[("a", "1")], &[], &[("a", "1")], &[("a", "1")], &[]),
    ("changed on the Gateway", &[("a", "1")], &[("a", "1")], &[("a", "2")], &[("a", "2")], &[("a", "2")]),
    (
        "dropped by the Gateway",
        &[("a", "1"), ("b", "2")],
        &[("a", "1"), ("b", "2")],
        &[("b", "2")],
        &[("b", "2")],
        &[("b", "2")],
    ),
    ("last one dropped", &[("a", "1")], &[("a", "1")], &[], &[], &[]),
    ("edited, then changed on the Gateway", &[("a", "9")], &[("a", "1")], &[("a", "2")], &[("a", "9")], &[]),
    ("edited, then dropped by the Gateway", &[("a", "9")], &[("a", "1")], &[], &[("a", "9")], &[]),
    ("removed, still wanted", &[], &[("a", "1")], &[("a", "1")], &[("a", "1")], &[("a", "1")]),
    ("removed, no longer wanted", &[], &[("a", "1")], &[], &[], &[]),
    ("denied since", &[("olm.owner", "1")], &[("olm.owner", "1")], &[("olm.owner", "1")], &[], &[]),
];

#[test]
fn labels_follow_the_gateway_and_the_user_wins() {
    for (name, has, remembers, wanted, labels_after, memory_after) in ROWS {
        let before = service(has, remembers);
        let decision = decide(&Rules::default(), &before, None, Knowledge::Exists(&gateway(wanted)));
        assert_eq!(applied(&before, &decision), service(labels_after, memory_after), "{name}");
        let expected = if decision.changes() { Outcome::Injected } else { Outcome::Unchanged };
        assert_eq!(decision.outcome, expected, "{name}");
    }
}

#[test]
fn a_memory_that_ends_is_not_revived_by_the_previous_object() {
    let old = service(&[("a", "1")], &[("a", "1")]);
    let mut new = service(&[("a", "1")], &[]);
    new.annotations.insert(INJECTED_LABELS.into(), "{\"x\":\"1\"}".into());
    let gateway = gateway(&[]);
    let decision = decide(&Rules::default(), &new, Some(&old), Knowledge::Exists(&gateway));
    assert_eq!(decision.labels.memory, MemoryChange::Write("{}".into()));
    let after = applied(&new, &decision);
    let again = decide(&Rules::default(), &after, Some(&old), Knowledge::Exists(&gateway));
    assert_eq!(again, Decision::untouched(Outcome::Unchanged));
}

#[test]
fn every_key_left_out_has_its_reason() {
    let gateway = Gateway {
        inject_labels: Some("a,b,helm.sh/*".into()),
        ..gateway(&[("a", "1"), ("b", "2"), ("c", "3"), ("helm.sh/chart", "x")])
    };
    let before = service(&[("b", "9")], &[]);
    let decision = decide(&Rules::default(), &before, None, Knowledge::Exists(&gateway));
    assert_eq!(skipped(&decision), [("b", "already-set"), ("c", "narrowed"), ("helm.sh/chart", "denied")]);
    assert_eq!(decision.labels.injected, labels(&[("a", "1")]));
}

#[test]
fn nothing_is_touched_without_positive_knowledge() {
    let owned = service(&[("a", "1")], &[("a", "1")]);
    let replaced = Gateway { uid: "another".into(), ..gateway(&[("a", "2")]) };
    let foreign = Metadata { owner_references: vec![], ..owned.clone() };
    for (service, known, expected) in [
        (&owned, Knowledge::Unknown, Outcome::LookupFailed),
        (&owned, Knowledge::Missing, Outcome::GatewayMissing),
        (&owned, Knowledge::Exists(&replaced), Outcome::GatewayReplaced),
        (&foreign, Knowledge::Exists(&replaced), Outcome::NoOwner),
    ] {
        let decision = decide(&Rules::default(), service, Some(&owned), known);
        assert_eq!(decision, Decision::untouched(expected));
    }
}

#[test]
fn a_gateway_under_deletion_removes_nothing_and_forgets_nothing() {
    let before = service(&[("a", "1"), ("b", "2")], &[("a", "1"), ("b", "2")]);
    let deleting = Gateway { deleting: true, ..gateway(&[("a", "1")]) };
    let decision = decide(&Rules::default(), &before, None, Knowledge::Exists(&deleting));
    assert_eq!(decision, Decision::untouched(Outcome::Unchanged));
}

#[test]
fn a_gateway_that_opts_out_takes_its_labels_back() {
    let before = service(&[("a", "1"), ("b", "9")], &[("a", "1"), ("b", "2")]);
    let gateway = Gateway { inject: Some("false".into()), ..gateway(&[("a", "1"), ("b", "2")]) };
    let decision = decide(&Rules::default(), &before, None, Knowledge::Exists(&gateway));
    assert_eq!(decision.outcome, Outcome::OptedOut);
    assert_eq!(
        decision.labels.removed,
        [Removed { key: "a".into(), reason: RemovalReason::GatewayOptedOut }]
    );
    assert_eq!(applied(&before, &decision), service(&[("b", "9")], &[]));
}

#[test]
fn a_removal_says_why() {
    let before = service(&[("a", "1"), ("b", "2")], &[("a", "1"), ("b", "2")]);
    let gateway = Gateway { inject_labels: Some("x".into()), ..gateway(&[("a", "1")]) };
    let decision = decide(&Rules::default(), &before, None, Knowledge::Exists(&gateway));
    let reasons: Vec<_> =
        decision.labels.removed.iter().map(|removed| (removed.key.as_str(), removed.reason)).collect();
    assert_eq!(reasons, [("a", RemovalReason::Rejected), ("b", RemovalReason::GatewayLacks)]);
}

#[test]
fn a_service_that_opts_out_keeps_its_labels_and_is_forgotten() {
    let mut before = service(&[("a", "1")], &[("a", "1")]);
    before.annotations.insert(INJECT.into(), "false".into());
    assert!(
        matches!(lookup(&Rules::default(), &before), Lookup::OptedOut(gateway) if gateway.name == "cd-arp-gw")
    );
    let decision = decide(&Rules::default(), &before, Some(&before), Knowledge::Unknown);
    assert_eq!(decision.outcome, Outcome::OptedOut);
    assert!(!decision.labels.entries());
    let after = applied(&before, &decision);
    assert_eq!(after.annotations.keys().collect::<Vec<_>>(), [INJECT]);
    let again = decide(&Rules::default(), &after, Some(&before), Knowledge::Unknown);
    assert_eq!(again, Decision::untouched(Outcome::OptedOut));
}

#[test]
fn any_other_value_of_the_opt_out_does_not_opt_out() {
    for value in ["true", "", "False", "no"] {
        let gateway = Gateway { inject: Some(value.into()), ..gateway(&[("a", "1")]) };
        let decision = decide(&Rules::default(), &service(&[], &[]), None, Knowledge::Exists(&gateway));
        assert_eq!(decision.outcome, Outcome::Injected, "{value}");
    }
}

#[test]
fn a_label_that_the_request_removes_comes_back_and_is_named() {
    let old = service(&[("a", "1"), ("own", "x")], &[("a", "1")]);
    let gateway = gateway(&[("a", "1"), ("new", "2")]);
    // A controller that replaces the maps drops label and memory alike.
    for new in [service(&[], &[("a", "1")]), service(&[], &[])] {
        let decision = decide(&Rules::default(), &new, Some(&old), Knowledge::Exists(&gateway));
        assert_eq!(decision.labels.reinjected, ["a"]);
        let expected = service(&[("a", "1"), ("new", "2")], &[("a", "1"), ("new", "2")]);
        assert_eq!(applied(&new, &decision), expected);
    }
}

#[test]
fn a_full_set_of_annotations_stops_the_whole_patch() {
    let gateway = gateway(&[("a", "1")]);
    let text = memory::write(&labels(&[("a", "1")]));
    let room = MAX_ANNOTATION_BYTES - INJECTED_LABELS.len() - text.len();
    for (used, expected) in [(room, Outcome::Injected), (room + 1, Outcome::AnnotationsFull)] {
        let mut before = service(&[], &[]);
        before.annotations.insert("k".into(), "v".repeat(used - 1));
        let decision = decide(&Rules::default(), &before, None, Knowledge::Exists(&gateway));
        assert_eq!(decision.outcome, expected);
        assert_eq!(decision.changes(), expected == Outcome::Injected);
    }
}

#[test]
fn an_unreadable_memory_is_reported_and_replaced() {
    let mut before = service(&[("a", "1")], &[]);
    before.annotations.insert(INJECTED_LABELS.into(), "garbage".into());
    let gateway = gateway(&[("a", "2"), ("b", "3")]);
    let decision = decide(&Rules::default(), &before, None, Knowledge::Exists(&gateway));
    assert_eq!(skipped(&decision), [("a", "already-set"), (INJECTED_LABELS, "unreadable")]);
    assert_eq!(applied(&before, &decision), service(&[("a", "1"), ("b", "3")], &[("b", "3")]));
}

#[test]
fn a_gateway_is_reduced_to_what_decides() {
    let metadata = Metadata {
        uid: UID.into(),
        deletion_timestamp: Some("2024-01-02T03:04:05Z".into()),
        labels: labels(&[("a", "1")]),
        annotations: labels(&[(INJECT, "false"), (INJECT_LABELS, "a"), ("other", "x")]),
        ..Metadata::default()
    };
    let expected = Gateway {
        deleting: true,
        inject: Some("false".into()),
        inject_labels: Some("a".into()),
        ..gateway(&[("a", "1")])
    };
    assert_eq!(Gateway::reduce(metadata.clone(), |_| false), expected);
    let annotations = labels(&[("other", "x")]).into();
    assert_eq!(Gateway::reduce(metadata, |key| key == "other"), Gateway { annotations, ..expected });
}

fn rules(text: &str) -> Rules {
    Rules::parse(&format!("apiVersion: config.gateherald.io/v1alpha1\nkind: LabelRules\n{text}")).unwrap()
}

#[test]
fn annotations_follow_an_explicit_list_and_are_remembered_apart() {
    let gateway = Gateway {
        annotations: labels(&[
            ("example.com/cost", "7"),
            ("lbipam.cilium.io/ips", "192.0.2.1"),
            ("argocd.argoproj.io/tracking-id", "x"),
            ("other", "1"),
        ])
        .into(),
        ..gateway(&[("a", "1")])
    };
    let decide =
        |rules: &Rules, service: &Metadata| decide(rules, service, None, Knowledge::Exists(&gateway));
    let before = service(&[], &[]);
    assert!(!decide(&Rules::default(), &before).annotations.any());

    let decision = decide(&rules("annotations: {include: ['*']}"), &before);
    assert_eq!(decision.annotations.injected, labels(&[("example.com/cost", "7"), ("other", "1")]));
    let by_name =
        [("argocd.argoproj.io/tracking-id", "not-by-wildcard"), ("lbipam.cilium.io/ips", "not-by-wildcard")];
    assert_eq!(skipped(&decision), by_name);
    let after = applied(&before, &decision);
    assert_eq!(after.annotations[INJECTED_LABELS], r#"{"a":"1"}"#);
    assert_eq!(after.annotations[INJECTED_ANNOTATIONS], r#"{"example.com/cost":"7","other":"1"}"#);

    // The list shrinks: what is no longer on it goes, and one that must be named is named.
    let narrower = rules("annotations: {include: [example.com/*, lbipam.cilium.io/ips]}");
    let decision = decide(&narrower, &after);
    assert_eq!(decision.annotations.injected, labels(&[("lbipam.cilium.io/ips", "192.0.2.1")]));
    assert_eq!(
        decision.annotations.removed,
        [Removed { key: "other".into(), reason: RemovalReason::Rejected }]
    );
    // The user's own stays the user's.
    let mut own = after.clone();
    own.annotations.insert("example.com/cost".into(), "8".into());
    let decision = decide(&narrower, &own);
    assert_eq!(skipped(&decision), [("example.com/cost", "already-set")]);
    assert!(!applied(&own, &decision).annotations[INJECTED_ANNOTATIONS].contains("cost"));
}

#[test]
fn a_forged_memory_cannot_take_our_own_annotations_away() {
    let mut before = service(&[("a", "1")], &[("a", "1")]);
    let text = before.annotations[INJECTED_LABELS].clone();
    before
        .annotations
        .insert(INJECTED_ANNOTATIONS.into(), memory::write(&labels(&[(INJECTED_LABELS, &text)])));
    let decision = decide(&Rules::default(), &before, None, Knowledge::Exists(&gateway(&[("a", "1")])));
    assert_eq!(applied(&before, &decision), service(&[("a", "1")], &[("a", "1")]));
}

#[test]
fn an_administrators_rule_takes_back_what_an_earlier_one_allowed() {
    let before = service(&[("a", "1"), ("b", "2")], &[("a", "1"), ("b", "2")]);
    let gateway = gateway(&[("a", "1"), ("b", "2")]);
    let decision = decide(&rules("labels: {exclude: [a]}"), &before, None, Knowledge::Exists(&gateway));
    assert_eq!(decision.labels.removed, [Removed { key: "a".into(), reason: RemovalReason::Rejected }]);
    assert_eq!(skipped(&decision), [("a", "excluded")]);
    assert_eq!(applied(&before, &decision), service(&[("b", "2")], &[("b", "2")]));
}

#[test]
fn a_service_in_the_controllers_namespace_follows_the_gateway_that_its_labels_name() {
    let rules = rules("extractors: [{preset: envoy-gateway}]");
    let pair = [
        ("gateway.envoyproxy.io/owning-gateway-name", "cd-arp-gw"),
        ("gateway.envoyproxy.io/owning-gateway-namespace", "prod"),
    ];
    let mut before = Metadata { owner_references: vec![], ..service(&pair, &[]) };
    before.namespace = "envoy-gateway-system".into();
    let Lookup::Gateway(found) = lookup(&rules, &before) else { panic!("no Gateway") };
    assert_eq!((found.namespace, found.name, found.uid), ("prod", "cd-arp-gw", None));
    assert_eq!(found.extractor, Some("envoy-gateway"));
    let gateway = gateway(&[("a", "1")]);
    let decision = decide(&rules, &before, None, Knowledge::Exists(&gateway));
    assert_eq!(decision.labels.injected, labels(&[("a", "1")]));
    // Anybody may label a Service so elsewhere.
    before.namespace = "elsewhere".into();
    let decision = decide(&rules, &before, None, Knowledge::Exists(&gateway));
    assert_eq!((decision.outcome, decision.changes()), (Outcome::NoOwner, false));
    assert_eq!(skipped(&decision), [("gateway.envoyproxy.io/owning-gateway-name", "untrusted-namespace")]);
    // And without the preset nobody reads them.
    assert_eq!(lookup(&Rules::default(), &before), Lookup::NoOwner(None));
}

#[test]
fn names_are_the_serialized_names() {
    for outcome in Outcome::ALL {
        assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.name());
    }
}
