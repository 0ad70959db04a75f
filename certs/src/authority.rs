// SPDX-License-Identifier: Apache-2.0
//! A certificate authority and the leaf certificates it signs.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use thiserror::Error;
use time::OffsetDateTime;

use crate::{identity::Identity, lifetimes::Lifetimes, rotation::Ca};

/// A CA with its key. The key leaves the process only into the Secret.
pub struct Authority {
    certificate_pem: String,
    key_pem: String,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    validity: Validity,
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From then on.
    pub not_before: Timestamp,
    /// Until then.
    pub not_after: Timestamp,
}

/// Why a CA cannot be made, read or used.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// The crypto library refused.
    #[error("cannot make a certificate")]
    Generate(#[source] rcgen::Error),
    /// The certificate's PEM or DER is broken.
    #[error("the CA's certificate cannot be read: {0}")]
    Certificate(String),
    /// The key's PEM is broken.
    #[error("the CA's key cannot be read")]
    Key(#[source] rcgen::Error),
    /// The key belongs to another certificate.
    #[error("the CA's key does not belong to its certificate")]
    Mismatch,
    /// The certificate may not sign others.
    #[error("the CA's certificate is not a CA's")]
    NotAnAuthority,
}

impl Authority {
    /// Makes a new CA (ECDSA P-256).
    pub fn generate(now: Timestamp, lifetimes: &Lifetimes) -> Result<Self, AuthorityError> {
        let validity = Validity::starting(now, lifetimes.ca, lifetimes.backdate());
        let mut params = validity.params(Vec::new())?;
        // The date tells two CAs in one bundle apart, for people and for verifiers that search by subject.
        let name = format!("gateherald webhook CA {}", now.strftime("%Y-%m-%dT%H:%M:%SZ"));
        params.distinguished_name = named(&name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(AuthorityError::Generate)?;
        let certificate_pem = params.self_signed(&key).map_err(AuthorityError::Generate)?.pem();
        Self::load(&certificate_pem, &key.serialize_pem())
    }

    /// Reads a CA from PEM, and checks that it can sign.
    pub fn load(certificate_pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|error| AuthorityError::Certificate(error.to_string()))?;
        let key = KeyPair::from_pem(key_pem).map_err(AuthorityError::Key)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate)
            .map_err(|error| AuthorityError::Certificate(error.to_string()))?;
        if !parsed.is_ca() {
            return Err(AuthorityError::NotAnAuthority);
        }
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(AuthorityError::Mismatch);
        }
        let validity = Validity::of(&parsed);
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(AuthorityError::Generate)?;
        let (certificate_pem, key_pem) = (certificate_pem.to_owned(), key_pem.to_owned());
        Ok(Self { certificate_pem, key_pem, certificate, issuer, validity })
    }

    /// Signs a new leaf for `server_name`, valid no longer than the CA is.
    pub fn issue(
        &self,
        server_name: &str,
        now: Timestamp,
        lifetimes: &Lifetimes,
    ) -> Result<Identity, AuthorityError> {
        let mut validity = Validity::starting(now, lifetimes.leaf, lifetimes.backdate());
        validity.not_after = validity.not_after.min(self.validity.not_after);
        let mut params = validity.params(vec![server_name.to_owned()])?;
        // The alternative name is what counts; a common name is limited to 64 characters and optional.
        params.distinguished_name = named("gateherald webhook");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(AuthorityError::Generate)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(AuthorityError::Generate)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Identity { chain: vec![certificate.into()], key, validity })
    }

    /// The certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificate as PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The key as PEM.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// When the CA is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("validity", &self.validity).finish_non_exhaustive()
    }
}

impl PartialEq for Authority {
    /// By certificate: a key belongs to it.
    fn eq(&self, other: &Self) -> bool {
        self.certificate == other.certificate
    }
}

impl Ca for Arc<Authority> {
    fn validity(&self) -> Validity {
        self.validity
    }
}

impl Validity {
    pub(crate) fn starting(now: Timestamp, life: SignedDuration, backdate: SignedDuration) -> Self {
        // Whole seconds, as certificates have them.
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        Self { not_before: now - backdate, not_after: now + life }
    }

    /// Of a certificate that was read.
    pub(crate) fn of(certificate: &x509_parser::certificate::X509Certificate<'_>) -> Self {
        let limits = certificate.validity();
        let timestamp = |seconds: i64, otherwise| Timestamp::from_second(seconds).unwrap_or(otherwise);
        Self {
            not_before: timestamp(limits.not_before.timestamp(), Timestamp::MIN),
            not_after: timestamp(limits.not_after.timestamp(), Timestamp::MAX),
        }
    }

    /// Whether the certificate is valid at `now`.
    pub fn contains(&self, now: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// Whether the certificate's time is over.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.not_after <= now
    }

    /// When a certificate of ours should be replaced: when a third of its life is left, counted from when it was made.
    pub fn renew_at(&self, backdate: SignedDuration) -> Timestamp {
        let life = self.not_before.duration_until(self.not_after) - backdate;
        self.not_after - life.max(SignedDuration::ZERO) / 3
    }

    fn params(&self, names: Vec<String>) -> Result<CertificateParams, AuthorityError> {
        let time = |timestamp: Timestamp| {
            let seconds = OffsetDateTime::from_unix_timestamp(timestamp.as_second());
            seconds.map_err(|_| AuthorityError::Generate(rcgen::Error::Time))
        };
        let mut params = CertificateParams::new(names).map_err(AuthorityError::Generate)?;
        params.not_before = time(self.not_before)?;
        params.not_after = time(self.not_after)?;
        Ok(params)
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

#[cfg(test)]
mod tests;
