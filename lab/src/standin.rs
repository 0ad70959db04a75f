// SPDX-License-Identifier: Apache-2.0
//! What stands in for programs that a real cluster has and the lab has not. Each behaves, in what Gateherald can see of
//! it, as the original does.

pub mod address_allocator;
pub mod cert_manager;
pub mod cilium;
pub mod endpoints;
pub mod gateway_controller;
pub mod kubelet;
