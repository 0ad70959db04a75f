// SPDX-License-Identifier: Apache-2.0
//! The interfaces of this machine, by /sys.

use std::{fs, path::Path};

use gateherald_wire::MacAddr;

use super::ProbeError;

const CLASS: &str = "/sys/class/net";
/// `ARPHRD_ETHER`.
const ETHERNET: &str = "1";
const UP: u32 = 0x1;
const LOOPBACK: u32 = 0x8;
const NOARP: u32 = 0x80;

/// An interface that answers could come in on.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) mac: MacAddr,
}

/// Those of these names; without names, all that are up, Ethernet, and nobody's members.
pub(crate) fn all(names: &[String]) -> Result<Vec<Link>, ProbeError> {
    if let Some(name) = names.iter().find(|name| read(name).is_none()) {
        return Err(ProbeError::NoInterface(format!("there is no Ethernet interface {name} that is up")));
    }
    let links: Vec<Link> = if names.is_empty() {
        let entries = fs::read_dir(CLASS).into_iter().flatten().flatten();
        let mut all: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        all.sort();
        all.iter().filter(|name| !Path::new(CLASS).join(name).join("master").exists()).filter_map(|n| read(n)).collect()
    } else {
        names.iter().filter_map(|name| read(name)).collect()
    };
    if links.is_empty() {
        return Err(ProbeError::NoInterface("no Ethernet interface of this machine is up".to_owned()));
    }
    Ok(links)
}

fn read(name: &str) -> Option<Link> {
    let file = |field: &str| {
        let text = fs::read_to_string(Path::new(CLASS).join(name).join(field)).ok()?;
        Some(text.trim().to_owned())
    };
    let flags = u32::from_str_radix(file("flags")?.trim_start_matches("0x"), 16).ok()?;
    let speaks = flags & UP != 0 && flags & (LOOPBACK | NOARP) == 0 && file("type")? == ETHERNET;
    let link = Link { name: name.to_owned(), index: file("ifindex")?.parse().ok()?, mac: file("address")?.parse().ok()? };
    speaks.then_some(link)
}
