// SPDX-License-Identifier: Apache-2.0
//! The webhook's own certificates: who signs them, where they are kept, and how the API server learns to trust them.
//!
//! ```text
//!  Secret (CA, shared by all replicas) ──▶ leaf, signed in memory by each replica ──▶ TLS listener
//!        │                                    │
//!        └──▶ CA bundle ──▶ MutatingWebhookConfiguration ──▶ the live bundle verifies the leaf: ready
//! ```
//!
//! That is mode `auto`. In the others the leaf is a file, and somebody else writes the bundle.
//!
//! [`rotation`], on [`slots`] and [`lifetimes`], is how several replicas replace their CA without a failed call; it and
//! [`authority`], [`bundle`], [`identity`] and [`sightings`] are pure. [`io`] talks to the API server and reads files;
//! [`keeper`] starts the tasks.

pub mod args;
pub mod authority;
pub mod bundle;
pub mod identity;
pub mod io;
pub mod keeper;
pub mod lifetimes;
pub mod metrics;
pub mod resolver;
pub mod rotation;
pub mod serving;
pub mod sightings;
pub mod slots;
