// SPDX-License-Identifier: Apache-2.0
use gateherald_model::leases::{LinkNote, Version};

use super::*;

fn session(node: &str, macs: &[&str]) -> (Version, Record) {
    let link = |mac: &&str| LinkNote { name: "ens18".to_owned(), mac: (*mac).to_owned(), up: true };
    let session =
        Session { node: node.to_owned(), links: macs.iter().map(link).collect(), ..Session::default() };
    (Version { uid: "1".to_owned(), resource_version: 1 }, Record::Session(session))
}

fn changed((version, record): (Version, Record)) -> LeaseEvent {
    LeaseEvent::Changed(version, record)
}

fn macs(last: &[u8]) -> Vec<MacAddr> {
    last.iter().map(|octet| MacAddr([2, 0, 0, 0, 0, *octet])).collect()
}

fn see(peers: &mut Peers, event: &LeaseEvent) -> Option<Vec<MacAddr>> {
    peers.see(event).map(|all| all.iter().copied().collect())
}

#[test]
fn links_of_other_nodes_come_change_and_go_with_their_sessions() {
    let mut peers = Peers::new("me".to_owned());
    let leases = vec![
        session("me", &["02:00:00:00:00:01"]),
        session("n2", &["02:00:00:00:00:02", "no address"]),
        session("n3", &["02:00:00:00:00:03"]),
    ];
    let listed = LeaseEvent::Listed { leases, revision: 1 };
    assert_eq!(see(&mut peers, &listed), Some(macs(&[2, 3])));
    assert_eq!(see(&mut peers, &listed), None, "nothing new");
    assert_eq!(see(&mut peers, &changed(session("n2", &["02:00:00:00:00:04"]))), Some(macs(&[3, 4])));
    assert_eq!(see(&mut peers, &changed(session("me", &["02:00:00:00:00:05"]))), None);
    assert_eq!(see(&mut peers, &LeaseEvent::Interrupted), None);
    assert_eq!(see(&mut peers, &LeaseEvent::Gone(Key::Session("n3".to_owned()), 9)), Some(macs(&[4])));
    let empty = LeaseEvent::Listed { leases: Vec::new(), revision: 10 };
    assert_eq!(see(&mut peers, &empty), Some(macs(&[])));
}
