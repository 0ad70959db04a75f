// SPDX-License-Identifier: Apache-2.0
//! HTTP around the handler: which requests are reviews, and the status of those that are not.
//!
//! A status outside 2xx makes the API server go by its failure policy, which is to let the Service through.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use gateherald_model::injection::Outcome;
use gateherald_runtime::shutdown::Shutdown;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
    time::{Instant, timeout_at},
};
use tracing::debug;

use crate::{
    bodies::{Bodies, GaveWay, Share},
    budget::Budget,
    handler::{Ask, Handler, NotSynced},
    metrics::Crowd,
    review::{Review, ReviewError},
};

/// The path of the registration.
pub const PATH: &str = "/mutate";
/// Largest body. A review holds an object and its predecessor: two times the 3 MiB that the API server stores, and more.
pub const BODY_LIMIT: usize = 7 * 1024 * 1024;
/// From the head to the end of the body, or less when the caller says that it waits for less.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Decoding takes a few milliseconds per MiB: what is larger than this must not keep a worker from its other connections.
const LARGE: usize = 256 * 1024;
/// Characters of a refusal's reason: it quotes the request.
const REASON_CHARS: usize = 300;

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
    bodies: Bodies,
    shutdown: Shutdown,
}

impl<A: Ask> Frontend<A> {
    /// In front of `handler`.
    pub fn new(handler: Handler<A>, shutdown: Shutdown) -> Arc<Self> {
        Arc::new(Self { handler, bodies: Bodies::default(), shutdown })
    }

    /// Answers a request.
    pub async fn serve<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
    {
        let version = request.version();
        let budget = Budget::of(request.uri().query(), Instant::now());
        let reviewing = self.handler.metrics.review_begins();
        let mut response = match self.review(request, budget).await {
            Ok(body) => json(body),
            Err(refusal) => {
                debug!(status = refusal.status.as_u16(), reason = refusal.text, "request refused");
                self.handler.refused(refusal.outcome, budget);
                refusal.into_response()
            }
        };
        reviewing.answered();
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
        let deadline = budget.body_deadline(BODY_TIMEOUT);
        // Held until the answer is made: what is decoded borrows from the body.
        let (body, _share) = timeout_at(deadline, self.body(request.into_body()))
            .await
            .map_err(|_| Refusal::invalid(StatusCode::REQUEST_TIMEOUT, "the body took too long"))??;
        let review =
            decode(&body).map_err(|error| Refusal::invalid(StatusCode::BAD_REQUEST, &error.to_string()))?;
        self.handler.answer(&review, budget).await.map_err(Refusal::from)
    }

    /// The whole body, and its share of the memory that is set aside for bodies.
    async fn body<B>(&self, body: B) -> Result<(Bytes, Share<'_>), Refusal>
    where
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
    {
        let mut share = self.bodies.begin().await;
        let read = read_body(body, &share).await;
        let complete = read.and_then(|body| Ok((body, share.complete()?)));
        if complete.as_ref().is_err_and(|refusal| refusal.status == StatusCode::SERVICE_UNAVAILABLE) {
            self.handler.metrics.gave_way(Crowd::Body);
        }
        complete.map(|(body, ())| (body, share))
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

async fn read_body<B>(body: B, share: &Share<'_>) -> Result<Bytes, Refusal>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
{
    let mut body = pin!(Limited::new(body, BODY_LIMIT));
    let mut begun = BytesMut::new();
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = share.gave_way() => return Err(GaveWay.into()),
        };
        let Some(frame) = frame.transpose().map_err(|error| Refusal::unread(&*error))? else { break };
        // Trailers say nothing.
        let Ok(mut data) = frame.into_data() else { continue };
        share.grow(data.remaining()).await?;
        if begun.is_empty() && body.is_end_stream() {
            // Usual reviews come in one piece, which is not copied.
            return Ok(data.copy_to_bytes(data.remaining()));
        }
        begun.put(data);
    }
    Ok(begun.freeze())
}

/// Decodes; a large body on a thread that other tasks do not wait for.
fn decode(body: &[u8]) -> Result<Review<'_>, ReviewError> {
    // A runtime with one thread has no other thread to go on.
    let elsewhere = body.len() > LARGE && Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    if elsewhere { block_in_place(|| Review::decode(body)) } else { Review::decode(body) }
}

impl Refusal {
    fn invalid(status: StatusCode, text: &str) -> Self {
        Self { status, outcome: Outcome::InvalidReview, text: text.chars().take(REASON_CHARS).collect() }
    }

    fn too_large() -> Self {
        Self::invalid(StatusCode::PAYLOAD_TOO_LARGE, &format!("more than {BODY_LIMIT} bytes"))
    }

    fn unread(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Self {
        if error.is::<LengthLimitError>() {
            return Self::too_large();
        }
        Self::invalid(StatusCode::BAD_REQUEST, &error.to_string())
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(self.text + "\n"));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
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

impl From<GaveWay> for Refusal {
    fn from(_: GaveWay) -> Self {
        Self::invalid(StatusCode::SERVICE_UNAVAILABLE, "too many requests are slower or larger than usual")
    }
}

fn json(body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests;
