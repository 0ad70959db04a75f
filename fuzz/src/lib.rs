// SPDX-License-Identifier: Apache-2.0
//! What must hold for any input: one function per target, which panics when it does not hold.
//!
//! `make test` runs each over its seeds and some thousand mutations of them ([`TARGETS`], `tests.rs`). `make fuzz` runs them
//! under libFuzzer, guided by coverage, for as long as one likes (`libfuzzer/fuzz_targets/<name>.rs`). Another target is a
//! function, an entry of [`TARGETS`], a directory `seeds/<name>` and a file there; a test says what is missing.
#![allow(clippy::panic, clippy::missing_panics_doc, reason = "a panic is how a target tells what it found")]

mod answer;
mod decision;
mod frame;
mod review;

pub use answer::answer;
pub use decision::decision;
pub use frame::frame;
pub use review::review;

/// A target by the name of its seeds' directory.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 4] =
    [("review", review), ("decision", decision), ("frame", frame), ("answer", answer)];

#[cfg(test)]
mod tests;
