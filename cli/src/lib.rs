// SPDX-License-Identifier: Apache-2.0
//! `kubectl gateherald`: shows why an address is reachable or not, and which field of which object mends it.
//!
//! ```text
//! cluster or files ─▶ io, snapshot ─▶ picture ─▶ trace ─▶ checks, graph, vips ─▶ render ─▶ terminal
//!                     plain data      decided     one chain
//!                     or why there    by `model`  per Service,
//!                     is none                     with findings
//! ```
//!
//! Everything between `io` and the terminal is pure, so that what a person sees depends on the snapshot alone, and not on
//! the order in which it was read. What is decided is decided by `gateherald_model`, as in the webhook and the announcer.

/// The command line: the one place where flags and environment are read.
pub mod args;
/// From the command line to the exit code.
pub mod run;

mod audit;
mod checks;
mod cleaning;
mod codes;
mod commands;
mod completion;
mod finding;
#[cfg(test)]
mod fixtures;
mod graph;
mod io;
mod moving;
mod near;
mod picture;
mod preview;
mod probe;
mod render;
mod snapshot;
mod subject;
mod timeline;
mod trace;
mod vips;
