// SPDX-License-Identifier: Apache-2.0
//! Kubeconfig files: for the harness (a client certificate) and for programs (a ServiceAccount's token).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::pki::Pair;

/// Writes a kubeconfig whose user is a client certificate.
pub(crate) fn with_certificate(path: &Path, server: &str, ca: &Path, user: &Pair) -> anyhow::Result<PathBuf> {
    write(path, server, ca, &json!({ "client-certificate": user.certificate, "client-key": user.key }))
}

/// Writes a kubeconfig whose user is a bearer token.
pub(crate) fn with_token(path: &Path, server: &str, ca: &Path, token: &str) -> anyhow::Result<PathBuf> {
    write(path, server, ca, &json!({ "token": token }))
}

/// Writes a copy of a kubeconfig that names another server.
pub(crate) fn elsewhere(path: &Path, server: &str, copy: &Path) -> anyhow::Result<PathBuf> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut config: Value = serde_json::from_str(&text)?;
    config["clusters"][0]["cluster"]["server"] = json!(server);
    fs::write(copy, config.to_string()).with_context(|| format!("cannot write {}", copy.display()))?;
    Ok(copy.to_owned())
}

/// Writes a kubeconfig whose user is a client certificate, and which needs no other file.
pub(crate) fn complete(path: &Path, server: &str, ca: &Path, user: &Pair) -> anyhow::Result<PathBuf> {
    let data = |path: &Path| {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok::<_, anyhow::Error>(STANDARD.encode(bytes))
    };
    let user =
        json!({ "client-certificate-data": data(&user.certificate)?, "client-key-data": data(&user.key)? });
    let cluster = json!({ "server": server, "certificate-authority-data": data(ca)? });
    write_any(path, &cluster, &user)
}

/// The client configuration that a kubeconfig file describes.
///
/// # Errors
/// When the file can't be read or is not a kubeconfig.
pub async fn load(path: &Path) -> anyhow::Result<kube::Config> {
    let file = Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?)
}

fn write(path: &Path, server: &str, ca: &Path, user: &Value) -> anyhow::Result<PathBuf> {
    write_any(path, &json!({ "server": server, "certificate-authority": ca }), user)
}

fn write_any(path: &Path, cluster: &Value, user: &Value) -> anyhow::Result<PathBuf> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "lab" } }],
        "clusters": [{ "name": "lab", "cluster": cluster }],
        "users": [{ "name": "lab", "user": user }],
    });
    // Kubeconfigs are YAML, of which JSON is a part.
    fs::write(path, config.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.to_owned())
}
