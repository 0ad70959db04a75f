// SPDX-License-Identifier: Apache-2.0
use super::*;

#[test]
fn the_default_rules_keep_other_owners_keys_off() {
    let rules = LabelRules::default();
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
    let rules = LabelRules::default();
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
    let rules =
        LabelRules { include: Pattern::list("a*,x"), exclude: Pattern::list("ab"), ..LabelRules::default() };
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
fn what_kubernetes_would_refuse_has_a_reason() {
    let rules = LabelRules::default();
    assert_eq!(rules.rejects("a~b", "v", None), Some(SkipReason::InvalidKey));
    assert_eq!(rules.rejects("a", "v v", None), Some(SkipReason::InvalidValue));
}

#[test]
fn no_rule_allows_gateheralds_own_keys() {
    let everything = LabelRules { deny: Vec::new(), ..LabelRules::default() };
    assert_eq!(everything.rejects("helm.sh/chart", "v", None), None);
    assert_eq!(everything.rejects("gateherald.io/inject", "v", None), Some(SkipReason::Denied));
    let everything = AnnotationRules { include: patterns(&["*", "gateherald.io/inject"]) };
    for key in [
        "gateherald.io/inject",
        "gateherald.io/injected-labels",
        "kubectl.kubernetes.io/last-applied-configuration",
    ] {
        assert_eq!(everything.rejects(key), Some(SkipReason::Denied), "{key}");
    }
}

#[test]
fn a_wildcard_allows_no_annotation_that_moves_an_address_or_an_owner() {
    let rules = AnnotationRules { include: patterns(&["*", "external-dns.alpha.kubernetes.io/hostname"]) };
    for (key, expected) in [
        ("example.com/note", None),
        ("Example.COM/Note", None),
        ("lbipam.cilium.io/ips", Some(SkipReason::NotByWildcard)),
        ("io.cilium/lb-ipam-ips", Some(SkipReason::NotByWildcard)),
        ("metallb.io/loadBalancerIPs", Some(SkipReason::NotByWildcard)),
        ("external-dns.alpha.kubernetes.io/hostname", None),
        ("external-dns.alpha.kubernetes.io/ttl", Some(SkipReason::NotByWildcard)),
        ("argocd.argoproj.io/tracking-id", Some(SkipReason::NotByWildcard)),
        ("service.kubernetes.io/topology-mode", Some(SkipReason::NotByWildcard)),
        ("a b", Some(SkipReason::InvalidKey)),
    ] {
        assert!(rules.mention(key), "{key}");
        assert_eq!(rules.rejects(key), expected, "{key}");
    }
    assert!(!AnnotationRules::default().mention("example.com/note"));
}
