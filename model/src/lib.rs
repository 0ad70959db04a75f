// SPDX-License-Identifier: Apache-2.0
//! What cluster objects mean to Gateherald. Pure: no clock, no network, no Kubernetes client.
//!
//! The webhook and the announcer decide with this crate and the command line explains with it, so that an explanation
//! cannot disagree with the behaviour. Every decision is a value that carries its reason.

/// The Leases by which announcers share ownership of addresses.
pub mod leases;
