// SPDX-License-Identifier: Apache-2.0
use serde_json::json;

use super::*;

fn gateway(name: &str) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": { "name": name, "namespace": "prod", "uid": "u-1", "labels": { "mdhlabs-arp": "enable" } },
        "spec": {
            "gatewayClassName": "cilium",
            "infrastructure": { "labels": { "from": "infrastructure" } },
            "listeners": [
                { "name": "b", "port": 443, "protocol": "HTTPS" },
                { "name": "a", "port": 80, "protocol": "HTTP" },
                { "name": "c", "port": 80, "protocol": "HTTP" },
                { "name": "d", "port": 53, "protocol": "UDP" },
            ],
        },
    }))
    .unwrap()
}

#[test]
fn a_name_of_63_characters_stays_and_a_longer_one_is_cut_to_52_and_a_hash() {
    let longest = "g".repeat(63 - "cilium-gateway-".len());
    assert_eq!(service_name(&longest), format!("cilium-gateway-{longest}"));
    let cut = service_name(&format!("{longest}g"));
    assert_eq!(cut.len(), 63);
    assert!(cut.starts_with(&format!("cilium-gateway-{}-", "g".repeat(52 - "cilium-gateway-".len()))));
    let hash = &cut[53..];
    assert!(hash.chars().all(|c| !"013ae".contains(c)), "{hash}");
}

#[test]
fn the_service_points_back_by_one_controller_reference_and_two_labels() {
    let service = desired_service(&gateway("cd-arp-gw")).unwrap();
    assert_eq!(service.metadata.name.as_deref(), Some("cilium-gateway-cd-arp-gw"));
    let owners = service.metadata.owner_references.unwrap();
    assert_eq!(owners.len(), 1);
    assert_eq!((owners[0].controller, owners[0].block_owner_deletion), (Some(true), None));
    let labels = service.metadata.labels.unwrap();
    let expected = [(GATEWAY_NAME, "cd-arp-gw"), (OWNING_GATEWAY, "cd-arp-gw"), ("from", "infrastructure")];
    assert_eq!(labels, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    let ports: Vec<_> =
        service.spec.unwrap().ports.unwrap().into_iter().map(|port| port.name.unwrap()).collect();
    assert_eq!(ports, ["port-53-udp", "port-80", "port-443"]);
}

#[test]
fn the_dummy_endpoint_belongs_to_no_node() {
    let slice = dummy_endpoints(&gateway("cd-arp-gw")).unwrap();
    assert_eq!(slice.endpoints.len(), 1);
    assert_eq!(slice.endpoints[0].node_name, None);
    assert_eq!(slice.metadata.labels.unwrap()["kubernetes.io/service-name"], "cilium-gateway-cd-arp-gw");
}

#[test]
fn a_merge_diff_removes_changes_and_adds() {
    let from = json!({ "a": 1, "b": { "c": 2, "d": [1] }, "e": 5 });
    let to = json!({ "b": { "c": 3, "d": [1] }, "e": 5, "f": {} });
    assert_eq!(merge_diff(&from, &to), Some(json!({ "a": null, "b": { "c": 3 }, "f": {} })));
    assert_eq!(merge_diff(&from, &from), None);
}
