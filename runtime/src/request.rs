// SPDX-License-Identifier: Apache-2.0
//! One request to the API server that is over in time: on a connection that swallows what is sent it would never be.

use std::time::Duration;

use thiserror::Error;
use tokio::time::timeout;

use crate::kubernetes::{Problem, explain};

/// 30 s: what a request that should be answered at once may take on a busy API server.
pub const ATTEMPT: Duration = Duration::from_secs(30);

/// Why a request did not succeed. After [`Self::Silent`] it may have been carried out all the same.
#[derive(Debug, Error)]
pub enum RequestError {
    /// The API server or the network said so.
    #[error(transparent)]
    Failed(#[from] kube::Error),
    /// Nothing came for so long.
    #[error("nothing came for {0:?}")]
    Silent(Duration),
}

impl RequestError {
    /// Sorts it, as [`Problem::of`] does.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Failed(error) => Problem::of(error),
            Self::Silent(_) => Problem::Unreachable,
        }
    }

    /// One line for people, as [`explain`] writes it.
    pub fn explain(&self, verb: &str, resource: &str) -> String {
        match self {
            Self::Failed(error) => explain(verb, resource, error),
            Self::Silent(_) => format!("API server silent, cannot {verb} {resource}: {self}"),
        }
    }
}

/// Waits for `request`, but no longer than `limit`. Cancel-safe as far as the request is: it may be carried out.
pub async fn limited<T>(
    limit: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, RequestError> {
    match timeout(limit, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(RequestError::Silent(limit)),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_never_answered_ends_and_says_so() {
        let error = limited(ATTEMPT, pending::<kube::Result<()>>()).await.unwrap_err();
        assert_eq!(error.problem(), Problem::Unreachable);
        let text = error.explain("update", "secrets a/b");
        assert_eq!(text, "API server silent, cannot update secrets a/b: nothing came for 30s");
    }
}
