// SPDX-License-Identifier: Apache-2.0

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::json;

use super::strangers::touched;
use super::*;

fn set<S: FromIterator<String>, const N: usize>(items: [&str; N]) -> S {
    items.into_iter().map(str::to_owned).collect()
}

fn session() -> Session {
    Session {
        node: "node_a.example".into(),
        id: Some("5f_c0".into()),
        other_format: false,
        ended: vec![
            Ended { id: "a1".into(), by: EndedBy::Lapse },
            Ended { id: "a2".into(), by: EndedBy::Shutdown },
        ],
        duration_seconds: 4,
        nonce: "n1".into(),
        policies: set(["mdhlabs-layer2-policy"]),
        links: vec![LinkNote { name: "ens18".into(), mac: "02:00:00:00:00:01".into(), up: true }],
        bids: ["192.168.99.130".parse().unwrap(), "fd00::c".parse().unwrap()].into(),
        boot_id: "b".into(),
        network_namespace: 4_026_531_840,
    }
}

fn claim(holder: Holder) -> Claim {
    Claim {
        address: "192.168.99.128".parse().unwrap(),
        holder,
        duration_seconds: 4,
        transitions: 7,
        nonce: "n2".into(),
        services: set(["prod/cilium-gateway-cd-arp-gw"]),
        interfaces: set(["ens18"]),
        unproven: false,
        touched: false,
    }
}

fn through(record: &Record) -> Result<(Version, Record), Unreadable> {
    let version = Version { uid: "u".into(), resource_version: 12 };
    read(&write(record, "gateherald-system", None, Some(&version), Timestamp::UNIX_EPOCH))
}

#[test]
fn what_is_written_is_read_back() {
    let node = || "a".to_owned();
    for record in [
        Record::Session(session()),
        Record::Session(Session { id: None, ..session() }),
        Record::Claim(claim(Holder::Session { node: node(), session: "s".into() })),
        Record::Claim(Claim {
            unproven: true,
            ..claim(Holder::Session { node: node(), session: "s".into() })
        }),
        Record::Claim(claim(Holder::Released { node: node(), session: "s".into(), favours: None })),
        Record::Claim(claim(Holder::Released {
            node: node(),
            session: "s".into(),
            favours: Some("b".into()),
        })),
        Record::Claim(Claim {
            address: "fd00::c".parse().unwrap(),
            ..claim(Holder::Session { node: node(), session: "s".into() })
        }),
    ] {
        let (version, read) = through(&record).unwrap();
        assert_eq!(read, record);
        assert_eq!(version.resource_version, 12);
    }
}

/// A node whose clock was stepped by an hour tells its Leases other times, and nobody anything else.
#[test]
fn the_time_of_day_is_written_and_never_read() {
    let hour = k8s_openapi::jiff::SignedDuration::from_hours(1);
    let version = Version { uid: "u".into(), resource_version: 1 };
    let held = Holder::Session { node: "a".into(), session: "s".into() };
    for record in [Record::Session(session()), Record::Claim(claim(held))] {
        let at = |now| write(&record, "ns", None, Some(&version), now);
        let (before, after) = (at(Timestamp::UNIX_EPOCH), at(Timestamp::UNIX_EPOCH + hour));
        assert_ne!(before.spec, after.spec, "people see the time");
        assert_eq!(read(&before).unwrap(), read(&after).unwrap());
    }
}

#[test]
fn names_are_stable_and_readable() {
    let name = |text: &str| names::of(&Key::Claim(text.parse().unwrap()));
    assert_eq!(name("192.168.99.128"), "gateherald-vip-192.168.99.128");
    assert_eq!(name("fd00::c"), "gateherald-vip-fd00-0000-0000-0000-0000-0000-0000-000c");
    for text in ["192.168.99.128", "fd00::c", "::ffff:10.0.0.1"] {
        assert_eq!(names::claimed_address(&name(text)), Some(text.parse().unwrap()));
    }
    for foreign in
        ["gateherald-vip-", "gateherald-vip-x", "gateherald-vip-fd00::c", "gateherald-vip-01.2.3.4", "kube"]
    {
        assert_eq!(names::claimed_address(foreign), None, "{foreign}");
    }
}

#[test]
fn long_node_names_are_cut_to_a_valid_and_unequal_name() {
    let long = |end: &str| names::of(&Key::Session(format!("{}.{end}", "n".repeat(183)) + &"x".repeat(60)));
    let (one, other) = (long("one"), long("two"));
    assert!(one.len() <= 253 && one != other, "{one}");
    assert!(!one.contains(".-") && one.starts_with("gateherald-node-nnn"), "{one}");
}

#[test]
fn an_emptied_claim_is_a_strangers_unless_its_holder_left_the_marker() {
    let held = Record::Claim(claim(Holder::Session { node: "a".into(), session: "s".into() }));
    let mut lease = write(
        &held,
        "ns",
        None,
        Some(&Version { uid: "u".into(), resource_version: 1 }),
        Timestamp::UNIX_EPOCH,
    );
    lease.spec.as_mut().unwrap().holder_identity = Some(String::new());
    let Record::Claim(read) = read(&lease).unwrap().1 else { panic!("a claim") };
    assert_eq!(read.holder, Holder::Stranger);
}

/// What every format keeps to: see the module.
#[test]
fn of_another_format_only_the_spec_is_read() {
    let held = Holder::Session { node: "a".into(), session: "s".into() };
    let released = Holder::Released { node: "a".into(), session: "s".into(), favours: None };
    let of_format_2 = |record: &Record| {
        let version = Version { uid: "u".into(), resource_version: 1 };
        let mut lease = write(record, "ns", None, Some(&version), Timestamp::UNIX_EPOCH);
        lease.metadata.annotations.as_mut().unwrap().insert(FORMAT_KEY.into(), "2".into());
        read(&lease).unwrap().1
    };
    let sessions = [(Some("5f_c0".to_owned()), Some("node_a.example_5f_c0".to_owned())), (None, None)];
    for (id, opaque) in sessions {
        let Record::Session(read) = of_format_2(&Record::Session(Session { id, ..session() })) else {
            panic!("a session")
        };
        let node = "node_a.example".into();
        let known =
            Session { node, id: opaque, other_format: true, duration_seconds: 4, ..Session::default() };
        assert_eq!(read, known);
    }
    for (holder, expected) in [(held, Holder::OtherFormat { node: "a".into() }), (released, Holder::Stranger)]
    {
        let Record::Claim(read) = of_format_2(&Record::Claim(claim(holder))) else { panic!("a claim") };
        assert_eq!((read.holder, read.transitions, read.duration_seconds), (expected, 7, 4));
    }
}

#[test]
fn a_session_whose_node_annotation_is_gone_is_of_another_format() {
    let version = Version { uid: "u".into(), resource_version: 1 };
    let mut lease = write(&Record::Session(session()), "ns", None, Some(&version), Timestamp::UNIX_EPOCH);
    lease.metadata.annotations.as_mut().unwrap().remove(NODE_KEY);
    let Record::Session(read) = read(&lease).unwrap().1 else { panic!("a session") };
    assert_eq!((read.node.as_str(), read.other_format), ("node_a.example", true));
}

#[test]
fn only_another_managers_hand_on_who_holds_it_counts() {
    let entry = |manager: &str, fields: serde_json::Value| ManagedFieldsEntry {
        manager: Some(manager.into()),
        fields_v1: Some(FieldsV1(fields)),
        ..ManagedFieldsEntry::default()
    };
    let session = json!({"f:metadata": {"f:annotations": {"f:gateherald.io/session": {}}}});
    let note = json!({"f:metadata": {"f:annotations": {"f:example.org/note": {}}, "f:labels": {"f:a": {}}}});
    assert!(touched(&[entry("kubectl-edit", session.clone())]));
    assert!(!touched(&[entry(FIELD_MANAGER, session)]));
    assert!(!touched(&[entry("kubectl-label", note)]));
    assert!(!touched(&[]));
}

#[test]
fn unreadable_leases_say_why() {
    let (_, record) = through(&Record::Session(session())).unwrap();
    let unversioned = write(&record, "ns", None, None, Timestamp::UNIX_EPOCH);
    assert!(matches!(read(&unversioned), Err(Unreadable::NoVersion(_))));
    let mut renamed = unversioned.clone();
    renamed.metadata.name = Some(format!("gateherald-node-{}-0123456789", "n".repeat(190)));
    assert!(matches!(read(&renamed), Err(Unreadable::NoNode(_))));
    renamed.metadata.name = Some("gateherald-vip-other".into());
    assert!(matches!(read(&renamed), Err(Unreadable::NoAddress(_))));
    renamed.metadata.name = Some("other".into());
    assert!(matches!(read(&renamed), Err(Unreadable::ForeignName(_))));
}
