// SPDX-License-Identifier: Apache-2.0
use serde_json::{Value, json};

use super::*;

fn spec(value: Value) -> L2AnnouncementPolicySpec {
    serde_json::from_value(value).unwrap()
}

fn id(name: &str) -> PolicyId {
    PolicyId::new(PolicyKind::Gateherald, name)
}

#[test]
fn each_bad_field_has_its_reason() {
    let empty_in = json!({"matchExpressions": [{"key": "k", "operator": "In"}]});
    for (bad, reason, message) in [
        (
            json!({"loadBalancerIPs": true, "nodeSelector": empty_in}),
            "BadNodeSelector",
            "nodeSelector cannot be evaluated: key \"k\": operator In needs at least one value",
        ),
        (
            json!({"loadBalancerIPs": true, "serviceSelector": empty_in}),
            "BadServiceSelector",
            "serviceSelector",
        ),
        (json!({"loadBalancerIPs": true, "interfaces": ["ens(18"]}), "BadInterfaceRegex", "\"ens(18\""),
        (json!({"loadBalancerIPs": true, "addresses": ["10.0.0.0"]}), "BadAddresses", "\"10.0.0.0\""),
        (json!({"externalIPs": true}), "AddressesRequired", "externalIPs needs addresses"),
        (json!({}), "SelectsNothing", "neither"),
    ] {
        let mut policies = Policies::default();
        let validity = policies.apply(id("p"), &spec(bad.clone()));
        assert_eq!(validity.reason(), reason, "{bad}");
        assert!(!validity.is_valid());
        assert!(validity.message().contains(message), "{}", validity.message());
        assert!(!validity.message().contains('\n'));
    }
}

#[test]
fn cilium_s_kind_needs_no_addresses() {
    let spec = spec(json!({"externalIPs": true}));
    assert!(Policy::compile(PolicyKind::Cilium, &spec).is_ok());
}

#[test]
fn a_bad_version_leaves_the_last_good_one_in_force() {
    let mut policies = Policies::default();
    assert!(policies.apply(id("p"), &spec(json!({"loadBalancerIPs": true, "interfaces": ["a"]}))).is_valid());
    let bad = spec(json!({"externalIPs": true, "addresses": ["10.0.0.0/8"], "interfaces": ["("]}));
    for _ in 0..2 {
        assert_eq!(policies.apply(id("p"), &bad).reason(), "BadInterfaceRegex");
        let (_, _, in_force) = policies.iter().next().unwrap();
        assert!(in_force.unwrap().load_balancer_ips && !in_force.unwrap().external_ips);
    }
    assert_eq!(policies.apply(id("new"), &bad).reason(), "BadInterfaceRegex");
    assert!(policies.iter().any(|(id, _, in_force)| id.name == "new" && in_force.is_none()));
    assert!(policies.apply(id("p"), &spec(json!({"loadBalancerIPs": true}))).is_valid());
    assert!(policies.validity(&id("p")).unwrap().is_valid());
}

#[test]
fn turning_both_flags_off_takes_effect() {
    let mut policies = Policies::default();
    policies.apply(id("p"), &spec(json!({"loadBalancerIPs": true})));
    policies.apply(id("p"), &spec(json!({})));
    let (_, _, in_force) = policies.iter().next().unwrap();
    assert!(in_force.unwrap().selects_nothing());
}

#[test]
fn policies_are_forgotten() {
    let mut policies = Policies::default();
    for name in ["a", "b", "c"] {
        policies.apply(id(name), &spec(json!({})));
    }
    assert!(policies.remove(&id("a")) && !policies.remove(&id("a")));
    policies.retain(|id| id.name == "c");
    let names: Vec<_> = policies.iter().map(|(id, ..)| id.to_string()).collect();
    assert_eq!(names, ["L2AnnouncementPolicy/c"]);
    let same_name = PolicyId::new(PolicyKind::Cilium, "c");
    assert!(policies.validity(&same_name).is_none(), "the kinds are told apart");
}

fn version(uid: &str, generation: i64, spec: Value) -> PolicyVersion {
    let spec = serde_json::from_value(spec).map_err(|e| e.to_string());
    PolicyVersion { uid: uid.into(), generation, spec, status: None }
}

#[test]
fn people_are_told_which_generation_is_in_force() {
    let mut policies = Policies::default();
    let good = json!({"loadBalancerIPs": true});
    let bad = json!({"loadBalancerIPs": true, "interfaces": ["("]});
    let verdict = |policies: &Policies| {
        let verdict = policies.verdicts().remove(&id("p")).unwrap();
        let said = verdict.message.rsplit("; ").next().unwrap().to_owned();
        (verdict.generation, verdict.in_force, verdict.valid, said)
    };
    policies.apply(id("p"), version("u1", 1, bad.clone()));
    assert_eq!(verdict(&policies), (1, None, false, "no generation is in force".to_owned()));
    policies.apply(id("p"), version("u1", 2, good));
    assert_eq!(verdict(&policies), (2, Some(2), true, "the policy is in force".to_owned()));
    for generation in [3, 4] {
        policies.apply(id("p"), version("u1", generation, bad.clone()));
        let said = "generation 2 stays in force".to_owned();
        assert_eq!(verdict(&policies), (generation, Some(2), false, said));
    }
    // An object that was made again has no last good version, however alike their names are.
    policies.apply(id("p"), version("u2", 1, bad));
    assert_eq!(verdict(&policies), (1, None, false, "no generation is in force".to_owned()));
}

#[test]
fn an_object_that_cannot_be_decoded_leaves_the_last_good_version_in_force() {
    let mut policies = Policies::default();
    policies.apply(id("p"), version("u1", 1, json!({"loadBalancerIPs": true})));
    let validity = policies.apply(id("p"), version("u1", 2, json!({"loadBalancerIPs": "yes"})));
    assert_eq!(validity.reason(), "Undecodable");
    assert!(validity.message().contains("CustomResourceDefinition"), "{}", validity.message());
    assert_eq!(policies.verdicts()[&id("p")].in_force, Some(1));
}

#[test]
fn a_kind_that_is_set_aside_is_kept_up_to_date_and_comes_back_as_it_is_then() {
    let mut policies = Policies::default();
    let cilium = PolicyId::new(PolicyKind::Cilium, "c");
    policies.apply(cilium.clone(), version("u", 1, json!({"loadBalancerIPs": true})));
    policies.apply(id("ours"), version("u", 1, json!({"loadBalancerIPs": true})));
    policies.set_aside(PolicyKind::Cilium, Some("it announces itself".to_owned()));
    assert_eq!(policies.iter().map(|(id, ..)| id.kind).collect::<Vec<_>>(), [PolicyKind::Gateherald]);
    assert_eq!(policies.verdicts().len(), 1);
    assert_eq!(policies.aside().collect::<Vec<_>>(), [(&cilium, "it announces itself")]);
    assert!(policies.has(PolicyKind::Cilium));
    policies.apply(cilium.clone(), version("u", 2, json!({"interfaces": ["("]})));
    policies.set_aside(PolicyKind::Cilium, None);
    assert_eq!(policies.aside().count(), 0);
    let verdict = &policies.verdicts()[&cilium];
    assert_eq!((verdict.generation, verdict.in_force, verdict.reason), (2, Some(1), "BadInterfaceRegex"));
}
