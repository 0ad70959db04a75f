// SPDX-License-Identifier: Apache-2.0
//! The only code that touches the API server, files and the terminal.

pub(crate) mod asking;
pub(crate) mod clock;
pub(crate) mod cluster;
pub(crate) mod files;
pub(crate) mod forward;
pub(crate) mod lists;
pub(crate) mod probing;
pub(crate) mod terminal;
pub(crate) mod watching;
