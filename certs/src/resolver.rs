// SPDX-License-Identifier: Apache-2.0
//! What the TLS listener serves: the newest leaf, replaced without a restart.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::{
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::authority::Leaf;

/// The live certificate; without one every handshake fails. Written by the keeper alone.
#[derive(Debug, Default)]
pub struct Resolver {
    live: ArcSwapOption<CertifiedKey>,
}

impl Resolver {
    /// Serves this leaf from the start.
    pub fn serving(leaf: &Leaf) -> Result<Self, rustls::Error> {
        let resolver = Self::default();
        resolver.serve(leaf)?;
        Ok(resolver)
    }

    /// Serves this leaf from the next handshake on.
    pub(crate) fn serve(&self, leaf: &Leaf) -> Result<(), rustls::Error> {
        let missing = || rustls::Error::General("no crypto provider is installed".into());
        let provider = CryptoProvider::get_default().ok_or_else(missing)?;
        let key = CertifiedKey::from_der(vec![leaf.certificate.clone()], leaf.key.clone_key(), provider)?;
        self.live.store(Some(Arc::new(key)));
        Ok(())
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.live.load_full()
    }
}
