// SPDX-License-Identifier: Apache-2.0
use proptest::{collection::btree_map, option, prelude::*, sample::select};
use serde_json::{Value, from_value, json};

use super::*;
use crate::patch::{merge_patch, operations};

fn a_key() -> impl Strategy<Value = String> {
    select(vec!["a", "b", "c/d", "e.f/g", "helm.sh/chart", "not~valid", "x"]).prop_map(Into::into)
}

fn a_map() -> impl Strategy<Value = LabelMap> {
    btree_map(a_key(), select(vec!["", "1", "2"]).prop_map(Into::into), 0..5)
}

/// Keys of annotations, our own among them, which only a forged memory holds.
fn annotations() -> impl Strategy<Value = LabelMap> {
    let keys = vec!["n", "o/p", "helm.sh/x", "lbipam.cilium.io/ips", INJECTED_LABELS, INJECT];
    btree_map(select(keys).prop_map(Into::into), select(vec!["", "1", "{}"]).prop_map(Into::into), 0..4)
}

fn a_memory(of: impl Strategy<Value = LabelMap>) -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        3 => Just(None),
        6 => of.prop_map(|map| Some(memory::write(&map))),
        1 => select(vec!["", "garbage", "[]", " {\"a\" : \"1\"}"]).prop_map(|text| Some(text.into())),
    ]
}

/// A Service as JSON, with absent, empty and null maps.
fn a_service() -> impl Strategy<Value = Value> {
    let uid = prop_oneof![9 => Just(UID), 1 => Just("another")];
    let empty = select(vec![None, Some(json!({})), Some(Value::Null)]);
    let opt_out = option::weighted(0.3, select(vec!["false", "true"]));
    let memories = (a_memory(a_map()), a_memory(annotations()));
    (a_map(), annotations(), memories, opt_out, uid, empty).prop_map(
        |(labels, mut annotations, memories, opt_out, uid, empty)| {
            annotations.remove(INJECT);
            annotations.extend(memories.0.map(|text| (INJECTED_LABELS.into(), text)));
            annotations.extend(memories.1.map(|text| (INJECTED_ANNOTATIONS.into(), text)));
            annotations.extend(opt_out.map(|text| (INJECT.into(), text.into())));
            let mut metadata = json!({"name": "s", "ownerReferences": [
                {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "g", "uid": uid},
            ]});
            for (field, map) in [("labels", labels), ("annotations", annotations)] {
                let value = if map.is_empty() { empty.clone() } else { Some(json!(map)) };
                if let Some(value) = value {
                    metadata[field] = value;
                }
            }
            json!({"metadata": metadata, "spec": {}})
        },
    )
}

fn a_gateway() -> impl Strategy<Value = Gateway> {
    let inject = option::weighted(0.2, select(vec!["false", "true"]).prop_map(Into::into));
    let narrow = option::weighted(0.3, select(vec!["a,c/*", "*", "", "zz"]).prop_map(Into::into));
    (a_map(), annotations(), proptest::bool::weighted(0.2), inject, narrow).prop_map(
        |(labels, annotations, deleting, inject, inject_labels)| Gateway {
            uid: UID.into(),
            deleting,
            labels: labels.into(),
            annotations: annotations.into(),
            inject,
            inject_labels,
        },
    )
}

fn some_rules() -> impl Strategy<Value = Rules> {
    select(vec!["", "annotations: {include: ['*']}", "annotations: {include: ['o/*', lbipam.cilium.io/ips]}"])
        .prop_map(rules)
}

fn metadata(object: &Value) -> Metadata {
    from_value(object["metadata"].clone()).unwrap()
}

/// Applies the patch as the API server does: it must apply.
fn patched(object: &Value, service: &Metadata, decision: &Decision) -> Value {
    let patch: json_patch::Patch =
        from_value(serde_json::to_value(operations(service, decision)).unwrap()).unwrap();
    let mut object = object.clone();
    json_patch::patch(&mut object, &patch).unwrap();
    object
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_patch_applies_and_gives_exactly_the_decided_metadata(
        object in a_service(), old in option::of(a_service()), gateway in a_gateway(), rules in some_rules(),
    ) {
        let (service, old) = (metadata(&object), old.as_ref().map(metadata));
        let decision = decide(&rules, &service, old.as_ref(), Knowledge::Exists(&gateway));
        let after = metadata(&patched(&object, &service, &decision));
        prop_assert_eq!(after, applied(&service, &decision));
        prop_assert_eq!(operations(&service, &decision).is_empty(), !decision.changes());
        // The reconciler's form says the same.
        let mut merged = object.clone();
        json_patch::merge(&mut merged, &merge_patch(&decision));
        prop_assert_eq!(metadata(&merged), applied(&service, &decision));
    }

    #[test]
    fn deciding_again_changes_nothing(
        object in a_service(), old in option::of(a_service()), gateway in a_gateway(), rules in some_rules(),
    ) {
        let (service, old) = (metadata(&object), old.as_ref().map(metadata));
        let known = Knowledge::Exists(&gateway);
        let decision = decide(&rules, &service, old.as_ref(), known);
        let after = applied(&service, &decision);
        // Reinvocation in the same request, the next update of the object, and the reconciler's look at it.
        for old in [old.as_ref(), Some(&after), None] {
            prop_assert!(!decide(&rules, &after, old, known).changes());
        }
    }

    #[test]
    fn what_the_user_set_is_never_touched(
        object in a_service(), old in option::of(a_service()), gateway in a_gateway(), rules in some_rules(),
    ) {
        let (service, old) = (metadata(&object), old.as_ref().map(metadata));
        let decision = decide(&rules, &service, old.as_ref(), Knowledge::Exists(&gateway));
        let after = applied(&service, &decision);
        for (kind, theirs) in [(LABELS, &gateway.labels), (ANNOTATIONS, &gateway.annotations)] {
            let (before, after) = ((kind.map)(&service), (kind.map)(&after));
            let (remembered, _) = memory::recall(kind.memory, &service, old.as_ref());
            let is_memory = |key: &str| [INJECTED_LABELS, INJECTED_ANNOTATIONS].contains(&key);
            for (key, value) in before.iter().filter(|(key, _)| !is_memory(key)) {
                if remembered.get(key) != Some(value) {
                    prop_assert_eq!(after.get(key), Some(value), "{}", key);
                }
            }
            // And what is added is the Gateway's.
            for (key, value) in after.iter().filter(|(key, _)| !is_memory(key)) {
                prop_assert!(before.get(key) == Some(value) || theirs.get(key) == Some(value));
            }
        }
    }

    #[test]
    fn labels_are_removed_only_for_a_living_gateway_of_the_same_uid(
        object in a_service(), old in option::of(a_service()), gateway in a_gateway(), rules in some_rules(),
    ) {
        let (service, old) = (metadata(&object), old.as_ref().map(metadata));
        let decision = decide(&rules, &service, old.as_ref(), Knowledge::Exists(&gateway));
        let nothing_goes = decision.labels.removed.is_empty() && decision.annotations.removed.is_empty();
        let same = service.owner_references[0].uid == gateway.uid;
        prop_assert!(nothing_goes || (same && !gateway.deleting));
    }

    #[test]
    fn every_label_of_the_gateway_is_on_the_service_or_has_a_reason(
        object in a_service(), old in option::of(a_service()), gateway in a_gateway(), rules in some_rules(),
    ) {
        let (service, old) = (metadata(&object), old.as_ref().map(metadata));
        let decision = decide(&rules, &service, old.as_ref(), Knowledge::Exists(&gateway));
        prop_assume!(matches!(decision.outcome, Outcome::Injected | Outcome::Unchanged));
        let after = applied(&service, &decision);
        for (key, value) in &gateway.labels {
            let there = after.labels.get(key) == Some(value);
            prop_assert!(there || decision.skipped().any(|skipped| skipped.key == *key), "{}", key);
        }
    }
}
