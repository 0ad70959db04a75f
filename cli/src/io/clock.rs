// SPDX-License-Identifier: Apache-2.0
//! The time of day, by which people are told how old something is.

use jiff::Timestamp;

/// Now.
#[allow(clippy::disallowed_methods, reason = "io reads the clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
