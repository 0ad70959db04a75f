// SPDX-License-Identifier: Apache-2.0
//! The only code of this crate that talks to the API server.

pub mod gateways;
