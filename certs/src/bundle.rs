// SPDX-License-Identifier: Apache-2.0
//! The CA bundle of the webhook's registration: what it must hold, and whether it verifies our leaf.

use std::sync::Arc;

use jiff::Timestamp;
use pem::{EncodeConfig, LineEnding, Pem};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::CryptoProvider,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};

use crate::authority::Validity;

/// The certificates of a PEM bundle; what cannot be read is left out.
pub fn read(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()
}

/// The live bundle made what it should be: `required` first, then what others put there as long as it is valid. What is
/// retired, expired or broken goes.
pub fn merge(
    live: &[u8],
    required: &[CertificateDer<'static>],
    retired: &[CertificateDer<'static>],
    now: Timestamp,
) -> Vec<CertificateDer<'static>> {
    let mut merged = required.to_vec();
    for certificate in read(live) {
        let over = validity(&certificate).is_none_or(|validity| validity.is_over(now));
        if !over && !retired.contains(&certificate) && !merged.contains(&certificate) {
            merged.push(certificate);
        }
    }
    merged
}

/// PEM text of certificates.
pub fn write(certificates: &[CertificateDer<'_>]) -> String {
    let lines = EncodeConfig::new().set_line_ending(LineEnding::LF);
    let encode = |certificate: &CertificateDer<'_>| {
        pem::encode_config(&Pem::new("CERTIFICATE", certificate.to_vec()), lines)
    };
    certificates.iter().map(encode).collect()
}

/// Whether a client that trusts this bundle accepts `chain`, the leaf first, as `server_name` now; the text says why not.
pub fn verifies(
    bundle: &[u8],
    chain: &[CertificateDer<'_>],
    server_name: &str,
    now: Timestamp,
) -> Result<(), String> {
    let (leaf, intermediates) = chain.split_first().ok_or("there is no certificate")?;
    let held = read(bundle);
    if held.is_empty() {
        return Err("it is empty".into());
    }
    let mut roots = RootCertStore::empty();
    // webpki takes an anchor at any time, the API server only one that is valid.
    let valid = |certificate: &CertificateDer<'_>| validity(certificate).is_some_and(|v| v.contains(now));
    roots.add_parsable_certificates(held.into_iter().filter(valid));
    if roots.is_empty() {
        return Err("no CA in it is valid now".into());
    }
    let name = ServerName::try_from(server_name).map_err(|error| format!("{server_name}: {error}"))?;
    let provider = CryptoProvider::get_default().ok_or("no crypto provider is installed")?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| error.to_string())?;
    let seconds = u64::try_from(now.as_second()).map_err(|_| "the clock is before 1970")?;
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    verifier.verify_server_cert(leaf, intermediates, &name, &[], now).map_err(|error| error.to_string())?;
    Ok(())
}

/// When a certificate is valid; `None` if it cannot be read.
pub fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(Validity::of(&parsed))
}

#[cfg(test)]
mod tests;
