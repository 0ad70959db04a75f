// SPDX-License-Identifier: Apache-2.0
//! What the suites share. The suites themselves are the files beside `src/`: `api_*.rs` run against a real API server,
//! `netns_*.rs` exchange real frames between network namespaces, `cluster_*.rs` install the chart into a cluster with pods.
pub mod audit;
pub mod browser;
pub mod callers;
pub mod certificates;
pub mod clusters;
pub mod failover;
pub mod gateways;
pub mod metrics;
pub mod plugin;
pub mod reconciling;
pub mod vips;
