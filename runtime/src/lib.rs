// SPDX-License-Identifier: Apache-2.0
//! The shell around a daemon: what every Gateherald process needs and none of them is about.
//!
//! A daemon's `run` reads top to bottom with the pieces of this crate:
//!
//! 1. [`logging::init`] and [`crypto::install_provider`] prepare the process;
//! 2. [`kubernetes::client`] connects to the API server;
//! 3. [`readiness::Board`] hands out one [`readiness::Handle`] per part that must sync;
//! 4. [`admin::serve`] shows `/live`, `/ready`, `/metrics`, `/log-level` and what the program adds;
//! 5. [`tasks::Tasks`] owns every task, and ends the process when one of them dies;
//! 6. [`shutdown::Shutdown`] tells them in two steps (drain, stop) that the process ends.

pub mod admin;
pub mod backoff;
pub mod chain;
pub mod crypto;
pub mod election;
pub mod events;
pub mod follow;
pub mod insist;
pub mod kubernetes;
pub mod logging;
pub mod owner;
pub mod process;
pub mod rate;
pub mod readiness;
pub mod request;
pub mod shutdown;
pub mod tasks;
