// SPDX-License-Identifier: Apache-2.0
use gateherald_model::leases::{Claim, Holder, Record};
use k8s_openapi::jiff::Timestamp;

use super::*;

fn claim() -> Record {
    Record::Claim(Claim {
        address: "192.168.99.128".parse().unwrap(),
        holder: Holder::Session { node: "worker-1".to_owned(), session: "s1".to_owned() },
        duration_seconds: 4,
        transitions: 1,
        nonce: "n1".to_owned(),
        services: ["prod/web".to_owned()].into(),
        interfaces: ["ens18".to_owned()].into(),
        unproven: false,
        touched: false,
    })
}

fn version() -> Version {
    Version { uid: "u1".to_owned(), resource_version: 41 }
}

fn stored() -> Vec<u8> {
    let version = Version { uid: "u1".to_owned(), resource_version: 42 };
    serde_json::to_vec(&leases::write(
        &claim(),
        "gateherald-system",
        None,
        Some(&version),
        Timestamp::UNIX_EPOCH,
    ))
    .unwrap()
}

#[test]
fn only_a_plain_success_counts_as_written() {
    let written = Answer::Written(Version { uid: "u1".to_owned(), resource_version: 42 });
    let replace = || Write::Replace(version(), claim());
    for (write, status, expected) in [
        (Write::Create(claim()), 201, written.clone()),
        (Write::Create(claim()), 200, Answer::Unknown),
        (replace(), 200, written),
        // It created an object although one was to be replaced.
        (replace(), 201, Answer::Unknown),
        (replace(), 202, Answer::Unknown),
        (replace(), 404, Answer::Conflict),
        (replace(), 409, Answer::Conflict),
        (replace(), 400, Answer::Refused),
        (replace(), 401, Answer::Refused),
        (replace(), 403, Answer::Refused),
        (replace(), 422, Answer::Refused),
        (replace(), 429, Answer::Refused),
        (replace(), 500, Answer::Unknown),
        (replace(), 503, Answer::Unknown),
        (replace(), 504, Answer::Unknown),
        (Write::Delete(version(), claim().key()), 200, Answer::Written(version())),
        (Write::Delete(version(), claim().key()), 409, Answer::Conflict),
    ] {
        let outcome = judge(&write, status, &stored());
        assert_eq!(outcome.answer, expected, "{write:?} answered {status}");
        assert_eq!(outcome.said.is_none(), matches!(expected, Answer::Written(_)));
    }
}

#[test]
fn a_success_without_a_readable_object_is_unknown() {
    for body in [&b""[..], b"{", b"{}", br#"{"kind":"Status"}"#] {
        assert_eq!(judge(&Write::Create(claim()), 201, body).answer, Answer::Unknown);
    }
}

#[test]
fn a_refusal_names_the_verb_and_the_resource() {
    let body = br#"{"kind":"Status","message":"leases is forbidden: User x cannot update"}"#;
    let said = judge(&Write::Replace(version(), claim()), 403, body).said.unwrap();
    assert!(
        said.starts_with("RBAC does not allow to update leases.coordination.k8s.io: leases is forbidden"),
        "{said}"
    );
}

#[test]
fn leases_of_other_names_are_no_news() {
    let mut lease = Lease::default();
    lease.metadata.name = Some("kube-scheduler".to_owned());
    let unreadable = leases::read(&lease).unwrap_err();
    assert!(ignored(unreadable).is_none());
}

#[test]
fn a_list_without_a_number_for_its_version_is_a_failure() {
    assert!(matches!(listed(Vec::new(), "12"), News::Event(LeaseEvent::Listed { revision: 12, .. })));
    assert!(matches!(listed(Vec::new(), ""), News::Failed(..)));
}
