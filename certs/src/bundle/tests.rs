// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::{authority::Authority, lifetimes::Lifetimes};

const LIFETIMES: Lifetimes = Lifetimes::DEFAULT;

fn now() -> Timestamp {
    "2025-03-01T12:00:00Z".parse().unwrap()
}

fn ca(made: Timestamp) -> Authority {
    Authority::generate(made, &LIFETIMES).unwrap()
}

#[test]
fn merging_keeps_other_cas_drops_what_is_over_and_garbage_and_repeats_nothing() {
    let (ours, theirs, expired, retired) = (ca(now()), ca(now()), ca(now() - LIFETIMES.ca), ca(now()));
    let live = [
        theirs.certificate_pem(),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        expired.certificate_pem(),
        ours.certificate_pem(),
        retired.certificate_pem(),
        "text that is no PEM\n",
    ]
    .concat();
    let (required, retired) = ([ours.certificate().clone()], [retired.certificate().clone()]);
    let merged = merge(live.as_bytes(), &required, &retired, now());
    assert_eq!(merged, [ours.certificate().clone(), theirs.certificate().clone()]);
    assert_eq!(merge(write(&merged).as_bytes(), &required, &retired, now()), merged);
}

#[test]
fn an_absent_bundle_becomes_ours() {
    let required = [ca(now()).certificate().clone()];
    assert_eq!(merge(b"", &required, &[], now()), required);
}

#[test]
fn a_bundle_that_verifies_nothing_says_so() {
    gateherald_runtime::crypto::install_provider();
    let ca = ca(now());
    let chain = ca.issue("a.b.svc", now(), &LIFETIMES).unwrap().chain;
    let bundle = ca.certificate_pem().as_bytes();
    assert_eq!(verifies(bundle, &chain, "a.b.svc", now()), Ok(()));
    assert_eq!(verifies(b"", &chain, "a.b.svc", now()), Err("it is empty".into()));
    // Like the API server, and unlike webpki: a CA is only good in its own time.
    let over = now() + LIFETIMES.ca * 2;
    assert_eq!(verifies(bundle, &chain, "a.b.svc", over), Err("no CA in it is valid now".into()));
    assert_eq!(verifies(bundle, &[], "a.b.svc", now()), Err("there is no certificate".into()));
}
