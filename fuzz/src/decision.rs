// SPDX-License-Identifier: Apache-2.0
//! The decision: its patch applies to the object as the API server has it, does what was decided and nothing else, and deciding
//! again changes nothing.

use gateherald_model::{
    alignment::MemoryChange,
    injection::{Decision, Knowledge, decide},
    memory::{INJECTED_ANNOTATIONS, INJECTED_LABELS},
    metadata::{LabelMap, Metadata},
    owner::{Gateway, INJECT, INJECT_LABELS},
    patch,
    rules::Rules,
};
use serde_json::{Map, Value, from_value, json, to_value};

const KEYS: [&str; 16] = [
    "a",
    "b",
    "c/d",
    "e.f/g",
    "helm.sh/chart",
    "app.kubernetes.io/name",
    "not~valid",
    "x/~1",
    "",
    "/",
    "a/",
    "\u{e9}",
    INJECT,
    INJECT_LABELS,
    INJECTED_LABELS,
    "io.cilium.gateway/owning-gateway",
];
const VALUES: [&str; 10] =
    ["", "1", "2", "false", "true", "a,c/*", "*", r#"{"a":"1"}"#, r#"{"a":"1","b":"2","c/d":""}"#, "{"];

/// Files of rules; all are right.
const RULES: [&str; 5] = [
    "",
    "annotations: {include: ['*']}",
    "annotations: {include: [c/*, lbipam.cilium.io/ips]}",
    "labels: {include: [a, 'c/*'], exclude: ['c/d']}",
    "extractors: [{name: x, nameLabel: a, namespaceLabel: b, controllerNamespaces: [n]}]",
];

/// Bytes as choices: which Service (as created or updated), which Gateway.
pub fn decision(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let rules = choices.rules();
    let object = choices.service();
    let old = choices.yes().then(|| metadata(&choices.service()));
    let gateway = choices.gateway(&rules);
    let service = metadata(&object);
    let known = match choices.next() % 8 {
        0 => Knowledge::Missing,
        1 => Knowledge::Unknown,
        _ => Knowledge::Exists(&gateway),
    };

    let decision = decide(&rules, &service, old.as_ref(), known);
    let operations = patch::operations(&service, &decision);
    assert_eq!(operations.is_empty(), !decision.changes(), "{decision:?}");
    let patched = apply(&object, &operations);
    let after = metadata(&patched);
    assert_eq!(after, expected(&service, &decision), "{decision:?}");
    // The reconciler's form says the same.
    let mut merged = object.clone();
    json_patch::merge(&mut merged, &patch::merge_patch(&decision));
    assert_eq!(metadata(&merged), after, "{decision:?}");
    // What is not labels or annotations is as it was.
    assert_eq!(without_maps(&patched), without_maps(&object));
    for old in [old.as_ref(), Some(&after), None] {
        let again = decide(&rules, &after, old, known);
        assert!(!again.changes(), "{decision:?}, then {again:?}");
    }
}

/// As the API server does: a patch that does not apply fails the write.
fn apply(object: &Value, operations: &[patch::Operation]) -> Value {
    let mut object = object.clone();
    let patch: Result<json_patch::Patch, _> = to_value(operations).and_then(from_value);
    let Ok(patch) = patch else { panic!("{operations:?} is no patch") };
    if let Err(error) = json_patch::patch(&mut object, &patch) {
        panic!("{operations:?} does not apply to {object}: {error}");
    }
    object
}

/// The Service with the decision carried out by hand.
fn expected(service: &Metadata, decision: &Decision) -> Metadata {
    let mut after = service.clone();
    for (map, changes) in
        [(&mut after.labels, &decision.labels), (&mut after.annotations, &decision.annotations)]
    {
        map.extend(changes.injected.clone());
        map.extend(changes.updated.clone());
        changes.removed.iter().for_each(|removed| drop(map.remove(&removed.key)));
    }
    for (key, changes) in [(INJECTED_LABELS, &decision.labels), (INJECTED_ANNOTATIONS, &decision.annotations)]
    {
        match &changes.memory {
            MemoryChange::Keep => {}
            MemoryChange::Write(text) => drop(after.annotations.insert(key.into(), text.clone())),
            MemoryChange::Remove => drop(after.annotations.remove(key)),
        }
    }
    after
}

fn metadata(object: &Value) -> Metadata {
    from_value(object["metadata"].clone()).unwrap_or_else(|error| panic!("{object}: {error}"))
}

fn without_maps(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("labels");
        metadata.remove("annotations");
    }
    object
}

/// Bytes that have not been used yet; zeros after the last.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn next(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn yes(&mut self) -> bool {
        self.next() % 2 == 1
    }

    /// One of the menu, or any text.
    fn text(&mut self, menu: &[&str]) -> String {
        let choice = usize::from(self.next());
        if let Some(text) = menu.get(choice % (menu.len() + 2)) {
            return (*text).to_owned();
        }
        let (text, rest) = self.0.split_at((choice / 16).min(self.0.len()));
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }

    fn map(&mut self) -> LabelMap {
        (0..self.next() % 8).map(|_| (self.text(&KEYS), self.text(&VALUES))).collect()
    }

    /// With absent, empty and null maps.
    fn service(&mut self) -> Value {
        let mut metadata =
            Map::from_iter([("name".to_owned(), json!("s")), ("namespace".to_owned(), json!("n"))]);
        for field in ["labels", "annotations"] {
            let map = self.map();
            let value = match (map.is_empty(), self.next() % 3) {
                (true, 0) => continue,
                (true, 1) => Value::Null,
                _ => json!(map),
            };
            metadata.insert(field.to_owned(), value);
        }
        let owners = (0..self.next() % 3).map(|_| self.owner()).collect();
        metadata.insert("ownerReferences".to_owned(), Value::Array(owners));
        json!({ "metadata": metadata, "spec": { "ports": [{ "port": 80 }] } })
    }

    fn owner(&mut self) -> Value {
        let group =
            if self.next() % 8 == 7 { "networking.istio.io/v1" } else { "gateway.networking.k8s.io/v1" };
        let uid = if self.next() % 8 == 7 { "another" } else { "u" };
        let controller = self.yes();
        json!({ "apiVersion": group, "kind": "Gateway", "name": "g", "uid": uid, "controller": controller })
    }

    fn rules(&mut self) -> Rules {
        let text = RULES[usize::from(self.next()) % RULES.len()];
        let head = "apiVersion: config.gateherald.io/v1alpha1\nkind: LabelRules\n";
        Rules::parse(&format!("{head}{text}\n")).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn gateway(&mut self, rules: &Rules) -> Gateway {
        let deletion_timestamp = (self.next() % 8 == 7).then(|| "2026-01-01T00:00:00Z".to_owned());
        let (labels, annotations) = (self.map(), self.map());
        let metadata =
            Metadata { uid: "u".into(), deletion_timestamp, labels, annotations, ..Metadata::default() };
        Gateway::reduce(metadata, |annotation| rules.annotations.mention(annotation))
    }
}
