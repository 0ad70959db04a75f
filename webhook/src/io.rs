// SPDX-License-Identifier: Apache-2.0
//! The only code of this crate that talks to the API server or reads files.

pub mod events;
pub mod gateways;
pub mod reconciler;
pub mod rules;
pub mod selftest;
