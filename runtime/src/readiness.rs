// SPDX-License-Identifier: Apache-2.0
//! Readiness by parts: the process is ready when every named part says so, and each that doesn't says why.

use std::fmt;

use tokio::sync::watch;

/// What one part of the process says about itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// The part does its work.
    Ready,
    /// The part cannot do its work, for this reason.
    Waiting(String),
}

/// All parts of the process; cheap to clone, read by the admin port.
#[derive(Clone, Debug, Default)]
pub struct Board {
    parts: Vec<(&'static str, watch::Receiver<State>)>,
}

/// One part's side of the [`Board`]: its only writer.
#[derive(Debug)]
pub struct Handle {
    name: &'static str,
    state: watch::Sender<State>,
}

/// The board at one instant; displays one line per part.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    parts: Vec<(&'static str, State)>,
}

impl Board {
    /// Adds a part, not ready for `reason`, and returns its writer.
    pub fn part(&mut self, name: &'static str, reason: impl Into<String>) -> Handle {
        let (state, receiver) = watch::channel(State::Waiting(reason.into()));
        self.parts.push((name, receiver));
        Handle { name, state }
    }

    /// Reads every part. A part whose [`Handle`] is gone keeps its last word.
    pub fn report(&self) -> Report {
        let read = |(name, state): &(&'static str, watch::Receiver<State>)| (*name, state.borrow().clone());
        Report { parts: self.parts.iter().map(read).collect() }
    }

    /// Waits until every part is ready. Cancel-safe.
    pub async fn ready(&self) {
        loop {
            for (_, state) in &self.parts {
                let mut state = state.clone();
                if state.wait_for(|s| *s == State::Ready).await.is_err() {
                    // The writer is gone while waiting: this part never becomes ready.
                    std::future::pending::<()>().await;
                }
            }
            if self.report().is_ready() {
                return;
            }
        }
    }
}

impl Handle {
    /// Declares the part ready; logs when that is news.
    pub fn ready(&self) {
        if self.replace(State::Ready) {
            tracing::info!(part = self.name, "ready");
        }
    }

    /// Declares the part not ready for `reason`. Whoever is in trouble logs it.
    pub fn waiting(&self, reason: impl Into<String>) {
        let reason = reason.into();
        if self.replace(State::Waiting(reason.clone())) {
            tracing::debug!(part = self.name, reason, "not ready");
        }
    }

    /// Whether the part is ready now.
    pub fn is_ready(&self) -> bool {
        *self.state.borrow() == State::Ready
    }

    fn replace(&self, next: State) -> bool {
        self.state.send_if_modified(|state| {
            let changed = *state != next;
            *state = next;
            changed
        })
    }
}

impl Report {
    /// Whether every part is ready.
    pub fn is_ready(&self) -> bool {
        self.parts.iter().all(|(_, state)| *state == State::Ready)
    }

    /// The parts and what they say, in the order in which they were added.
    pub fn parts(&self) -> &[(&'static str, State)] {
        &self.parts
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, state) in &self.parts {
            match state {
                State::Ready => writeln!(f, "[+] {name}: ok")?,
                State::Waiting(reason) => writeln!(f, "[-] {name}: {reason}")?,
            }
        }
        f.write_str(if self.is_ready() { "ready\n" } else { "not ready\n" })
    }
}

#[cfg(test)]
mod tests;
