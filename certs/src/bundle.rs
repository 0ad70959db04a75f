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

/// The live bundle with ours added: other replicas' CAs stay until they expire, broken and expired ones go.
pub fn merge<'a>(
    live: &[u8],
    ours: impl Iterator<Item = &'a CertificateDer<'static>>,
    now: Timestamp,
) -> Vec<CertificateDer<'static>> {
    let mut merged: Vec<_> = ours.cloned().collect();
    for certificate in read(live) {
        if is_current(&certificate, now) && !merged.contains(&certificate) {
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

/// Whether a client that trusts this bundle accepts `leaf` as `server_name` now; the text says why not.
pub fn verifies(
    bundle: &[u8],
    leaf: &CertificateDer<'_>,
    server_name: &str,
    now: Timestamp,
) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read(bundle));
    if roots.is_empty() {
        return Err("it is empty".into());
    }
    let name = ServerName::try_from(server_name).map_err(|error| format!("{server_name}: {error}"))?;
    let provider = CryptoProvider::get_default().ok_or("no crypto provider is installed")?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| error.to_string())?;
    let seconds = u64::try_from(now.as_second()).map_err(|_| "the clock is before 1970")?;
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    verifier.verify_server_cert(leaf, &[], &name, &[], now).map_err(|error| error.to_string())?;
    Ok(())
}

fn is_current(certificate: &CertificateDer<'_>, now: Timestamp) -> bool {
    x509_parser::parse_x509_certificate(certificate)
        .is_ok_and(|(_, parsed)| Validity::of(&parsed).not_after > now)
}

#[cfg(test)]
mod tests;
