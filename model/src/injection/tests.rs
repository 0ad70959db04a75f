// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::owner::INJECT_LABELS;

mod properties;

const UID: &str = "uid-of-the-gateway";

fn labels(pairs: &[(&str, &str)]) -> LabelMap {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

fn gateway(pairs: &[(&str, &str)]) -> Gateway {
    Gateway { uid: UID.into(), labels: labels(pairs), ..Gateway::default() }
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
    after.labels.extend(decision.injected.clone());
    after.labels.extend(decision.updated.clone());
    for removed in &decision.removed {
        after.labels.remove(&removed.key).unwrap();
    }
    match &decision.memory {
        MemoryChange::Keep => {}
        MemoryChange::Write(text) => {
            after.annotations.insert(INJECTED_LABELS.into(), text.clone());
        }
        MemoryChange::Remove => {
            after.annotations.remove(INJECTED_LABELS).unwrap();
        }
    }
    after
}

fn skipped(decision: &Decision) -> Vec<(&str, &str)> {
    decision.skipped.iter().map(|skipped| (skipped.key.as_str(), skipped.reason.name())).collect()
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
    assert_eq!(decision.memory, MemoryChange::Write("{}".into()));
    let after = applied(&new, &decision);
    assert_eq!(
        decide(&Rules::default(), &after, Some(&old), Knowledge::Exists(&gateway)),
        Decision::untouched(Outcome::Unchanged)
    );
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
    assert_eq!(decision.injected, labels(&[("a", "1")]));
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
    assert_eq!(decision.removed, [Removed { key: "a".into(), reason: RemovalReason::GatewayOptedOut }]);
    assert_eq!(applied(&before, &decision), service(&[("b", "9")], &[]));
}

#[test]
fn a_removal_says_why() {
    let before = service(&[("a", "1"), ("b", "2")], &[("a", "1"), ("b", "2")]);
    let gateway = Gateway { inject_labels: Some("x".into()), ..gateway(&[("a", "1")]) };
    let decision = decide(&Rules::default(), &before, None, Knowledge::Exists(&gateway));
    let reasons: Vec<_> =
        decision.removed.iter().map(|removed| (removed.key.as_str(), removed.reason)).collect();
    assert_eq!(reasons, [("a", RemovalReason::Rejected), ("b", RemovalReason::GatewayLacks)]);
}

#[test]
fn a_service_that_opts_out_keeps_its_labels_and_is_forgotten() {
    let mut before = service(&[("a", "1")], &[("a", "1")]);
    before.annotations.insert(INJECT.into(), "false".into());
    assert_eq!(lookup(&before), Lookup::OptedOut(&owner()));
    let decision = decide(&Rules::default(), &before, Some(&before), Knowledge::Unknown);
    assert_eq!(decision.outcome, Outcome::OptedOut);
    assert!(!decision.changes_labels());
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
        assert_eq!(decision.reinjected, ["a"]);
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
    assert_eq!(Gateway::from(metadata), expected);
}

#[test]
fn names_are_the_serialized_names() {
    for outcome in Outcome::ALL {
        assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.name());
    }
}
