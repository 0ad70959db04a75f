// SPDX-License-Identifier: Apache-2.0
//! The interfaces of this network namespace. Not by /sys, which shows the namespace that it was mounted in.

use std::collections::BTreeMap;

use gateherald_wire::MacAddr;
use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};

use super::ProbeError;

/// An interface that answers could come in on.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) mac: MacAddr,
}

/// Those of these names; without names, all that are up, Ethernet, and no bond's members.
pub(crate) fn all(names: &[String]) -> Result<Vec<Link>, ProbeError> {
    let links =
        read().map_err(|error| ProbeError::NoInterface(format!("cannot list interfaces: {error}")))?;
    if let Some(name) = names.iter().find(|name| !links.contains_key(*name)) {
        let there: Vec<&str> = links.keys().map(String::as_str).collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        return Err(ProbeError::NoInterface(format!("no Ethernet interface {name} is up; there is {there}")));
    }
    let wanted = |link: &Link| names.is_empty() || names.contains(&link.name);
    let links: Vec<Link> = links.into_values().filter(wanted).collect();
    if links.is_empty() {
        return Err(ProbeError::NoInterface("no Ethernet interface of this machine is up".to_owned()));
    }
    Ok(links)
}

/// By name.
fn read() -> nix::Result<BTreeMap<String, Link>> {
    let deaf = InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_NOARP | InterfaceFlags::IFF_SLAVE;
    let link = |entry: nix::ifaddrs::InterfaceAddress| {
        let hardware = *entry.address?.as_link_addr()?;
        let speaks = entry.flags.contains(InterfaceFlags::IFF_UP) && !entry.flags.intersects(deaf);
        let index = u32::try_from(hardware.ifindex()).ok()?;
        let mac = MacAddr(hardware.addr()?);
        (speaks && mac != MacAddr::ZERO)
            .then_some((entry.interface_name.clone(), Link { name: entry.interface_name, index, mac }))
    };
    Ok(getifaddrs()?.filter_map(link).collect())
}
