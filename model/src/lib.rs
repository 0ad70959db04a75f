// SPDX-License-Identifier: Apache-2.0
//! What cluster objects mean to Gateherald. Pure: no clock, no network, no Kubernetes client.
//!
//! The webhook and the announcer decide with this crate and the command line explains with it, so that an explanation
//! cannot disagree with the behaviour. Every decision is a value that carries its reason.

/// Addresses that are never announced.
pub mod address;
/// Bringing a Service's labels or annotations in line with its Gateway's.
pub mod alignment;
/// What one node may announce, and why it may not.
pub mod announcement;
/// The custom resources.
pub mod crd;
/// Where a Service's endpoints are.
pub mod endpoints;
/// Label pairs by which a Service names its Gateway.
pub mod extractor;
/// A set of few things, of which there are many.
pub mod few;
/// The webhook's whole decision on a Service.
pub mod injection;
/// Which links carry announcements.
pub mod interfaces;
/// Which labels Kubernetes accepts, and why one is left off.
pub mod labels;
/// The Leases by which announcers share ownership of addresses.
pub mod leases;
/// What was injected earlier.
pub mod memory;
/// Metadata, reduced to what label decisions need.
pub mod metadata;
/// A Node, reduced to what announcing needs.
pub mod node;
/// What policies select in the whole cluster.
pub mod overview;
/// Which Gateway owns a Service.
pub mod owner;
/// A decision as JSON Patch.
pub mod patch;
/// Patterns over label keys.
pub mod pattern;
/// Announcement policies, compiled.
pub mod policy;
/// The administrator's rules about labels.
pub mod rules;
/// Label selectors.
pub mod selector;
/// A Service, reduced to what announcing needs.
pub mod service;
