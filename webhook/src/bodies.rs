// SPDX-License-Identifier: Apache-2.0
//! How much memory the bodies of all requests may hold together, and which gives way when that is used up.
//!
//! No body waits for a permit before it is read: clients that dawdle would hold all permits, and the API server would wait.
//! Each is charged for what has arrived of it. When there is no room for more, the body that has been arriving for the longest
//! gives way: the API server's arrive within milliseconds and are never that one for long.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// Bytes of all bodies. Usual reviews have 5 to 20 KiB.
pub const ROOM: usize = 64 * 1024 * 1024;
/// Requests at the same time, whatever their size. An API server with default limits has up to 600 requests under way.
pub const REQUESTS: usize = 1024;
/// No body gives way earlier: without this, many large ones at once would push each other out and none would arrive.
const GRACE: Duration = Duration::from_millis(500);

/// The bodies that are arriving, and those whose requests are being answered.
#[derive(Debug)]
pub struct Bodies {
    limit: Load,
    state: Mutex<State>,
    freed: Notify,
}

/// One request's share; given back when dropped.
#[derive(Debug)]
pub struct Share<'a> {
    bodies: &'a Bodies,
    id: u64,
    /// Signalled once, when it gives way.
    push: Arc<Notify>,
    /// Set when the body is complete: from then on it does not give way.
    held: Option<usize>,
}

/// The body gave way to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GaveWay;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    bytes: usize,
    requests: usize,
}

#[derive(Debug, Default)]
struct State {
    load: Load,
    /// By order of arrival.
    arriving: BTreeMap<u64, Arriving>,
    next: u64,
}

#[derive(Debug)]
struct Arriving {
    since: Instant,
    bytes: usize,
    push: Arc<Notify>,
}

impl Default for Bodies {
    /// With [`ROOM`] for [`REQUESTS`].
    fn default() -> Self {
        Self::with_room(ROOM, REQUESTS)
    }
}

impl Bodies {
    /// With room for so many bytes and requests.
    pub fn with_room(bytes: usize, requests: usize) -> Self {
        Self { limit: Load { bytes, requests }, state: Mutex::default(), freed: Notify::new() }
    }

    /// Begins a request. Waits only while all others are so new that none has to give way.
    pub async fn begin(&self) -> Share<'_> {
        loop {
            let freed = self.freed.notified();
            let until = {
                let now = Instant::now();
                let mut state = self.state();
                if state.load.requests < self.limit.requests {
                    return self.enter(&mut state, now);
                }
                state.make_way(now)
            };
            wait(freed, until).await;
        }
    }

    fn enter(&self, state: &mut State, since: Instant) -> Share<'_> {
        let (id, push) = (state.next, Arc::new(Notify::new()));
        state.next += 1;
        state.load.requests += 1;
        state.arriving.insert(id, Arriving { since, bytes: 0, push: Arc::clone(&push) });
        Share { bodies: self, id, push, held: None }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share<'_> {
    /// Charges for `bytes` more, once there is room for them.
    pub async fn grow(&self, bytes: usize) -> Result<(), GaveWay> {
        loop {
            let freed = self.bodies.freed.notified();
            let until = {
                let mut state = self.bodies.state();
                let fits = state.load.bytes + bytes <= self.bodies.limit.bytes;
                let own = state.arriving.get_mut(&self.id).ok_or(GaveWay)?;
                if fits {
                    own.bytes += bytes;
                    state.load.bytes += bytes;
                    return Ok(());
                }
                state.make_way(Instant::now())
            };
            tokio::select! {
                () = self.gave_way() => return Err(GaveWay),
                () = wait(freed, until) => {}
            }
        }
    }

    /// Until the body has to give way.
    pub async fn gave_way(&self) {
        self.push.notified().await;
    }

    /// The body is complete: its request will be answered.
    pub fn complete(&mut self) -> Result<(), GaveWay> {
        let arrived = self.bodies.state().arriving.remove(&self.id).ok_or(GaveWay)?;
        self.held = Some(arrived.bytes);
        Ok(())
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut state = self.bodies.state();
        let held = self.held.or_else(|| state.arriving.remove(&self.id).map(|arriving| arriving.bytes));
        // Nothing when it gave way: that was when its share was given back.
        if let Some(bytes) = held {
            state.load.bytes -= bytes;
            state.load.requests -= 1;
            drop(state);
            self.bodies.freed.notify_waiters();
        }
    }
}

impl State {
    /// Lets the oldest body give way if it had its time. Until when to wait before the next try; `None`: until a share
    /// is given back.
    fn make_way(&mut self, now: Instant) -> Option<Instant> {
        let oldest = self.arriving.first_entry()?;
        let due = oldest.get().since + GRACE;
        if due <= now {
            let gone = oldest.remove();
            self.load.bytes -= gone.bytes;
            self.load.requests -= 1;
            gone.push.notify_one();
            return Some(now);
        }
        Some(due)
    }
}

async fn wait(freed: impl Future<Output = ()>, until: Option<Instant>) {
    match until {
        // Either is a reason to look again.
        Some(until) => drop(timeout_at(until, freed).await),
        None => freed.await,
    }
}

#[cfg(test)]
mod tests;
