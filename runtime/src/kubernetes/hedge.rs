// SPDX-License-Identifier: Apache-2.0
//! Opening a connection where one of several servers may be a black hole: further attempts beside a slow one, not instead of it.
//!
//! A limit on each attempt would have to be short for the black hole's sake, and then a busy machine, on which every TLS
//! handshake takes longer than that, would never get a connection at all.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use http::Uri;
use thiserror::Error;
use tokio::time::{sleep, timeout};
use tower::{BoxError, Service, ServiceExt};

/// 3: with one of two servers a black hole, one connection of eight fails. More would only be more handshakes for a server that
/// is too busy for the first.
const ATTEMPTS: u32 = 3;

/// A connector that tries again beside an attempt that takes long. The first connection that stands is used.
#[derive(Clone, Debug)]
pub(super) struct Hedged<C> {
    connector: C,
    after: Duration,
    within: Duration,
}

/// No attempt came to an end.
#[derive(Debug, Error)]
#[error("no connection within {0:?}")]
struct NoConnection(Duration);

impl<C> Hedged<C> {
    /// Starts a second attempt when the first has not come to anything for `after`, a third when both have not for twice that, and
    /// gives up when `within` has passed.
    pub(super) fn new(connector: C, after: Duration, within: Duration) -> Self {
        Self { connector, after, within }
    }
}

impl<C> Service<Uri> for Hedged<C>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Send,
    C::Error: Into<BoxError> + Send,
    C::Future: Send,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { connector, after, within } = self.clone();
        Box::pin(async move {
            timeout(within, race(connector, uri, after)).await.map_err(|_| NoConnection(within))?
        })
    }
}

async fn race<C>(connector: C, uri: Uri, after: Duration) -> Result<C::Response, BoxError>
where
    C: Service<Uri> + Clone + Send + Sync,
    C::Error: Into<BoxError>,
{
    let attempt = || connector.clone().oneshot(uri.clone());
    let mut attempts: FuturesUnordered<_> = std::iter::once(attempt()).collect();
    let mut begun = 1;
    loop {
        tokio::select! {
            Some(outcome) = attempts.next() => match outcome {
                Ok(connection) => return Ok(connection),
                // Refused: whoever dials again soon after does so by its own pauses.
                Err(error) if attempts.is_empty() => return Err(error.into()),
                Err(_) => {}
            },
            () = sleep(after * begun), if begun < ATTEMPTS => {
                attempts.push(attempt());
                begun += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
