// SPDX-License-Identifier: Apache-2.0
use kube::CustomResourceExt;
use serde_json::json;

use super::*;
use crate::selector::LabelRequirement;

const CHART_COPY: &str = "../charts/gateherald/files/l2announcementpolicies.yaml";

#[test]
fn the_charts_copy_is_the_generated_definition() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(CHART_COPY);
    let text = std::fs::read_to_string(path).unwrap();
    let copy: serde_json::Value = serde_yaml_ng::from_str(&text).unwrap();
    let generated = serde_json::to_value(L2AnnouncementPolicy::crd()).unwrap();
    assert!(copy == generated, "regenerate it: make crd");
}

#[test]
fn the_definition_is_what_users_were_promised() {
    let crd = L2AnnouncementPolicy::crd();
    assert_eq!(crd.metadata.name.as_deref(), Some("l2announcementpolicies.gateherald.io"));
    assert_eq!(crd.spec.scope, "Cluster");
    assert_eq!(crd.spec.names.short_names, Some(vec!["ghl2".to_owned()]));
    let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
    let spec = &schema["openAPIV3Schema"]["properties"]["spec"];
    assert_eq!(spec["required"], json!(null), "all of spec is optional");
    assert_eq!(spec["properties"]["addresses"]["items"]["format"], "cidr");
    assert!(spec["x-kubernetes-validations"][0]["rule"].as_str().unwrap().contains("self.externalIPs"));
}

#[test]
fn the_policy_of_the_story_reads_the_same_in_both_kinds() {
    let spec = json!({
        "serviceSelector": {"matchLabels": {"mdhlabs-arp": "enable"}},
        "nodeSelector": {"matchExpressions": [
            {"key": "node-role.kubernetes.io/control-plane", "operator": "DoesNotExist"}]},
        "interfaces": ["^ens18$"],
        "externalIPs": true,
        "loadBalancerIPs": true,
    });
    let cilium: CiliumL2AnnouncementPolicy = serde_json::from_value(json!({
        "apiVersion": "cilium.io/v2alpha1", "kind": "CiliumL2AnnouncementPolicy",
        "metadata": {"name": "mdhlabs-layer2-policy"}, "spec": spec,
    }))
    .unwrap();
    let ours: L2AnnouncementPolicySpec = serde_json::from_value(spec).unwrap();
    assert_eq!(L2AnnouncementPolicySpec::from(cilium.spec), ours);
    assert!(ours.external_ips && ours.load_balancer_ips);
    let requirement = LabelRequirement {
        key: "node-role.kubernetes.io/control-plane".into(),
        operator: "DoesNotExist".into(),
        values: vec![],
    };
    assert_eq!(ours.node_selector.unwrap().match_expressions, [requirement]);
}

#[test]
fn a_cilium_policy_may_lack_its_spec_and_have_unknown_fields() {
    for object in [
        json!({"metadata": {"name": "a"}}),
        json!({"metadata": {"name": "a"}, "spec": {}, "status": {"conditions": []}}),
        json!({"metadata": {"name": "a"}, "spec": {"novelty": 1, "serviceSelector": {"x": 2}}}),
    ] {
        let policy: CiliumL2AnnouncementPolicy = serde_json::from_value(object).unwrap();
        assert!(!policy.spec.external_ips && !policy.spec.load_balancer_ips);
        assert_eq!(policy.meta().name.as_deref(), Some("a"));
    }
}

#[test]
fn an_unset_spec_is_written_as_an_empty_object() {
    let policy = L2AnnouncementPolicy::new("a", L2AnnouncementPolicySpec::default());
    assert_eq!(serde_json::to_value(&policy).unwrap()["spec"], json!({}));
}
