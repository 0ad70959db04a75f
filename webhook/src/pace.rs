// SPDX-License-Identifier: Apache-2.0
//! How slow a connection may be: a request's head must come within two seconds, between requests it may rest for two
//! minutes.
//!
//! hyper's own header timeout also runs while a kept-alive connection rests, so it cannot be both.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// From a request's first byte to the end of its head.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two requests. The API server keeps connections for 90 s and must be the one that closes them: a request sent
/// into a closing connection is lost.
pub const IDLE_TIMEOUT: Duration = Duration::from_mins(2);

const RESTING: u8 = 0;
const HEAD: u8 = 1;
const SERVING: u8 = 2;

/// What a connection is doing; shared by its socket and its requests.
#[derive(Debug)]
pub struct Pace {
    opened: Instant,
    phase: AtomicU8,
    serving: AtomicU64,
    /// When it last began or ended a request, in milliseconds after `opened`.
    active: AtomicU64,
}

/// A request under way on a connection.
#[derive(Debug)]
pub struct Serving(Arc<Pace>);

impl Pace {
    /// A connection that is open and rests.
    pub fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self {
            opened: now,
            phase: AtomicU8::new(RESTING),
            serving: AtomicU64::new(0),
            active: AtomicU64::new(0),
        })
    }

    /// The head of a request has been read.
    pub fn serve(self: &Arc<Self>) -> Serving {
        self.serving.fetch_add(1, Ordering::Relaxed);
        self.phase.store(SERVING, Ordering::Relaxed);
        self.touch();
        Serving(Arc::clone(self))
    }

    /// When the connection last began or ended a request, or was opened.
    pub fn active(&self) -> Instant {
        self.opened + Duration::from_millis(self.active.load(Ordering::Relaxed))
    }

    fn touch(&self) {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.active.store(now, Ordering::Relaxed);
    }

    /// When the connection will have rested for too long; `None` while it serves.
    pub fn rests_until(&self) -> Option<Instant> {
        (self.serving.load(Ordering::Relaxed) == 0).then(|| self.active() + IDLE_TIMEOUT)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let pace = &self.0;
        pace.touch();
        if pace.serving.fetch_sub(1, Ordering::Relaxed) == 1 {
            pace.phase.store(RESTING, Ordering::Relaxed);
        }
    }
}

/// An HTTP/1 connection whose reads fail when a head takes longer than [`HEAD_TIMEOUT`].
#[derive(Debug)]
pub struct Paced<S> {
    inner: S,
    pace: Arc<Pace>,
    deadline: Pin<Box<Sleep>>,
}

impl<S> Paced<S> {
    /// Watches the reads of `inner`.
    pub fn new(inner: S, pace: Arc<Pace>) -> Self {
        let deadline = Box::pin(sleep_until(pace.opened + HEAD_TIMEOUT));
        Self { inner, pace, deadline }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(cx, buffer);
        let in_head = this.pace.phase.load(Ordering::Relaxed) == HEAD;
        if in_head && this.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let begins =
            || this.pace.phase.compare_exchange(RESTING, HEAD, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if read.is_ready() && buffer.filled().len() > before && begins() {
            this.deadline.as_mut().reset(Instant::now() + HEAD_TIMEOUT);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
