// SPDX-License-Identifier: Apache-2.0
use super::*;

fn owner() -> OwnerReference {
    OwnerReference {
        api_version: "rbac.authorization.k8s.io/v1".into(),
        kind: "ClusterRole".into(),
        name: "gateherald-policies".into(),
        uid: "u1".into(),
        ..OwnerReference::default()
    }
}

fn wanted(names: &[&str]) -> Vec<Wanted> {
    names.iter().map(|&name| Wanted { name: name.into(), spec: json!({ "loadBalancerIPs": true }) }).collect()
}

fn present(policies: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<String>> {
    policies.iter().map(|&(name, by)| (name.to_owned(), by.map(str::to_owned))).collect()
}

#[test]
fn what_the_file_lacks_is_deleted_if_it_came_from_there() {
    let there = present(&[
        ("kept", Some("gateherald-policies")),
        ("old", Some("gateherald-policies")),
        ("theirs", None),
    ]);
    let steps = plan(&wanted(&["new", "kept"]), &there, &owner()).unwrap();
    let names: Vec<_> =
        steps.apply.iter().map(|object| object["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["kept", "new"]);
    assert_eq!(steps.delete, ["old"]);
    assert_eq!(plan(&[], &there, &owner()).unwrap().delete, ["kept", "old"]);
}

#[test]
fn a_policy_is_owned_marked_and_not_a_gitops_tools() {
    let steps = plan(&wanted(&["a"]), &BTreeMap::new(), &owner()).unwrap();
    let metadata = &steps.apply[0]["metadata"];
    assert_eq!(metadata["ownerReferences"][0]["uid"], "u1");
    assert_eq!(metadata["labels"], json!({ APPLIED_BY: "gateherald-policies" }));
    assert_eq!(steps.apply[0]["spec"], json!({ "loadBalancerIPs": true }));
}

#[test]
fn a_stranger_of_the_same_name_is_left_alone() {
    for by in [None, Some("another-release")] {
        let error = plan(&wanted(&["a", "b"]), &present(&[("b", by)]), &owner()).unwrap_err();
        assert!(
            error.to_string().contains("kubectl label ghl2 b gateherald.io/applied-by=gateherald-policies"),
            "{error}"
        );
    }
    assert_eq!(
        plan(&wanted(&["a", "a"]), &BTreeMap::new(), &owner()),
        Err(ProvisionError::Twice("a".into()))
    );
}
