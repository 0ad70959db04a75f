// SPDX-License-Identifier: Apache-2.0
use jiff::Timestamp;

use super::*;

fn read(text: &str) -> Result<(Snapshot, Extras), FileError> {
    let mut snapshot = Snapshot::empty(Timestamp::UNIX_EPOCH);
    let source = Source { name: "objects.yaml".to_owned(), text: text.to_owned() };
    let extras = load(&mut snapshot, &[source])?;
    Ok((snapshot, extras))
}

#[test]
fn lists_and_documents_are_flattened_and_sorted() {
    let text = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {namespace: b, name: z}}
- {apiVersion: v1, kind: Service, metadata: {namespace: a, name: y}}
---
apiVersion: v1
kind: NodeList
items: [{metadata: {name: n1}}]
---
# nothing
---
{apiVersion: example.com/v1, kind: Unheard, metadata: {name: x}}
";
    let (snapshot, extras) = read(text).unwrap();
    let names: Vec<String> = snapshot.services.items.iter().map(Named::full_name).collect();
    assert_eq!(names, ["a/y", "b/z"]);
    assert_eq!(snapshot.nodes.items.len(), 1);
    assert_eq!(extras.ignored, ["Unheard"]);
}

#[test]
fn a_field_of_a_wrong_type_is_named_with_file_and_object() {
    let error =
        read("{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: seven}}").unwrap_err();
    assert_eq!(error.to_string(), "objects.yaml: Service web, spec.ports");
}

#[test]
fn a_later_object_takes_the_place_of_an_earlier_one() {
    let text = "
{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {a: b}}}
---
{apiVersion: v1, kind: Node, metadata: {name: n1}}
";
    let (snapshot, _) = read(text).unwrap();
    assert_eq!(snapshot.nodes.items.len(), 1);
    assert!(snapshot.nodes.items[0].metadata.labels.is_none());
}

#[test]
fn label_rules_and_announcers_pages_are_taken() {
    let text = "
{apiVersion: config.gateherald.io/v1alpha1, kind: LabelRules, labels: {include: [a]}}
---
{node: n1, notAnnounced: [{reason: NoInterface, detail: 'NoInterface: enp1s0: NotMatched'}]}
";
    let (snapshot, extras) = read(text).unwrap();
    assert!(extras.rules.is_some());
    assert_eq!(snapshot.announcers[0].node, "n1");
    let bad = read("{apiVersion: config.gateherald.io/v1alpha1, kind: LabelRules, labels: {includ: [a]}}");
    assert!(matches!(bad, Err(FileError::Rules { .. })));
}

#[test]
fn files_are_of_the_time_of_their_newest_renewal() {
    let (mut snapshot, _) = read(
        "
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: gateherald-node-n1}
spec: {renewTime: '2026-01-01T12:00:00.000000Z'}
",
    )
    .unwrap();
    close(&mut snapshot);
    assert_eq!(snapshot.now, "2026-01-01T12:00:00Z".parse().unwrap());
    assert!(snapshot.services.gap.is_none());
}

#[test]
fn what_is_no_yaml_is_told_with_its_document() {
    let error = read("a: b\n---\n{").unwrap_err();
    assert_eq!(error.to_string(), "objects.yaml, document 2: not YAML");
}
