// SPDX-License-Identifier: Apache-2.0
//! `externalTrafficPolicy: Local`: an address may be announced where its Services' endpoints are.
//!
//! Services that share an address share the node that announces it. So it follows, one after the other by namespace and
//! name, those with the policy Local: each narrows the choice to its own nodes, unless nothing would be left of it, or it
//! has no endpoint at all. A Service with the policy Cluster is served from any node, and so has no say. Every node comes
//! to the same set, since all see the same slices.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{Desired, Inputs, Why};
use crate::{endpoints::Whereabouts, few::Few, service::ServiceKey};

/// What is left of an address here, and of which Services it is not announced for which reason.
pub(super) struct Placed {
    /// None: it may not be announced here.
    pub(super) desired: Option<Desired>,
    /// The Services that lose by it.
    pub(super) refused: Vec<(ServiceKey, Why)>,
}

/// Judges an address that this node would announce, by the endpoints of those of its Services that want a node of their own.
pub(super) fn place(
    inputs: &Inputs<'_>,
    address: IpAddr,
    mut desired: Desired,
    local: &BTreeSet<ServiceKey>,
) -> Placed {
    let endpoints = match inputs.endpoints {
        Ok(endpoints) => endpoints,
        Err(why) => {
            let unknown = |service| (service, Why::EndpointsUnknown(why.to_owned()));
            return Placed { desired: None, refused: desired.services.into_iter().map(unknown).collect() };
        }
    };
    let mut refused: BTreeMap<ServiceKey, Why> = BTreeMap::new();
    let mut choice: Option<Choice<'_>> = None;
    for service in local {
        match (endpoints.of(service, address.into()), &mut choice) {
            (Whereabouts::Anywhere, _) => {}
            (Whereabouts::Nowhere, _) => drop(refused.insert(service.clone(), Why::NoEndpoints)),
            (Whereabouts::On(nodes), None) => {
                choice = Some(Choice { first: service, among: BTreeSet::from([service]), nodes });
            }
            (Whereabouts::On(nodes), Some(choice)) => {
                if choice.nodes.is_disjoint(&nodes) {
                    refused.insert(service.clone(), Why::SharedElsewhere(choice.first.clone()));
                } else {
                    choice.nodes.retain(|node| nodes.contains(node));
                    choice.among.insert(service);
                }
            }
        }
    }
    desired.services.retain(|service| !refused.contains_key(service));
    let me = inputs.node.map(|node| node.name.as_str());
    if let Some(choice) = choice.filter(|choice| !me.is_some_and(|me| choice.nodes.contains(me))) {
        let why = |service: &ServiceKey| {
            if choice.among.contains(service) {
                Why::NoLocalEndpoint
            } else {
                Why::SharedElsewhere(choice.first.clone())
            }
        };
        refused.extend(desired.services.iter().map(|service| (service.clone(), why(service))));
        desired.services = Few::default();
    }
    let desired = Some(desired).filter(|desired| !desired.services.is_empty());
    Placed { desired, refused: refused.into_iter().collect() }
}

/// The nodes that are left to choose from.
struct Choice<'a> {
    /// The Service that was asked first.
    first: &'a ServiceKey,
    /// Those that the nodes serve.
    among: BTreeSet<&'a ServiceKey>,
    nodes: BTreeSet<&'a str>,
}

#[cfg(test)]
mod tests;
