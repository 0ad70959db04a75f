// SPDX-License-Identifier: Apache-2.0
//! The directory that holds one control plane's keys, data and logs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use crate::settings;

const PREFIX: &str = "gateherald-lab-";

/// A temporary directory that goes when it is dropped, unless [`StateDir::keep`] was called.
///
/// One that was left behind by SIGKILL is removed by the next lab: its lock is free then.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: File,
    keep: AtomicBool,
}

impl StateDir {
    /// Makes a new one and removes those that dead labs left.
    ///
    /// # Errors
    /// When the temporary directory can't be written.
    pub fn create() -> anyhow::Result<Self> {
        sweep(&std::env::temp_dir());
        let path = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir()
            .context("cannot make a state directory")?
            .keep();
        let lock = File::create(path.join("lock"))?;
        lock.try_lock().map_err(|error| anyhow::anyhow!("cannot lock the state directory: {error}"))?;
        for dir in ["logs", "pki", "etcd", "kubeconfigs", "helm"] {
            fs::create_dir(path.join(dir))?;
        }
        Ok(Self { path, _lock: lock, keep: AtomicBool::new(settings::keep_state()) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The log file of the program with this name.
    pub fn log(&self, name: &str) -> PathBuf {
        self.path.join("logs").join(format!("{name}.log"))
    }

    /// Leaves its logs in place when the lab ends, for somebody to read.
    pub fn keep(&self) {
        self.keep.store(true, Ordering::Relaxed);
    }

    /// Whether it will be left in place.
    pub fn is_kept(&self) -> bool {
        self.keep.load(Ordering::Relaxed)
    }

    /// Removes everything now, or everything but logs and kubeconfigs when it is to be kept.
    pub(crate) fn clear(&self) {
        if self.is_kept() {
            for dir in ["etcd", "pki", "helm", "kubeconfigs", "lock", "pause.tar"] {
                let path = self.path.join(dir);
                let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
            }
            // A kept directory has another name, so that the next lab does not sweep it away.
            let _ = fs::rename(&self.path, self.kept_path());
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }

    /// Where the logs will be after [`StateDir::clear`], when they are kept.
    pub(crate) fn kept_path(&self) -> PathBuf {
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        self.path.with_file_name(name.replacen("lab-", "kept-", 1))
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        self.clear();
    }
}

fn sweep(temp: &Path) {
    let Ok(entries) = fs::read_dir(temp) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join("lock")) else { continue };
        if lock.try_lock().is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests;
