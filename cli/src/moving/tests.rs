// SPDX-License-Identifier: Apache-2.0
use serde_json::json;

use super::*;
use crate::fixtures::{object, story};

const VIP: &str = "192.168.99.128";

fn vip() -> IpAddr {
    VIP.parse().unwrap()
}

/// The story with another worker, whose announcer may take the address.
fn two_workers() -> crate::snapshot::Snapshot {
    story(|o| {
        let mut node = object(o, "Node", "worker-1").clone();
        node["metadata"] = json!({ "name": "worker-2", "labels": {} });
        o.push(node);
        let mut lease = object(o, "Lease", "gateherald-node-worker-1").clone();
        lease["metadata"]["name"] = json!("gateherald-node-worker-2");
        lease["metadata"]["annotations"]["gateherald.io/node"] = json!("worker-2");
        lease["spec"]["holderIdentity"] = json!("worker-2_abc");
        o.push(lease);
    })
}

#[test]
fn a_move_names_its_services_and_both_nodes() {
    let snapshot = two_workers();
    let plan = plan(&Picture::new(&snapshot, None), vip(), "worker-2").unwrap();
    assert_eq!(plan.services, [ServiceKey::new("prod", "cilium-gateway-cd-arp-gw")]);
    assert_eq!((plan.from.as_deref(), plan.to.as_str()), (Some("worker-1"), "worker-2"));
}

#[test]
fn a_move_that_cannot_be_made_says_what_stands_in_its_way() {
    let snapshot = two_workers();
    let picture = Picture::new(&snapshot, None);
    let refused = |address: &str, node: &str| plan(&picture, address.parse().unwrap(), node).unwrap_err();
    assert!(refused(VIP, "control-1").contains("NodeNotSelected"));
    assert!(refused(VIP, "worker-9").contains("no node worker-9"));
    assert!(refused("192.0.2.1", "worker-2").contains("no Service has"));
    let silent =
        story(|o| object(o, "Lease", "gateherald-node-worker-1")["spec"]["holderIdentity"] = json!(""));
    assert!(plan(&Picture::new(&silent, None), vip(), "worker-1").unwrap_err().contains("GH040"));
}

#[test]
fn an_address_that_only_one_node_may_announce_is_stranded() {
    let alone = story(|_| {});
    assert_eq!(stranded(&Picture::new(&alone, None), "worker-1", &[vip()]), [vip()]);
    let two = two_workers();
    let picture = Picture::new(&two, None);
    assert_eq!(stranded(&picture, "worker-1", &[vip()]), [] as [IpAddr; 0]);
    assert_eq!(held_by(&picture, "worker-1"), [vip()]);
}

#[test]
fn the_gap_is_from_release_to_take() {
    let at = Duration::from_millis;
    let holder = |name: &str| Some(name.to_owned());
    let mut log = Log::new([(vip(), holder("a"))].into());
    log.see(vip(), None, at(100));
    assert!(!log.left("a", &[vip()]));
    log.see(vip(), holder("b"), at(130));
    assert!(log.left("a", &[vip()]));
    assert_eq!(log.gaps[&vip()], at(30));
    log.see(vip(), holder("c"), at(200));
    assert_eq!(log.gaps[&vip()], Duration::ZERO);
}
