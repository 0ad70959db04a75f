// SPDX-License-Identifier: Apache-2.0
//! Who had which address when, as far as it was watched.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

use jiff::Timestamp;
use serde::Serialize;

use crate::vips::Row;

/// Older changes are forgotten: a page shows them, nothing is decided by them.
const KEPT: usize = 1000;

/// The changes, newest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    holders: BTreeMap<IpAddr, Option<String>>,
    changes: VecDeque<Change>,
    seen: bool,
}

/// An address changed hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    pub(crate) at: Timestamp,
    pub(crate) address: IpAddr,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
}

impl Timeline {
    /// Takes what is so now. What was so at the first look is known since when, if its claim says so.
    pub(crate) fn see(&mut self, rows: &[Row], now: Timestamp) {
        let mut gone = std::mem::take(&mut self.holders);
        for row in rows {
            let Some(address) = row.address else { continue };
            let before = gone.remove(&address).flatten();
            let first = !self.seen;
            if before != row.holder {
                let at = if first { row.since.unwrap_or(now) } else { now };
                self.add(Change { at, address, from: before, to: row.holder.clone() });
            }
            self.holders.insert(address, row.holder.clone());
        }
        for (address, holder) in gone.into_iter().filter(|(_, holder)| holder.is_some()) {
            self.add(Change { at: now, address, from: holder, to: None });
        }
        self.seen = true;
    }

    fn add(&mut self, change: Change) {
        self.changes.push_front(change);
        self.changes.truncate(KEPT);
    }

    /// The changes, newest first.
    pub(crate) fn changes(&self) -> &VecDeque<Change> {
        &self.changes
    }
}

#[cfg(test)]
mod tests;
