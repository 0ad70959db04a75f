// SPDX-License-Identifier: Apache-2.0
use std::{collections::BTreeSet, sync::Arc};

use super::*;

/// One of each; a new variant does not compile before it is here.
fn one_of_each() -> Vec<Why> {
    let none = || NoLink::NoneMatches(Arc::default());
    let all = vec![
        Why::PolicyInvalid("BadNodeSelector", String::new()),
        Why::LeftToCilium(String::new()),
        Why::SelectsNothing,
        Why::NodeUnknown,
        Why::NodeNotSelected,
        Why::NodeNetworkUnavailable,
        Why::NodeOptedOut,
        Why::NodeExcluded,
        Why::NoPolicy,
        Why::ServiceOptedOut,
        Why::OtherLoadBalancerClass(String::new()),
        Why::NoAddress,
        Why::HostnameOnly(String::new()),
        Why::BadAddress(String::new()),
        Why::IpModeProxy,
        Why::NotAVirtualAddress(NotVirtual::Loopback),
        Why::ExternalIpsOff,
        Why::LoadBalancerIpsOff,
        Why::OutsideAddresses,
        Why::OutsideExternalIpCidrs,
        Why::NoInterface(none()),
        Why::InterfacesDown(NoLink::AllDown(Vec::new())),
        Why::EndpointsUnknown(String::new()),
        Why::NoEndpoints,
        Why::NoLocalEndpoint,
        Why::SharedElsewhere(ServiceKey::new("prod", "web")),
    ];
    for why in &all {
        match why {
            Why::PolicyInvalid(..)
            | Why::LeftToCilium(..)
            | Why::SelectsNothing
            | Why::NodeUnknown
            | Why::NodeNotSelected
            | Why::NodeNetworkUnavailable
            | Why::NodeOptedOut
            | Why::NodeExcluded
            | Why::NoPolicy
            | Why::ServiceOptedOut
            | Why::OtherLoadBalancerClass(_)
            | Why::NoAddress
            | Why::HostnameOnly(_)
            | Why::BadAddress(_)
            | Why::IpModeProxy
            | Why::NotAVirtualAddress(_)
            | Why::ExternalIpsOff
            | Why::LoadBalancerIpsOff
            | Why::OutsideAddresses
            | Why::OutsideExternalIpCidrs
            | Why::NoInterface(_)
            | Why::InterfacesDown(_)
            | Why::EndpointsUnknown(_)
            | Why::NoEndpoints
            | Why::NoLocalEndpoint
            | Why::SharedElsewhere(_) => {}
        }
    }
    all
}

#[test]
fn every_name_is_listed_once() {
    let names: BTreeSet<&str> = Why::NAMES.into_iter().collect();
    assert_eq!(names.len(), Why::NAMES.len());
    let invalid =
        ["BadServiceSelector", "BadInterfaceRegex", "BadAddresses", "AddressesRequired", "Undecodable"];
    let found: BTreeSet<&str> = one_of_each().iter().map(Why::name).chain(invalid).collect();
    assert_eq!(found, names);
}
