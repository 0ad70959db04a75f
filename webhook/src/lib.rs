// SPDX-License-Identifier: Apache-2.0
//! The admission webhook: copies the labels of a Gateway onto the Service that its controller generates.
//!
//! ```text
//!  API server ──TLS──▶ server ──▶ http ──▶ handler ──▶ model::injection ──▶ patch, warnings, audit annotations
//!                                            │  ▲                              │
//!                          Gateway cache ────┘  └── one live GET               └──▶ audit line on stdout
//! ```
//!
//! One replica, the leader, also repairs what reviews missed:
//!
//! ```text
//!  watches of Services, Gateways, namespaces, registration ──▶ reconcile ──▶ model::injection ──▶ patches, Events
//! ```
//!
//! The answer is always "allowed": whatever goes wrong costs labels, never a Service.

pub mod args;
pub mod audit;
pub mod bodies;
pub mod budget;
pub mod config;
pub mod handler;
pub mod http;
pub mod io;
mod listing;
pub mod metrics;
pub mod pace;
pub mod reconcile;
pub mod review;
pub mod run;
pub mod selftest;
pub mod server;
