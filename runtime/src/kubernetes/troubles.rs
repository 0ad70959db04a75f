// SPDX-License-Identifier: Apache-2.0
//! The log of what is tried on many objects, each of which fails or works on its own.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::Problem;

/// Between two lines about the same kind of problem, however many objects have it.
const EVERY: Duration = Duration::from_mins(1);
/// So long nothing must have failed before a success is the end of it: some objects may work while others fail. Longer than
/// the longest pause between attempts at one object.
const CALM: Duration = Duration::from_mins(2);

/// As [`Trouble`](super::Trouble), but for many objects: reasons that name them differ without being news, so it speaks when
/// another *kind* of problem comes up, and once a minute while there are such.
#[derive(Debug)]
pub struct Troubles {
    what: &'static str,
    kinds: Vec<Kind>,
    last: Option<Instant>,
}

#[derive(Debug)]
struct Kind {
    problem: Option<Problem>,
    told: Instant,
    /// Failures since then.
    untold: u32,
}

impl Troubles {
    /// Nothing wrong yet with `what`.
    pub fn new(what: &'static str) -> Self {
        Self { what, kinds: Vec::new(), last: None }
    }

    /// An attempt at one object failed for `reason`. `None` when nobody said what kind of problem it is.
    pub fn note(&mut self, problem: Option<Problem>, reason: &str) {
        if let Some(failures) = self.failed(problem, Instant::now()) {
            warn!(part = self.what, reason, failures, "failing, will be tried again");
        }
    }

    /// An attempt at one object succeeded.
    pub fn over(&mut self) {
        if self.succeeded(Instant::now()) {
            info!(part = self.what, "works again");
        }
    }

    /// How many failures there are to tell of, if it is time to tell.
    fn failed(&mut self, problem: Option<Problem>, now: Instant) -> Option<u32> {
        self.last = Some(now);
        let Some(kind) = self.kinds.iter_mut().find(|kind| kind.problem == problem) else {
            self.kinds.push(Kind { problem, told: now, untold: 0 });
            return Some(1);
        };
        kind.untold += 1;
        if now < kind.told + EVERY {
            return None;
        }
        kind.told = now;
        Some(std::mem::take(&mut kind.untold))
    }

    /// Whether that ends the trouble.
    fn succeeded(&mut self, now: Instant) -> bool {
        if self.last.is_none_or(|last| now < last + CALM) {
            return false;
        }
        self.last = None;
        self.kinds.clear();
        true
    }
}

#[cfg(test)]
mod tests;
