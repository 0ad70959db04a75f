// SPDX-License-Identifier: Apache-2.0
//! A certificate with its chain and key. Where somebody else made it: read from PEM, and judged. Pure but for the crypto
//! provider.

use jiff::Timestamp;
use rustls::{
    InconsistentKeys, client::verify_server_name, crypto::CryptoProvider, server::ParsedCertificate,
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use thiserror::Error;
use x509_parser::extensions::GeneralName;

use crate::{authority::Validity, bundle};

/// A certificate with its chain and key, ready to be served.
#[derive(Debug)]
pub struct Identity {
    /// The leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
    /// When the leaf is valid.
    pub validity: Validity,
}

/// Why a certificate and its key cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// Which.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// A file does not hold what it should.
    #[error("{file} holds no {what} that can be used: {reason}")]
    Malformed {
        /// Which.
        file: &'static str,
        /// What it should hold.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// They do not belong together.
    #[error("tls.key is not the key of the certificate in tls.crt")]
    Mismatch,
    /// Its time is over.
    #[error("the certificate in tls.crt expired at {0}")]
    Expired(Timestamp),
    /// Its time has not come, or this machine's clock is behind.
    #[error("the certificate in tls.crt is not valid before {0}")]
    NotYetValid(Timestamp),
    /// The API server would not accept it.
    #[error(
        "the certificate in tls.crt is not for {expected}, by which the API server calls, but for {found}"
    )]
    WrongName {
        /// What it must hold as a subject alternative name.
        expected: String,
        /// What it holds.
        found: String,
    },
}

/// The kinds of [`IdentityError`], as metrics name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityProblem {
    /// A file cannot be read.
    Unreadable,
    /// A file does not hold what it should.
    Malformed,
    /// Certificate and key do not belong together.
    Mismatch,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// It is for another name.
    WrongName,
}

impl Identity {
    /// Reads a chain and its key, and checks that a client that calls `server_name` would accept them now, as far as that
    /// does not depend on whom it trusts.
    pub fn read(
        certificate_pem: &[u8],
        key_pem: &[u8],
        server_name: &str,
        now: Timestamp,
    ) -> Result<Self, IdentityError> {
        let certificate =
            |reason: String| IdentityError::Malformed { file: "tls.crt", what: "certificate", reason };
        let key = |reason: String| IdentityError::Malformed { file: "tls.key", what: "key", reason };
        let chain = CertificateDer::pem_slice_iter(certificate_pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| certificate(error.to_string()))?;
        let leaf = chain.first().ok_or_else(|| certificate("there is none".into()))?;
        let validity = bundle::validity(leaf).ok_or_else(|| certificate("it cannot be parsed".into()))?;
        let private = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| key(error.to_string()))?;
        let provider =
            CryptoProvider::get_default().ok_or_else(|| key("no crypto provider is installed".into()))?;
        match CertifiedKey::from_der(chain.clone(), private.clone_key(), provider) {
            Ok(_) => {}
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                return Err(IdentityError::Mismatch);
            }
            Err(error) => return Err(key(error.to_string())),
        }
        check_name(leaf, server_name)?;
        if validity.is_over(now) {
            return Err(IdentityError::Expired(validity.not_after));
        }
        if !validity.contains(now) {
            return Err(IdentityError::NotYetValid(validity.not_before));
        }
        Ok(Self { chain, key: private, validity })
    }
}

impl IdentityError {
    /// Its kind.
    pub fn problem(&self) -> IdentityProblem {
        match self {
            Self::Unreadable { .. } => IdentityProblem::Unreadable,
            Self::Malformed { .. } => IdentityProblem::Malformed,
            Self::Mismatch => IdentityProblem::Mismatch,
            Self::Expired(_) => IdentityProblem::Expired,
            Self::NotYetValid(_) => IdentityProblem::NotYetValid,
            Self::WrongName { .. } => IdentityProblem::WrongName,
        }
    }
}

impl IdentityProblem {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Unreadable,
        Self::Malformed,
        Self::Mismatch,
        Self::Expired,
        Self::NotYetValid,
        Self::WrongName,
    ];

    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Malformed => "malformed",
            Self::Mismatch => "mismatch",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::WrongName => "wrong-name",
        }
    }
}

fn check_name(leaf: &CertificateDer<'_>, server_name: &str) -> Result<(), IdentityError> {
    let name = ServerName::try_from(server_name).ok();
    let parsed = ParsedCertificate::try_from(leaf).ok();
    match (parsed, name) {
        (Some(parsed), Some(name)) if verify_server_name(&parsed, &name).is_ok() => Ok(()),
        _ => Err(IdentityError::WrongName { expected: server_name.to_owned(), found: names(leaf) }),
    }
}

/// The DNS names of a certificate, for people.
fn names(certificate: &CertificateDer<'_>) -> String {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return String::new() };
    let Ok(Some(alternatives)) = parsed.subject_alternative_name() else {
        return "no name: it has no subject alternative names".into();
    };
    let names = alternatives.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
