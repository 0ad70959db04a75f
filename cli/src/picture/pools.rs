// SPDX-License-Identifier: Apache-2.0
//! Address pools of the allocators that are known: Cilium's LB-IPAM and MetalLB.

use std::net::IpAddr;

use gateherald_model::{
    selector::{LabelSelector, Selector, SelectorError},
    service::ServiceView,
};
use ipnet::IpNet;

use crate::snapshot::{
    Named, Snapshot,
    objects::{Block, CiliumPool, MetalLbPool},
};

/// A pool.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    /// `CiliumLoadBalancerIPPool/name` or `IPAddressPool/name`.
    pub(crate) id: String,
    /// Where its selectors are in the object.
    pub(crate) field: &'static str,
    /// Any of which selects; none: everything.
    pub(crate) selectors: Vec<LabelSelector>,
    /// Only Services of these; empty: of all.
    pub(crate) namespaces: Vec<String>,
    pub(crate) ranges: Vec<(IpAddr, IpAddr)>,
    /// It gives no addresses at all, or none unasked.
    pub(crate) idle: bool,
    /// A selector that cannot be evaluated.
    pub(crate) error: Option<SelectorError>,
}

impl Pool {
    /// Whether it would give an address to this Service.
    pub(crate) fn selects(&self, service: &ServiceView) -> bool {
        let namespace = self.namespaces.is_empty() || self.namespaces.contains(&service.key.namespace);
        let matches =
            |selector: &LabelSelector| Selector::compile(Some(selector)).is_ok_and(|s| s.matches(service));
        !self.idle && namespace && (self.selectors.is_empty() || self.selectors.iter().any(matches))
    }

    /// Whether the address is one of its.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.ranges
            .iter()
            .any(|(first, last)| first.is_ipv4() == address.is_ipv4() && (first..=last).contains(&&address))
    }
}

/// All pools, Cilium's first.
pub(crate) fn all(snapshot: &Snapshot) -> Vec<Pool> {
    let ciliums = snapshot.cilium_pools.items.iter().map(cilium);
    let metallbs = snapshot.metallb_pools.items.iter().map(metallb);
    ciliums.chain(metallbs).collect()
}

fn cilium(pool: &CiliumPool) -> Pool {
    let selectors: Vec<LabelSelector> = pool.spec.service_selector.iter().cloned().collect();
    Pool {
        id: format!("CiliumLoadBalancerIPPool/{}", pool.key().1),
        field: "spec.serviceSelector",
        error: error(&selectors),
        selectors,
        namespaces: Vec::new(),
        ranges: pool.spec.blocks.iter().filter_map(block).collect(),
        idle: pool.spec.disabled,
    }
}

fn metallb(pool: &MetalLbPool) -> Pool {
    let allocation = pool.spec.service_allocation.clone().unwrap_or_default();
    Pool {
        id: format!("IPAddressPool/{}", pool.key().1),
        field: "spec.serviceAllocation.serviceSelectors",
        error: error(&allocation.service_selectors),
        selectors: allocation.service_selectors,
        namespaces: allocation.namespaces,
        ranges: pool.spec.addresses.iter().filter_map(|text| range(text)).collect(),
        idle: pool.spec.auto_assign == Some(false),
    }
}

fn error(selectors: &[LabelSelector]) -> Option<SelectorError> {
    selectors.iter().find_map(|selector| Selector::compile(Some(selector)).err())
}

fn block(block: &Block) -> Option<(IpAddr, IpAddr)> {
    if let Some(cidr) = &block.cidr {
        return range(cidr);
    }
    let start: IpAddr = block.start.as_ref()?.parse().ok()?;
    let stop = block.stop.as_ref().map_or(Some(start), |stop| stop.parse().ok())?;
    Some((start, stop))
}

/// A CIDR, or `first-last`.
fn range(text: &str) -> Option<(IpAddr, IpAddr)> {
    if let Some((first, last)) = text.split_once('-') {
        return Some((first.trim().parse().ok()?, last.trim().parse().ok()?));
    }
    let net: IpNet = text.trim().parse().ok()?;
    Some((net.network(), net.broadcast()))
}

#[cfg(test)]
mod tests;
