// SPDX-License-Identifier: Apache-2.0
//! Stands in for cert-manager and the kubelet where a webhook's certificate is a mounted Secret: the Secret volume changes
//! as the kubelet changes it, and the CA bundle is injected as cert-manager's cainjector does.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, bail};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Client;
use kube::api::{Api, PostParams};

/// The annotation that makes cainjector write a configuration's bundles; its value is `<namespace>/<Certificate>`.
pub const INJECT: &str = "cert-manager.io/inject-ca-from";

/// A Secret volume: `..data` is a link to the directory of one version, and each file is a link through it.
#[derive(Debug)]
pub struct SecretVolume {
    path: PathBuf,
    versions: AtomicU32,
}

impl SecretVolume {
    /// An empty volume in an existing directory.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), versions: AtomicU32::new(0) }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Brings the Secret's next version: all its keys at once.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, data: &[(&str, &str)]) -> anyhow::Result<()> {
        let version = format!("..version-{}", self.versions.fetch_add(1, Ordering::Relaxed));
        let directory = self.path.join(&version);
        fs::create_dir(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        for (key, value) in data {
            fs::write(directory.join(key), value)?;
        }
        let next = self.path.join("..data_tmp");
        symlink(&version, &next)?;
        fs::rename(&next, self.path.join("..data"))?;
        for (key, _) in data {
            let link = self.path.join(key);
            if !link.is_symlink() {
                symlink(Path::new("..data").join(key), link)?;
            }
        }
        Ok(())
    }
}

/// Writes the bundle into every entry of the configuration, if it carries the annotation.
///
/// # Errors
/// When it does not, and those of the API server.
pub async fn inject(api: Client, configuration: &str, bundle: &str) -> anyhow::Result<()> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(api);
    let mut live = api.get(configuration).await?;
    if !live.metadata.annotations.iter().flatten().any(|(key, _)| key == INJECT) {
        bail!("{configuration} has no annotation {INJECT}");
    }
    for entry in live.webhooks.iter_mut().flatten() {
        entry.client_config.ca_bundle = Some(ByteString(bundle.as_bytes().to_vec()));
    }
    api.replace(configuration, &PostParams::default(), &live).await?;
    Ok(())
}
