// SPDX-License-Identifier: Apache-2.0
//! What `check` asks besides lists. Each question needs a right of its own; without it there is a [`Gap`].

use gateherald_model::metadata::LabelMap;

use super::Gap;

/// The answers.
#[derive(Clone, Debug)]
pub(crate) struct Questions {
    /// The API server's version: major and minor, and as it is written.
    pub(crate) version: Result<ServerVersion, Gap>,
    /// Requests of our webhook that the API server let pass without an answer.
    pub(crate) fail_open: Result<u64, Gap>,
    /// What became of a Service that a Gateway owns, created as a dry run.
    pub(crate) dry_run: Result<DryRun, Gap>,
    /// The certificate that each webhook replica serves.
    pub(crate) served: Result<Vec<Served>, Gap>,
}

impl Default for Questions {
    fn default() -> Self {
        Self {
            version: Err(Gap::NotAsked),
            fail_open: Err(Gap::NotAsked),
            dry_run: Err(Gap::NotAsked),
            served: Err(Gap::NotAsked),
        }
    }
}

/// A version of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerVersion {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    /// `v1.33.1`.
    pub(crate) text: String,
}

/// A Service that was created as a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DryRun {
    /// Namespace and name of the Gateway that it said it belongs to.
    pub(crate) gateway: (String, String),
    /// The labels that it should have got.
    pub(crate) expected: LabelMap,
    /// The labels that it got.
    pub(crate) got: LabelMap,
}

/// What one replica showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    /// The pod.
    pub(crate) pod: String,
    /// The leaf in DER; or why the handshake against the registered CA bundle failed.
    pub(crate) leaf: Result<Vec<u8>, String>,
}
