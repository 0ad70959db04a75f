// SPDX-License-Identifier: Apache-2.0
//! What cluster objects mean to Gateherald. Pure: no clock, no network, no Kubernetes client.
//!
//! The webhook and the announcer decide with this crate and the command line explains with it, so that an explanation
//! cannot disagree with the behaviour. Every decision is a value that carries its reason.

/// Addresses that are never announced.
pub mod address;
/// What one node may announce, and why it may not.
pub mod announcement;
/// The custom resources.
pub mod crd;
/// Which links carry announcements.
pub mod interfaces;
/// The Leases by which announcers share ownership of addresses.
pub mod leases;
/// A Node, reduced to what announcing needs.
pub mod node;
/// Announcement policies, compiled.
pub mod policy;
/// Label selectors.
pub mod selector;
/// A Service, reduced to what announcing needs.
pub mod service;
