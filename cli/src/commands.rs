// SPDX-License-Identifier: Apache-2.0
//! What each command does: read, decide, write.

pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod cleanup;
pub(crate) mod complete;
pub(crate) mod flow;
pub(crate) mod moving;
pub(crate) mod preview;
pub(crate) mod probe;
mod reading;
pub(crate) mod vips;
mod web;
