// SPDX-License-Identifier: Apache-2.0
//! The last line of the log, and the exit code.

use std::process::ExitCode;

use crate::io::{answering::AnsweringError, packet::OpenError};

/// `EX_NOPERM` of sysexits(3): the process lacks a capability, so that starting it again helps nobody.
pub const NOT_PERMITTED: u8 = 77;

/// Says why the process ends, if it does so with an error.
pub fn of(end: anyhow::Result<()>) -> ExitCode {
    let Err(error) = end else {
        tracing::info!("stopped");
        return ExitCode::SUCCESS;
    };
    if error.chain().any(is_not_permitted) {
        tracing::error!(
            error = format!("{error:#}"),
            "the container needs the capability NET_RAW (securityContext.capabilities.add)"
        );
        return ExitCode::from(NOT_PERMITTED);
    }
    tracing::error!(error = format!("{error:#}"), "stopped by an error");
    ExitCode::FAILURE
}

fn is_not_permitted(cause: &(dyn std::error::Error + 'static)) -> bool {
    let socket = match cause.downcast_ref::<AnsweringError>() {
        Some(AnsweringError::Socket(error)) => Some(error),
        _ => cause.downcast_ref::<OpenError>(),
    };
    matches!(socket, Some(OpenError::NotPermitted(_)))
}
