// SPDX-License-Identifier: Apache-2.0
use serde_json::json;

use super::*;

const HEAD: &str = "apiVersion: config.gateherald.io/v1alpha1\nkind: LabelRules\n";

fn parse(text: &str) -> Result<Rules, RulesError> {
    Rules::parse(&format!("{HEAD}{text}"))
}

#[test]
fn an_empty_file_has_the_default_rules() {
    assert_eq!(parse("").unwrap(), Rules::default());
    assert_eq!(parse("labels: {}\nannotations: {}\nextractors: []").unwrap(), Rules::default());
}

#[test]
fn every_field_is_read_and_shown_again() {
    let rules = parse(
        "labels:
  include: ['*']
  exclude: [internal/*]
  deny: [helm.sh/*]
  denyExcept: [helm.sh/chart]
annotations:
  include: [example.com/cost]
extractors:
- preset: envoy-gateway
  controllerNamespaces: [eg]
- preset: contour
- name: acme
  nameLabel: acme.example/gw
  namespaceLabel: acme.example/ns
  controllerNamespaces: [acme]
",
    );
    let expected = json!({
        "labels": {
            "include": ["*"], "exclude": ["internal/*"], "deny": ["helm.sh/*"], "denyExcept": ["helm.sh/chart"],
        },
        "annotations": { "include": ["example.com/cost"] },
        "extractors": [
            {
                "name": "envoy-gateway", "nameLabel": "gateway.envoyproxy.io/owning-gateway-name",
                "namespaceLabel": "gateway.envoyproxy.io/owning-gateway-namespace", "controllerNamespaces": ["eg"],
            },
            {
                "name": "contour", "nameLabel": "gateway.networking.k8s.io/gateway-name",
                "controllerNamespaces": [],
            },
            {
                "name": "acme", "nameLabel": "acme.example/gw", "namespaceLabel": "acme.example/ns",
                "controllerNamespaces": ["acme"],
            },
        ],
    });
    assert_eq!(serde_json::to_value(rules.unwrap()).unwrap(), expected);
}

#[test]
fn an_error_names_the_field() {
    for (text, expected) in [
        (
            "labels: {inclde: [a]}",
            "labels.inclde: line 3 column 10: unknown field `inclde`, expected one of include",
        ),
        ("lables: {}", "lables"),
        ("labels: {include: 7}", "labels.include: line 3 column 19: "),
        ("labels: {include: [a, 'b c']}", "labels.include[1]: \"b c\" is not a pattern"),
        ("labels: {denyExcept: ['']}", "labels.denyExcept[0]: \"\" is not a pattern"),
        (
            "annotations: {include: [x, 'lbipam.cilium.io/*']}",
            "annotations.include[1]: \"lbipam.cilium.io/*\" can allow",
        ),
        ("annotations: {include: ['external-dns.alpha.*']}", "annotations.include[0]: "),
        ("annotations: {include: ['gateherald.io/inject*']}", "\"gateherald.io/inject*\" is never injected"),
        (
            "extractors: [{preset: istio}]",
            "extractors[0].preset: there is no preset \"istio\"; there are: envoy-gateway, contour",
        ),
        ("extractors: [{preset: contour, nameLabel: x}]", "extractors[0]: give either"),
        ("extractors: [{name: x}]", "extractors[0]: give either"),
        ("extractors: [{name: x, nameLabel: 'a b'}]", "extractors[0].nameLabel: \"a b\" is not a label key"),
        ("extractors: [{name: x, nameLabel: a, namespaceLabel: /}]", "extractors[0].namespaceLabel: "),
        (
            "extractors: [{preset: contour, controllerNamespaces: [A]}]",
            "extractors[0].controllerNamespaces[0]: \"A\"",
        ),
        (
            "extractors: [{preset: contour}, {preset: contour}]",
            "extractors[1]: another extractor is called \"contour\"",
        ),
        ("extractors: [{prest: contour}]", "prest"),
        ("labels: {include: [a], include: [b]}", "include"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_file_of_another_kind_is_refused() {
    for (text, expected) in [
        (
            "apiVersion: v1\nkind: ConfigMap",
            "expected config.gateherald.io/v1alpha1 LabelRules, got \"v1\" \"ConfigMap\"",
        ),
        ("kind: LabelRules", "apiVersion"),
        ("", "unexpected end of input"),
        ("- a", ""),
        ("{", ""),
    ] {
        let error = Rules::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
