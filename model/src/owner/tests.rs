// SPDX-License-Identifier: Apache-2.0
use super::*;

fn reference(api_version: &str, kind: &str, uid: &str, controller: Option<bool>) -> OwnerReference {
    OwnerReference {
        api_version: api_version.into(),
        kind: kind.into(),
        name: "cd-arp-gw".into(),
        uid: uid.into(),
        controller,
    }
}

fn owner_uid(references: Vec<OwnerReference>) -> Option<String> {
    let service = Metadata { owner_references: references, ..Metadata::default() };
    gateway_reference(&service).map(|owner| owner.uid.clone())
}

#[test]
fn only_a_gateway_of_the_group_owns() {
    for (api_version, kind, owns) in [
        ("gateway.networking.k8s.io/v1", "Gateway", true),
        ("gateway.networking.k8s.io/v1beta1", "Gateway", true),
        ("gateway.networking.k8s.io/v2", "Gateway", true),
        ("networking.istio.io/v1", "Gateway", false),
        ("gateway.networking.k8s.io/v1", "GatewayClass", false),
        ("gateway.networking.k8s.io/v1", "gateway", false),
        ("x.gateway.networking.k8s.io/v1", "Gateway", false),
        ("gateway.networking.k8s.io", "Gateway", false),
        ("v1", "Gateway", false),
        ("", "", false),
    ] {
        let found = owner_uid(vec![reference(api_version, kind, "u", Some(true))]);
        assert_eq!(found.is_some(), owns, "{api_version} {kind}");
    }
}

#[test]
fn of_several_gateways_the_managing_controller_owns_else_the_first() {
    let group = "gateway.networking.k8s.io/v1";
    let plain = |uid| reference(group, "Gateway", uid, None);
    assert_eq!(owner_uid(vec![plain("a"), plain("b")]).unwrap(), "a");
    let managing = reference(group, "Gateway", "b", Some(true));
    assert_eq!(owner_uid(vec![plain("a"), managing]).unwrap(), "b");
    assert_eq!(owner_uid(vec![]), None);
}
