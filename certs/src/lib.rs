// SPDX-License-Identifier: Apache-2.0
//! The webhook's own certificates: who signs them, where they are kept, and how the API server learns to trust them.
//!
//! ```text
//!  Secret (CA, shared by all replicas) ──▶ leaf, signed in memory by each replica ──▶ TLS listener
//!        │                                    │
//!        └──▶ CA bundle ──▶ MutatingWebhookConfiguration ──▶ the live bundle verifies the leaf: ready
//! ```
//!
//! [`authority`], [`slots`] and [`bundle`] are pure; [`io`] talks to the API server; [`keeper`] owns the tasks.

pub mod authority;
pub mod bundle;
pub mod io;
pub mod keeper;
pub mod metrics;
pub mod resolver;
pub mod slots;
