// SPDX-License-Identifier: Apache-2.0
//! The rim: everything that touches the kernel or the API server.

pub mod answering;
pub mod cilium;
pub mod clock;
pub mod endpoints;
pub mod filter;
pub mod groups;
pub mod incarnation;
pub mod inquiry;
pub mod leases;
pub mod links;
#[cfg(test)]
mod netns;
pub mod objects;
pub mod office;
pub mod packet;
pub mod policies;
pub mod release;
pub mod telling;

pub use gateherald_runtime::follow;
