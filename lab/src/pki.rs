// SPDX-License-Identifier: Apache-2.0
//! The control plane's own certificate authority, its server certificate and client certificates.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl std::fmt::Debug for Pki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pki").field("ca", &self.ca).finish_non_exhaustive()
    }
}

/// The authority and where its files are.
pub(crate) struct Pki {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    pub(crate) ca: PathBuf,
    pub(crate) service_account: Pair,
}

impl Pki {
    /// Makes a new authority and the key pair that signs ServiceAccount tokens.
    pub(crate) fn create(dir: &Path) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "gateherald-lab");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let ca = write(dir, "ca.crt", &params.self_signed(&key)?.pem())?;
        let tokens = KeyPair::generate()?;
        let service_account = Pair {
            certificate: write(dir, "sa.pub", &tokens.public_key_pem())?,
            key: write(dir, "sa.key", &tokens.serialize_pem())?,
        };
        Ok(Self { dir: dir.to_owned(), issuer: Issuer::new(params, key), ca, service_account })
    }

    /// A server certificate for these names and addresses.
    pub(crate) fn server(&self, name: &str, names: &[&str]) -> anyhow::Result<Pair> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(name, name, params)
    }

    /// A client certificate for this user and group.
    pub(crate) fn client(&self, user: &str, group: Option<&str>) -> anyhow::Result<Pair> {
        let mut params = CertificateParams::default();
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(&user.replace(':', "-"), user, params)
    }

    fn issue(&self, file: &str, common_name: &str, mut params: CertificateParams) -> anyhow::Result<Pair> {
        let key = KeyPair::generate()?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair {
            certificate: write(&self.dir, &format!("{file}.crt"), &certificate.pem())?,
            key: write(&self.dir, &format!("{file}.key"), &key.serialize_pem())?,
        })
    }
}

fn write(dir: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let path = dir.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
