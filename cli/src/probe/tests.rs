// SPDX-License-Identifier: Apache-2.0
use gateherald_wire::ArpRepr;

use super::*;

const ASKER: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const OWNER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);

fn bytes(frame: NeighborFrame) -> Vec<u8> {
    let mut buffer = [0xa5; NeighborFrame::MAX_LEN];
    frame.emit(&mut buffer).unwrap().to_vec()
}

fn answer(interface: &str, mac: MacAddr) -> Answer {
    Answer { interface: interface.to_owned(), mac, after: Duration::from_micros(120) }
}

#[test]
fn a_host_with_an_address_asks_and_one_without_probes() {
    let vip = "192.168.99.128".parse().unwrap();
    let own = Some("192.168.99.1".parse().unwrap());
    let NeighborFrame::Arp(asks) = question(ASKER, own, vip) else { panic!() };
    assert_eq!(asks.arp.spa, Ipv4Addr::new(192, 168, 99, 1));
    for none in [None, Some("fe80::1".parse().unwrap())] {
        let NeighborFrame::Arp(probes) = question(ASKER, none, vip) else { panic!() };
        assert!(probes.arp.spa.is_unspecified());
    }
    assert!(
        matches!(question(ASKER, None, "fd00::1".parse().unwrap()), NeighborFrame::Ndp(f) if f.from.is_unspecified())
    );
}

#[test]
fn only_who_speaks_for_the_address_answers() {
    let vip = Ipv4Addr::new(192, 168, 99, 128);
    let request = ArpRepr { ..ArpFrame::request(ASKER, Ipv4Addr::new(192, 168, 99, 1), vip).arp };
    let reply = bytes(ArpFrame::reply(&request, OWNER).into());
    assert_eq!(answerer(&reply, vip.into()), Ok(Some(OWNER)));
    assert_eq!(answerer(&reply, "192.168.99.129".parse().unwrap()), Ok(None));
    let asks = bytes(ArpFrame::request(ASKER, Ipv4Addr::new(192, 168, 99, 1), vip).into());
    assert_eq!(answerer(&asks, vip.into()), Ok(None));
    assert!(answerer(&[0; 7], vip.into()).is_err());
}

#[test]
fn neighbour_advertisements_answer_for_ipv6() {
    let vip: Ipv6Addr = "fd00:99::128".parse().unwrap();
    let solicit = NdpFrame::solicit(ASKER, "fe80::1".parse().unwrap(), vip);
    let advert = bytes(NdpFrame::answer(&solicit, OWNER, "fe80::2".parse().unwrap()).into());
    assert_eq!(answerer(&advert, vip.into()), Ok(Some(OWNER)));
    assert_eq!(answerer(&bytes(solicit.into()), vip.into()), Ok(None));
}

#[test]
fn two_hosts_on_one_interface_are_a_conflict() {
    assert_eq!(verdict(&[]), Verdict::Nobody);
    assert_eq!(verdict(&[answer("a", OWNER), answer("a", OWNER), answer("b", OTHER)]), Verdict::One);
    assert_eq!(verdict(&[answer("a", OWNER), answer("a", OTHER)]), Verdict::Conflict);
}

#[test]
fn nodes_are_named() {
    let known = [(OWNER.to_string(), "worker-1".to_owned())].into();
    let text =
        told("192.168.99.128".parse().unwrap(), &[answer("eth0", OWNER)], &["eth0".to_owned()], &known);
    assert_eq!(
        text,
        "192.168.99.128 is at 02:00:00:00:00:02 (node worker-1) on eth0, 0.120 ms\none host answers for 192.168.99.128\n"
    );
}

#[test]
fn a_node_that_has_the_address_itself_hears_nobody() {
    let page = |verdict: &str, answers: serde_json::Value| -> NodePage {
        serde_json::from_value(serde_json::json!({
            "version": 1, "node": "worker-1", "address": "192.168.99.128", "verdict": verdict, "ownedHere": true,
            "holder": "worker-1",
            "interfaces": [{ "index": 2, "name": "ens18", "asked": 3, "error": null, "answers": answers }],
        }))
        .unwrap()
    };
    let vip = "192.168.99.128".parse().unwrap();
    let (text, one) = page("this-node", serde_json::json!([])).told(vip, &BTreeMap::new());
    assert!(one && text.contains("node worker-1 itself has it"), "{text}");
    let answer = serde_json::json!([{ "mac": "02:00:00:00:00:02", "node": "worker-2", "count": 3,
        "fastestMicroseconds": 120, "slowestMicroseconds": 300 }]);
    let (text, one) = page("answered", answer).told(vip, &BTreeMap::new());
    assert!(one && text.contains("02:00:00:00:00:02 (node worker-2) on ens18, 120 µs"), "{text}");
    assert!(!page("conflict", serde_json::json!([])).told(vip, &BTreeMap::new()).1);
}
