// SPDX-License-Identifier: Apache-2.0
//! HTTP around the handler: which requests are reviews, and the status of those that are not.
//!
//! A status outside 2xx makes the API server go by its failure policy, which is to let the Service through.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use gateherald_model::injection::Outcome;
use gateherald_runtime::shutdown::Shutdown;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use tracing::debug;

use crate::{
    budget::Budget,
    handler::{Ask, Handler, NotSynced},
    review::Review,
};

/// The path of the registration.
pub const PATH: &str = "/mutate";
/// Largest body. A review holds an object and its predecessor: two times the 3 MiB that the API server stores, and more.
pub const BODY_LIMIT: usize = 7 * 1024 * 1024;
/// From the head to the end of the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Reviews that hold a body at the same time: 64 of the largest are 448 MiB, 64 usual ones 1 MiB.
const CONCURRENT: usize = 64;

/// A refused request.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    outcome: Outcome,
    text: String,
}

/// The admission port's requests.
#[derive(Debug)]
pub struct Frontend<A> {
    handler: Handler<A>,
    permits: Semaphore,
    shutdown: Shutdown,
}

impl<A: Ask> Frontend<A> {
    /// In front of `handler`.
    pub fn new(handler: Handler<A>, shutdown: Shutdown) -> Arc<Self> {
        Arc::new(Self { handler, permits: Semaphore::new(CONCURRENT), shutdown })
    }

    /// Answers a request.
    pub async fn serve<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
    {
        let version = request.version();
        let budget = Budget::of(request.uri().query(), Instant::now());
        let _in_flight = self.handler.metrics.review_begins();
        let mut response = match self.review(request, budget).await {
            Ok(body) => json(body),
            Err(refusal) => {
                debug!(status = refusal.status.as_u16(), reason = refusal.text, "request refused");
                self.handler.refused(refusal.outcome, budget);
                refusal.into_response()
            }
        };
        // HTTP/2 has GOAWAY for this.
        if self.shutdown.is_draining() && version <= Version::HTTP_11 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn review<B>(&self, request: Request<B>, budget: Budget) -> Result<Vec<u8>, Refusal>
    where
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
    {
        check_head(&request)?;
        let closed = |_| Refusal::invalid(StatusCode::SERVICE_UNAVAILABLE, "shutting down");
        let _permit = self.permits.acquire().await.map_err(closed)?;
        let body = read_body(request.into_body()).await?;
        let review = Review::decode(&body)
            .map_err(|error| Refusal::invalid(StatusCode::BAD_REQUEST, error.to_string()))?;
        self.handler.answer(&review, budget).await.map_err(Refusal::from)
    }
}

fn check_head<B: Body>(request: &Request<B>) -> Result<(), Refusal> {
    if request.uri().path() != PATH {
        return Err(Refusal::invalid(StatusCode::NOT_FOUND, "only /mutate is served here"));
    }
    if request.method() != Method::POST {
        return Err(Refusal::invalid(StatusCode::METHOD_NOT_ALLOWED, "only POST is served here"));
    }
    if !is_json(request.headers()) {
        return Err(Refusal::invalid(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Content-Type must be application/json",
        ));
    }
    if request.body().size_hint().lower() > BODY_LIMIT as u64 {
        return Err(Refusal::too_large());
    }
    Ok(())
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

async fn read_body<B>(body: B) -> Result<Bytes, Refusal>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
{
    let collected = timeout(BODY_TIMEOUT, Box::pin(Limited::new(body, BODY_LIMIT)).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::too_large()),
        Ok(Err(error)) => Err(Refusal::invalid(StatusCode::BAD_REQUEST, error.to_string())),
        Err(_) => Err(Refusal::invalid(StatusCode::REQUEST_TIMEOUT, "the body took too long")),
    }
}

impl Refusal {
    fn invalid(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, outcome: Outcome::InvalidReview, text: text.into() }
    }

    fn too_large() -> Self {
        Self::invalid(StatusCode::PAYLOAD_TOO_LARGE, format!("more than {BODY_LIMIT} bytes"))
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(self.text + "\n"));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if self.outcome == Outcome::NotSynced {
            // The API server calls again after this many seconds, perhaps another replica.
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<NotSynced> for Refusal {
    fn from(_: NotSynced) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            outcome: Outcome::NotSynced,
            text: "the Gateways are not known yet".into(),
        }
    }
}

fn json(body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests;
