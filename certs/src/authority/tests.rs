// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::bundle;

const LIFETIMES: Lifetimes = Lifetimes::DEFAULT;
const NAME: &str = "gateherald-webhook.gateherald-system.svc";

fn now() -> Timestamp {
    "2025-03-01T12:00:00Z".parse().unwrap()
}

fn verifies(ca: &Authority, leaf: &Identity, name: &str, at: Timestamp) -> Result<(), String> {
    gateherald_runtime::crypto::install_provider();
    bundle::verifies(ca.certificate_pem().as_bytes(), &leaf.chain, name, at)
}

#[test]
fn a_leaf_verifies_for_its_name_while_both_are_valid() {
    let ca = Authority::generate(now(), &LIFETIMES).unwrap();
    let leaf = ca.issue(NAME, now(), &LIFETIMES).unwrap();
    assert_eq!(verifies(&ca, &leaf, NAME, now()), Ok(()));
    // A verifier whose clock is nine minutes behind.
    assert_eq!(verifies(&ca, &leaf, NAME, now() - SignedDuration::from_mins(9)), Ok(()));
    for (name, at) in [
        ("other.gateherald-system.svc", now()),
        (NAME, now() - SignedDuration::from_mins(11)),
        (NAME, now() + LIFETIMES.leaf + SignedDuration::from_secs(1)),
    ] {
        assert!(verifies(&ca, &leaf, name, at).is_err(), "{name} {at}");
    }
}

#[test]
fn another_ca_does_not_verify_the_leaf() {
    let (one, two) =
        (Authority::generate(now(), &LIFETIMES).unwrap(), Authority::generate(now(), &LIFETIMES).unwrap());
    let leaf = one.issue(NAME, now(), &LIFETIMES).unwrap();
    assert!(verifies(&two, &leaf, NAME, now()).is_err());
}

#[test]
fn a_ca_reads_back_and_signs_for_the_one_that_was_written() {
    let ca = Authority::generate(now(), &LIFETIMES).unwrap();
    let again = Authority::load(ca.certificate_pem(), ca.key_pem()).unwrap();
    assert_eq!(again.validity(), ca.validity());
    assert_eq!(again.validity().not_after, now() + LIFETIMES.ca);
    let leaf = again.issue(NAME, now(), &LIFETIMES).unwrap();
    assert_eq!(verifies(&ca, &leaf, NAME, now()), Ok(()));
}

#[test]
fn a_leaf_never_outlives_its_ca_and_is_renewed_when_a_third_is_left() {
    let ca = Authority::generate(now(), &LIFETIMES).unwrap();
    let leaf = ca.issue(NAME, now(), &LIFETIMES).unwrap();
    assert_eq!(leaf.validity.renew_at(LIFETIMES.backdate()), now() + LIFETIMES.leaf * 2 / 3);
    let late = ca.validity().not_after - SignedDuration::from_hours(1);
    assert_eq!(ca.issue(NAME, late, &LIFETIMES).unwrap().validity.not_after, ca.validity().not_after);
}

#[test]
fn what_cannot_sign_is_refused_with_its_reason() {
    let (ca, other) =
        (Authority::generate(now(), &LIFETIMES).unwrap(), Authority::generate(now(), &LIFETIMES).unwrap());
    let leaf = ca.issue(NAME, now(), &LIFETIMES).unwrap();
    let leaf_pem = bundle::write(&leaf.chain);
    let load = |certificate: &str, key: &str| Authority::load(certificate, key).unwrap_err();
    assert!(matches!(load("", ca.key_pem()), AuthorityError::Certificate(_)));
    assert!(matches!(load(ca.certificate_pem(), "x"), AuthorityError::Key(_)));
    assert!(matches!(load(ca.certificate_pem(), other.key_pem()), AuthorityError::Mismatch));
    assert!(matches!(load(&leaf_pem, ca.key_pem()), AuthorityError::NotAnAuthority));
}

#[test]
fn a_key_is_never_printed() {
    let ca = Authority::generate(now(), &LIFETIMES).unwrap();
    assert!(!format!("{ca:?}").contains("PRIVATE KEY"));
}
