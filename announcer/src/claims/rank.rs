// SPDX-License-Identifier: Apache-2.0
//! Who tries first for a free address: rendezvous order, so that addresses spread evenly over the nodes and taking one
//! almost always costs one write.

use std::net::IpAddr;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

/// 15 ms: how much later the next node in the order tries; longer than a write and its watch event take on an idle
/// API server, so the losers see the winner before they try.
pub(super) const STEP: Duration = Duration::from_millis(15);
/// 1 ms more for each address that became free with it, since its takers are busy for so long,
pub(super) const CROWD_STEP: Duration = Duration::from_millis(1);
/// of up to so many: whoever does not take its share holds the others up for no longer than a quarter of a second.
pub(super) const LARGEST_CROWD: u32 = 250;
/// Nobody waits for longer than this many nodes before it.
const LAST: usize = 20;

/// Those of `others` that come before `me` in the order of `address`; `first` comes before all.
pub(super) fn ahead<'a, T>(
    address: IpAddr,
    me: &'a str,
    first: Option<&'a str>,
    others: impl Iterator<Item = (&'a str, T)>,
) -> impl Iterator<Item = (&'a str, T)> {
    let score = move |node: &str| (first == Some(node), score(address, node));
    let mine = (score(me), me);
    others.filter(move |(other, _)| *other != me && (score(other), *other) > mine).take(LAST)
}

fn score(address: IpAddr, node: &str) -> u64 {
    xxh3_64(format!("{address}/{node}").as_bytes())
}
