// SPDX-License-Identifier: Apache-2.0
//! From the labels to the pool that an address comes from.

use super::{Link, LinkKind};
use crate::{
    finding::{Finding, Severity},
    near,
    picture::{Picture, Pool, ServiceFacts},
};

/// The link, and the pools that select the Service.
pub(super) fn link(picture: &Picture<'_>, facts: &ServiceFacts<'_>) -> (Link, Vec<String>) {
    let kind = LinkKind::Pool;
    let has_address = facts.addresses().next().is_some();
    let selecting: Vec<&Pool> = picture.pools.iter().filter(|pool| pool.selects(&facts.view)).collect();
    let ids = selecting.iter().map(|pool| pool.id.clone()).collect();
    if !facts.wants_an_address() {
        return (Link::waiting(kind, "it wants no address"), ids);
    }
    if picture.pools.is_empty() {
        let lists = [picture.snapshot.cilium_pools.unreadable(), picture.snapshot.metallb_pools.unreadable()];
        let link = match lists.into_iter().flatten().next() {
            Some(gap) => Link::unknown(kind, gap.to_string()),
            None if has_address => Link::good(kind, "its address is from elsewhere"),
            None => Link::unknown(kind, "no kind of pool that is known here"),
        };
        return (link, ids);
    }
    if !selecting.is_empty() {
        return (selected(picture, facts, &selecting), ids);
    }
    let mended = facts.mended();
    if let Some(pool) = picture.pools.iter().find(|pool| pool.selects(&mended)) {
        return (Link::waiting(kind, format!("{} will select it with its Gateway's labels", pool.id)), ids);
    }
    let severity = if has_address { Severity::Warning } else { Severity::Error };
    (Link::found(kind, Finding { severity, ..unselected(picture, facts) }), ids)
}

/// An address of another pool is kept until somebody asks for a new one.
fn selected(picture: &Picture<'_>, facts: &ServiceFacts<'_>, selecting: &[&Pool]) -> Link {
    let kind = LinkKind::Pool;
    for address in facts.addresses() {
        let others = picture.pools.iter().find(|pool| pool.has(address));
        if let (Some(other), false) = (others, selecting.iter().any(|pool| pool.has(address))) {
            let finding = Finding::warning(
                30,
                format!("Service {}", facts.view.key),
                "status.loadBalancer.ingress",
            )
            .says(format!("{address} is of {}, and {} selects it", other.id, selecting[0].id))
            .mend(format!(
                "Delete Service {}, so that its controller makes it again and it gets an address of {}.",
                facts.view.key, selecting[0].id
            ));
            return Link::found(kind, finding);
        }
    }
    Link::good(kind, "")
}

fn unselected(picture: &Picture<'_>, facts: &ServiceFacts<'_>) -> Finding {
    let service = format!("Service {}", facts.view.key);
    let mended = facts.mended();
    let misses = picture.pools.iter().filter(|pool| !pool.idle).flat_map(|pool| {
        let misses = pool.selectors.iter().filter_map(|s| near::miss(s, &mended, &facts.expected));
        misses.map(move |miss| (pool, miss))
    });
    if let Some((pool, miss)) = misses.into_iter().next() {
        let field = format!("{}.{}", pool.field, miss.field);
        return Finding::error(30, pool.id.clone(), field.clone())
            .says(format!("it almost selects {service}: {}", miss.says()))
            .mend(format!(
                "Set {field} of {} to {}, or label the Gateway {}={}.",
                pool.id,
                if miss.found_key == miss.key {
                    format!("{:?}", miss.found)
                } else {
                    format!("{}: {:?}", miss.found_key, miss.found)
                },
                miss.key,
                miss.wanted
            ));
    }
    let finding = Finding::error(30, service.clone(), "metadata.labels").says("no pool selects it");
    let nearest = picture.pools.iter().filter(|pool| !pool.idle).min_by_key(|pool| {
        pool.selectors.iter().map(|s| near::unmet(s, &mended).len()).min().unwrap_or_default()
    });
    let Some(pool) = nearest else {
        return finding.mend("Create a CiliumLoadBalancerIPPool (or IPAddressPool) that selects it.");
    };
    if !pool.namespaces.is_empty() && !pool.namespaces.contains(&facts.view.key.namespace) {
        return finding.mend(format!(
            "Add {} to spec.serviceAllocation.namespaces of {}.",
            facts.view.key.namespace, pool.id
        ));
    }
    let asks = pool.selectors.first().map(|s| near::unmet(s, &mended).join(",")).unwrap_or_default();
    let whom =
        facts.gateway.as_ref().map_or(service, |(namespace, name)| format!("Gateway {namespace}/{name}"));
    finding
        .mend(format!("Label {whom} as {} asks ({asks}), or change {} of {}.", pool.id, pool.field, pool.id))
}
