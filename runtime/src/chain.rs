// SPDX-License-Identifier: Apache-2.0
//! Errors with their causes, in one line.

use std::error::Error;

/// An error and its causes, joined by colons. A cause that the text before already tells is left out: many libraries
/// print their source themselves.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let told = cause.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        next = cause.source();
    }
    text
}
