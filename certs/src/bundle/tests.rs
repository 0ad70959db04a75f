// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::authority::{Authority, CA_LIFE};

fn now() -> Timestamp {
    "2025-03-01T12:00:00Z".parse().unwrap()
}

fn ca(made: Timestamp) -> Authority {
    Authority::generate(made).unwrap()
}

#[test]
fn merging_keeps_other_cas_drops_expired_ones_and_garbage_and_repeats_nothing() {
    let (ours, theirs, expired) = (ca(now()), ca(now()), ca(now() - CA_LIFE * 2));
    let live = [
        theirs.certificate_pem(),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        expired.certificate_pem(),
        ours.certificate_pem(),
        "text that is no PEM\n",
    ]
    .concat();
    let merged = merge(live.as_bytes(), std::iter::once(ours.certificate()), now());
    assert_eq!(merged, [ours.certificate().clone(), theirs.certificate().clone()]);
    let again = merge(write(&merged).as_bytes(), std::iter::once(ours.certificate()), now());
    assert_eq!(again, merged);
}

#[test]
fn an_absent_bundle_becomes_ours() {
    let ours = ca(now());
    assert_eq!(merge(b"", std::iter::once(ours.certificate()), now()), [ours.certificate().clone()]);
}

#[test]
fn an_empty_bundle_verifies_nothing_and_says_so() {
    let leaf = ca(now()).issue("a.b.svc", now()).unwrap();
    assert_eq!(verifies(b"", &leaf.certificate, "a.b.svc", now()), Err("it is empty".into()));
}
