// SPDX-License-Identifier: Apache-2.0
//! The end of the process, in two steps: first drain, then stop.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What tasks watch to learn that the process ends; clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    draining: CancellationToken,
    stopping: CancellationToken,
}

/// SIGTERM and SIGINT, each delivery once.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Shutdown {
    /// The process will end: be no longer ready, finish politely, but go on serving. Cancel-safe.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// The process ends now: take no new work, finish what is under way, return. Cancel-safe.
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Whether [`Self::draining`] has happened.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Whether [`Self::stopping`] has happened.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Enters the first step.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Enters the second step (and the first).
    pub fn stop(&self) {
        self.draining.cancel();
        self.stopping.cancel();
    }
}

impl Signals {
    /// Installs the handlers. Fails only when the kernel refuses them.
    pub fn install() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal and returns its name. Cancel-safe.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
