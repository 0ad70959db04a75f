// SPDX-License-Identifier: Apache-2.0
//! What the TLS listener serves: the newest leaf, replaced without a restart.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::{
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::identity::Identity;

/// The live certificate; without one every handshake fails. Written by the task `certificate` alone.
#[derive(Debug, Default)]
pub struct Resolver {
    live: ArcSwapOption<CertifiedKey>,
}

impl Resolver {
    /// Serves this from the start.
    pub fn serving(identity: &Identity) -> Result<Self, rustls::Error> {
        let resolver = Self::default();
        resolver.serve(identity)?;
        Ok(resolver)
    }

    /// Serves this from the next handshake on. Fails when the key is not the certificate's.
    pub(crate) fn serve(&self, identity: &Identity) -> Result<(), rustls::Error> {
        let missing = || rustls::Error::General("no crypto provider is installed".into());
        let provider = CryptoProvider::get_default().ok_or_else(missing)?;
        let key = CertifiedKey::from_der(identity.chain.clone(), identity.key.clone_key(), provider)?;
        self.live.store(Some(Arc::new(key)));
        Ok(())
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.live.load_full()
    }
}
