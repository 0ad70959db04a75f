// SPDX-License-Identifier: Apache-2.0
use super::*;

#[test]
fn the_default_rules_keep_other_owners_keys_off() {
    let rules = Rules::default();
    for key in [
        "argocd.argoproj.io/instance",
        "app.kubernetes.io/instance",
        "app.kubernetes.io/managed-by",
        "helm.sh/chart",
        "kustomize.toolkit.fluxcd.io/name",
        "objectset.rio.cattle.io/hash",
        "kro.run/owned",
        "kapp.k14s.io/app",
        "tanka.dev/environment",
        "olm.owner",
        "operators.coreos.com/x",
        "velero.io/backup-name",
        "crossplane.io/claim-name",
        "istio.io/rev",
        "networking.istio.io/rev",
        "cilium.io/x",
        "policy.cilium.io/x",
        "io.cilium.gateway/owning-gateway",
        "gateway.envoyproxy.io/owning-gateway-name",
        "gateway.networking.k8s.io/gateway-name",
        "gateherald.io/inject",
        "kubernetes.io/metadata.name",
        "service.kubernetes.io/headless",
        "k8s.io/x",
        "node.k8s.io/x",
    ] {
        assert_eq!(rules.rejects(key, "v", None), Some(SkipReason::Denied), "{key}");
    }
}

#[test]
fn the_default_rules_let_everything_else_through() {
    let rules = Rules::default();
    for key in [
        "mdhlabs-arp",
        "team",
        "example.com/team",
        "app.kubernetes.io/name",
        "app.kubernetes.io/component",
        "app.kubernetes.io/part-of",
        "app.kubernetes.io/version",
        "kubernetes.io.example.com/x",
        "notk8s.io/x",
    ] {
        assert_eq!(rules.rejects(key, "v", None), None, "{key}");
    }
}

#[test]
fn each_rule_has_its_reason_and_the_gateway_only_narrows() {
    let rules = Rules { include: Pattern::list("a*,x"), exclude: Pattern::list("ab"), ..Rules::default() };
    let narrow = Pattern::list("aa,zz,ab,helm.sh/*");
    for (key, expected) in [
        ("aa", None),
        ("ab", Some(SkipReason::Excluded)),
        ("ac", Some(SkipReason::Narrowed)),
        ("zz", Some(SkipReason::NotIncluded)),
        ("helm.sh/chart", Some(SkipReason::Denied)),
    ] {
        assert_eq!(rules.rejects(key, "v", Some(&narrow)), expected, "{key}");
    }
}

#[test]
fn keys_and_values_follow_kubernetes_rules() {
    let long = |count| "a".repeat(count);
    for (key, valid) in [
        ("a".into(), true),
        ("A_b.c-D9".into(), true),
        (long(63), true),
        (long(64), false),
        (format!("{}/a", long(253)), true),
        (format!("{}/a", long(254)), false),
        ("a.b/c".into(), true),
        ("A.b/c".into(), false),
        ("a..b/c".into(), false),
        ("/c".into(), false),
        ("a/".into(), false),
        ("a/b/c".into(), false),
        (String::new(), false),
        ("-a".into(), false),
        ("a-".into(), false),
        ("a~b".into(), false),
        ("é".into(), false),
    ] as [(String, bool); 17]
    {
        assert_eq!(is_valid_key(&key), valid, "{key}");
    }
    for (value, valid) in
        [("", true), ("a", true), ("1.2_3-x", true), ("a b", false), ("-", false), ("a/b", false)]
    {
        assert_eq!(is_valid_value(value), valid, "{value}");
    }
    let rules = Rules::default();
    assert_eq!(rules.rejects("a~b", "v", None), Some(SkipReason::InvalidKey));
    assert_eq!(rules.rejects("a", "v v", None), Some(SkipReason::InvalidValue));
}

#[test]
fn names_are_the_serialized_names() {
    for reason in SkipReason::ALL {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
    }
}
