// SPDX-License-Identifier: Apache-2.0
use super::*;

fn service(namespace: &str, labels: &[(&str, &str)]) -> Metadata {
    let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    Metadata { namespace: namespace.into(), labels, ..Metadata::default() }
}

#[test]
fn a_gateway_of_another_namespace_is_believed_from_the_controllers_namespace_only() {
    let envoy = ENVOY_GATEWAY.extractor(None);
    let labels = [
        ("gateway.envoyproxy.io/owning-gateway-name", "cd-arp-gw"),
        ("gateway.envoyproxy.io/owning-gateway-namespace", "prod"),
    ];
    let gateway = Extracted::Gateway { namespace: "prod", name: "cd-arp-gw" };
    for (namespace, expected) in
        [("envoy-gateway-system", gateway), ("prod", gateway), ("elsewhere", Extracted::Untrusted)]
    {
        assert_eq!(envoy.extract(&service(namespace, &labels)), expected, "{namespace}");
    }
    let elsewhere = ENVOY_GATEWAY.extractor(Some(vec!["elsewhere".into()]));
    assert_eq!(elsewhere.extract(&service("elsewhere", &labels)), gateway);
    assert_eq!(elsewhere.extract(&service("envoy-gateway-system", &labels)), Extracted::Untrusted);
}

#[test]
fn half_a_pair_names_nobody() {
    let envoy = ENVOY_GATEWAY.extractor(None);
    for labels in [
        &[][..],
        &[("gateway.envoyproxy.io/owning-gateway-name", "gw")],
        &[("gateway.envoyproxy.io/owning-gateway-namespace", "prod")],
        // Gateways that were merged into one Service have no single owner.
        &[("gateway.envoyproxy.io/owning-gatewayclass", "eg")],
        &[
            ("gateway.envoyproxy.io/owning-gateway-name", "gw"),
            ("gateway.envoyproxy.io/owning-gateway-namespace", ""),
        ],
        &[
            ("gateway.envoyproxy.io/owning-gateway-name", "no label value"),
            ("gateway.envoyproxy.io/owning-gateway-namespace", "prod"),
        ],
    ] {
        assert_eq!(envoy.extract(&service("envoy-gateway-system", labels)), Extracted::Nothing, "{labels:?}");
    }
}

#[test]
fn without_a_namespace_label_the_gateway_is_beside_the_service() {
    let contour = CONTOUR.extractor(None);
    let service = service("prod", &[("gateway.networking.k8s.io/gateway-name", "cd-arp-gw")]);
    assert_eq!(contour.extract(&service), Extracted::Gateway { namespace: "prod", name: "cd-arp-gw" });
}
