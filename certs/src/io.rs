// SPDX-License-Identifier: Apache-2.0
//! The only code of this crate that talks to the API server and reads files.

pub mod authorities;
pub mod mounted;
pub mod registration;
pub mod secret;
#[cfg(test)]
mod silence;
