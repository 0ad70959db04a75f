// SPDX-License-Identifier: Apache-2.0
use jiff::SignedDuration;
use pem::Pem;

use super::*;
use crate::{authority::Authority, lifetimes::Lifetimes};

const LIFETIMES: Lifetimes = Lifetimes::DEFAULT;
const NAME: &str = "gateherald-webhook.gateherald-system.svc";

fn now() -> Timestamp {
    "2025-03-01T12:00:00Z".parse().unwrap()
}

/// Certificate and key as a Secret of type kubernetes.io/tls holds them.
fn files(name: &str, made: Timestamp) -> (Vec<u8>, Vec<u8>) {
    let leaf = Authority::generate(made, &LIFETIMES).unwrap().issue(name, made, &LIFETIMES).unwrap();
    let key = pem::encode(&Pem::new("PRIVATE KEY", leaf.key.secret_der()));
    (bundle::write(&leaf.chain).into_bytes(), key.into_bytes())
}

fn read(certificate: &[u8], key: &[u8]) -> Result<Identity, IdentityError> {
    gateherald_runtime::crypto::install_provider();
    Identity::read(certificate, key, NAME, now())
}

#[test]
fn a_pair_for_our_name_is_served_with_its_chain() {
    let (certificate, key) = files(NAME, now());
    let intermediate = Authority::generate(now(), &LIFETIMES).unwrap();
    let chain = [&*certificate, intermediate.certificate_pem().as_bytes()].concat();
    let identity = read(&chain, &key).unwrap();
    assert_eq!(identity.chain.len(), 2);
    assert_eq!(identity.validity.not_after, now() + LIFETIMES.leaf);
    assert!(read(&files("*.gateherald-system.svc", now()).0, &key).is_err(), "another key");
}

#[test]
fn a_wildcard_for_our_namespace_is_enough() {
    let (certificate, key) = files("*.gateherald-system.svc", now());
    assert!(read(&certificate, &key).is_ok());
}

#[test]
fn what_cannot_be_served_is_named() {
    let (certificate, key) = files(NAME, now());
    let (_, other_key) = files(NAME, now());
    let (other_name, its_key) = files("webhook.example.com", now());
    let day = SignedDuration::from_hours(24);
    let (old, old_key) = files(NAME, now() - day * 8);
    let (future, future_key) = files(NAME, now() + day);
    for (certificate, key, problem, text) in [
        (
            &b""[..],
            &key[..],
            IdentityProblem::Malformed,
            "tls.crt holds no certificate that can be used: there is none",
        ),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &key,
            IdentityProblem::Malformed,
            "it cannot be parsed",
        ),
        (&certificate, b"", IdentityProblem::Malformed, "tls.key holds no key that can be used"),
        (
            &certificate,
            &other_key,
            IdentityProblem::Mismatch,
            "tls.key is not the key of the certificate in tls.crt",
        ),
        (
            &other_name,
            &its_key,
            IdentityProblem::WrongName,
            "is not for gateherald-webhook.gateherald-system.svc, by which the API server calls, but for webhook.example.com",
        ),
        (&old, &old_key, IdentityProblem::Expired, "expired at 2025-02-28T12:00:00Z"),
        (&future, &future_key, IdentityProblem::NotYetValid, "is not valid before 2025-03-02T11:50:00Z"),
    ] {
        let error = read(certificate, key).unwrap_err();
        assert_eq!(error.problem(), problem, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
}
