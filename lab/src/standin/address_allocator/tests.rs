// SPDX-License-Identifier: Apache-2.0
use super::*;

fn service(name: &str, label: Option<&str>, annotations: &[(&str, &str)], port: i32) -> Service {
    let labels = label.map(|value| json!({ "mdhlabs-arp": value }));
    let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
    serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": "prod", "labels": labels, "annotations": annotations },
        "spec": { "type": "LoadBalancer", "ports": [{ "port": port }] },
    }))
    .unwrap()
}

fn ledger() -> Ledger {
    let net = |host| Ipv4Addr::new(192, 168, 99, host);
    Ledger::new(vec![
        Pool::new("default", net(100), net(101), None),
        Pool::new("arp", net(128), net(129), Some(("mdhlabs-arp", "enable"))),
    ])
}

fn last_octets(addresses: &[Ipv4Addr]) -> Vec<u8> {
    addresses.iter().map(|address| address.octets()[3]).collect()
}

#[test]
fn the_labels_at_first_sight_choose_the_pool_for_good() {
    let mut ledger = ledger();
    assert_eq!(last_octets(&ledger.addresses(&service("a", None, &[], 80))), [100]);
    assert_eq!(last_octets(&ledger.addresses(&service("a", Some("enable"), &[], 80))), [100]);
    assert_eq!(last_octets(&ledger.addresses(&service("b", Some("enable"), &[], 80))), [128]);
    assert_eq!(last_octets(&ledger.addresses(&service("b", None, &[], 80))), [128]);
}

#[test]
fn an_exhausted_pool_gives_nothing_until_something_is_released() {
    let mut ledger = ledger();
    let services: Vec<_> =
        ["a", "b", "c"].iter().map(|name| service(name, Some("enable"), &[], 80)).collect();
    let given: Vec<_> = services.iter().map(|service| last_octets(&ledger.addresses(service))).collect();
    assert_eq!(given, [vec![128], vec![129], vec![]]);
    ledger.release(&services[0]);
    assert_eq!(last_octets(&ledger.addresses(&services[2])), [128]);
}

#[test]
fn a_requested_address_is_given_only_from_a_pool_that_selects_the_service() {
    let mut ledger = ledger();
    let wish = |address| [("lbipam.cilium.io/ips", address)];
    assert_eq!(
        last_octets(&ledger.addresses(&service("a", Some("enable"), &wish("192.168.99.129"), 80))),
        [129]
    );
    assert_eq!(
        last_octets(&ledger.addresses(&service("b", None, &wish("192.168.99.128"), 80))),
        Vec::<u8>::new()
    );
    assert_eq!(
        last_octets(&ledger.addresses(&service("c", Some("enable"), &wish("192.168.99.129"), 80))),
        Vec::<u8>::new()
    );
}

#[test]
fn a_sharing_key_shares_an_address_unless_ports_collide() {
    let mut ledger = ledger();
    let key = [("lbipam.cilium.io/sharing-key", "one")];
    assert_eq!(last_octets(&ledger.addresses(&service("a", Some("enable"), &key, 80))), [128]);
    assert_eq!(last_octets(&ledger.addresses(&service("b", Some("enable"), &key, 443))), [128]);
    assert_eq!(last_octets(&ledger.addresses(&service("c", Some("enable"), &key, 80))), [129]);
}

#[test]
fn other_kinds_of_service_get_nothing() {
    let mut ledger = ledger();
    let mut cluster_ip = service("a", Some("enable"), &[], 80);
    cluster_ip.spec.as_mut().unwrap().type_ = Some("ClusterIP".to_owned());
    assert!(ledger.addresses(&cluster_ip).is_empty());
    let mut foreign = service("b", Some("enable"), &[], 80);
    foreign.spec.as_mut().unwrap().load_balancer_class = Some("example.com/other".to_owned());
    assert!(ledger.addresses(&foreign).is_empty());
}
