// SPDX-License-Identifier: Apache-2.0
//! Names of Leases: `gateherald-node-<node>` and `gateherald-vip-<address>`.

use std::net::{IpAddr, Ipv6Addr};

use xxhash_rust::xxh3::xxh3_64;

use super::Key;

const SESSION_PREFIX: &str = "gateherald-node-";
const CLAIM_PREFIX: &str = "gateherald-vip-";
/// The longest name of a Kubernetes object (RFC 1123 subdomain).
const LONGEST: usize = 253;
/// Of a longer name so much is kept, before `-` and ten characters of its hash.
const KEPT: usize = 200;

/// What a Lease's name says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A node's session.
    Session,
    /// The claim on an address.
    Claim,
}

/// The name of a session's or a claim's Lease.
pub fn of(key: &Key) -> String {
    match key {
        Key::Session(node) => shortened(format!("{SESSION_PREFIX}{node}")),
        Key::Claim(IpAddr::V4(address)) => format!("{CLAIM_PREFIX}{address}"),
        Key::Claim(IpAddr::V6(address)) => {
            let groups: Vec<String> = address.segments().iter().map(|group| format!("{group:04x}")).collect();
            format!("{CLAIM_PREFIX}{}", groups.join("-"))
        }
    }
}

/// What the Lease with this name is; nothing when announcers give no such name.
pub fn kind(name: &str) -> Option<Kind> {
    if name.starts_with(SESSION_PREFIX) {
        Some(Kind::Session)
    } else if name.starts_with(CLAIM_PREFIX) {
        Some(Kind::Claim)
    } else {
        None
    }
}

/// The node in a session's name; nothing when the name was shortened.
pub fn session_node(name: &str) -> Option<String> {
    let node = name.strip_prefix(SESSION_PREFIX)?;
    (!node.is_empty() && name.len() < KEPT).then(|| node.to_owned())
}

/// The address in a claim's name, if it is written as [`of`] writes it.
pub fn claimed_address(name: &str) -> Option<IpAddr> {
    let text = name.strip_prefix(CLAIM_PREFIX)?;
    let address = text.parse().map_or_else(|_| six(text).map(IpAddr::V6), |four| Some(IpAddr::V4(four)))?;
    (of(&Key::Claim(address)) == name).then_some(address)
}

fn six(text: &str) -> Option<Ipv6Addr> {
    let mut groups = [0; 8];
    let mut parts = text.split('-');
    for group in &mut groups {
        *group = u16::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then(|| Ipv6Addr::from(groups))
}

fn shortened(name: String) -> String {
    if name.len() <= LONGEST {
        return name;
    }
    let hash = format!("{:016x}", xxh3_64(name.as_bytes()));
    let head: String = name.chars().take(KEPT).collect();
    format!("{}-{}", head.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()), &hash[..10])
}
