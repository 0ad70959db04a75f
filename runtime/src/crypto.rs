// SPDX-License-Identifier: Apache-2.0
//! The one cryptography provider of the process.

/// Installs aws-lc-rs as the process's rustls provider; a second call changes nothing.
///
/// Explicit, because rustls panics at the first handshake when it has to guess between two compiled-in providers.
pub fn install_provider() {
    // An error means that a provider is installed already, which is all that is wanted.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}
