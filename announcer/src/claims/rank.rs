// SPDX-License-Identifier: Apache-2.0
//! Who tries first for a free address: rendezvous order, so that addresses spread evenly over the nodes and taking one
//! almost always costs one write.

use std::net::IpAddr;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

/// 15 ms: how much later the next node in the order tries; longer than a write and its watch event take on an idle
/// API server, so the losers see the winner before they try.
pub(super) const STEP: Duration = Duration::from_millis(15);
/// Nobody waits for longer than this many nodes before it.
const LAST: u32 = 20;

/// How many of `others` come before `me` in the order of `address`.
pub(super) fn of<'a>(address: IpAddr, me: &str, others: impl Iterator<Item = &'a str>) -> u32 {
    let mine = (score(address, me), me);
    let before = others
        .filter(|other| *other != me && (score(address, other), *other) > mine)
        .take(LAST as usize)
        .count();
    u32::try_from(before).unwrap_or(LAST)
}

fn score(address: IpAddr, node: &str) -> u64 {
    xxh3_64(format!("{address}/{node}").as_bytes())
}
