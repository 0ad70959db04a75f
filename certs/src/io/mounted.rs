// SPDX-License-Identifier: Apache-2.0
//! The task of the modes `cert-manager` and `provided`: serves what a mounted Secret holds, and what it holds next.
//!
//! The kubelet changes a Secret volume by swapping a symbolic link, so the files themselves never change: they are read
//! again and again, and compared.
#![allow(clippy::disallowed_methods, reason = "certificates are valid by the time of day")]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use gateherald_runtime::{shutdown::Shutdown, tasks::TaskResult};
use jiff::Timestamp;
use tokio::{fs, time::sleep};
use tracing::warn;

use crate::{
    authority::Validity,
    bundle,
    identity::{Identity, IdentityError},
    serving::{Serving, Trust},
};

/// Between two looks. The kubelet itself takes up to two minutes to bring a new version.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Certificate and key are read again when they change meanwhile; then the next look settles it.
const ATTEMPTS: u32 = 3;

/// The task and what it remembers.
pub(crate) struct Mounted {
    directory: PathBuf,
    server_name: String,
    serving: Serving,
    /// What was read last, and why it is not served.
    last: Option<(Result<Files, IdentityError>, Option<IdentityError>)>,
    served: Option<Validity>,
}

/// The files' contents.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    /// cert-manager's `ca.crt`, for its expiry alone; absent or empty in many Secrets.
    ca: Vec<u8>,
}

impl Mounted {
    pub(crate) fn new(directory: PathBuf, server_name: String, serving: Serving) -> Self {
        Self { directory, server_name, serving, last: None, served: None }
    }

    /// Looks until the process stops.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> TaskResult {
        loop {
            let files = read(&self.directory).await;
            self.look(files, Timestamp::now())?;
            tokio::select! {
                () = shutdown.stopping() => return Ok(()),
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }

    fn look(&mut self, read: Result<Files, IdentityError>, now: Timestamp) -> Result<(), rustls::Error> {
        let before = self.last.take();
        let same = before.as_ref().is_some_and(|(last, _)| *last == read);
        let failure = before.filter(|_| same).and_then(|(_, failure)| failure);
        if same && failure.is_none() {
            self.last = Some((read, None));
            self.say_if_over(now);
            return Ok(());
        }
        // Also what failed before: its time may have come, or be over.
        let judged = read.clone().and_then(|files| {
            let identity = Identity::read(&files.certificate, &files.key, &self.server_name, now)?;
            Ok((files, identity))
        });
        let error = match judged {
            Ok((files, identity)) => {
                self.serving.serve(&identity)?;
                self.served = Some(identity.validity);
                self.serving.trust(Trust { chain: identity.chain, ..Trust::default() });
                if let Some(ca) = bundle::read(&files.ca).first().and_then(bundle::validity) {
                    self.serving.metrics.ca_expires(ca.not_after);
                }
                None
            }
            Err(error) => {
                if failure.as_ref() != Some(&error) {
                    let keeps = self.served.is_some_and(|served| !served.is_over(now));
                    warn!(directory = %self.directory.display(), %error, keeps_the_last = keeps, "the mounted certificate cannot be served");
                    self.serving.metrics.reload_failed(error.problem());
                }
                self.serving.lacks(self.served, now, error.to_string());
                Some(error)
            }
        };
        self.last = Some((read, error));
        Ok(())
    }

    fn say_if_over(&self, now: Timestamp) {
        if let Some(served) = self.served {
            self.serving.lacks(Some(served), now, format!("the certificate expired at {}", served.not_after));
        }
    }
}

/// Reads the files of one version: the certificate is the same before and after the key.
async fn read(directory: &Path) -> Result<Files, IdentityError> {
    let mut certificate = file(directory, "tls.crt").await?;
    let mut key = file(directory, "tls.key").await?;
    for _ in 1..ATTEMPTS {
        let again = file(directory, "tls.crt").await?;
        if again == certificate {
            break;
        }
        (certificate, key) = (again, file(directory, "tls.key").await?);
    }
    let ca = file(directory, "ca.crt").await.unwrap_or_default();
    Ok(Files { certificate, key, ca })
}

async fn file(directory: &Path, name: &str) -> Result<Vec<u8>, IdentityError> {
    let path = directory.join(name);
    fs::read(&path).await.map_err(|error| IdentityError::Unreadable {
        path: path.display().to_string(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests;
