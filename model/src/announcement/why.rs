// SPDX-License-Identifier: Apache-2.0
//! The reasons, and their names.

use std::fmt;

use crate::{address::NotVirtual, interfaces::NoLink, service::ServiceKey};

/// Why something is not announced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The policy's newest version is bad: reason and message of its condition.
    PolicyInvalid(&'static str, String),
    /// Policies of Cilium's kind are left alone, for this reason.
    LeftToCilium(String),
    /// The policy announces neither external nor LoadBalancer addresses.
    SelectsNothing,
    /// The own Node has not been seen.
    NodeUnknown,
    /// The policy's nodeSelector does not match.
    NodeNotSelected,
    /// The Node's condition `NetworkUnavailable` is True.
    NodeNetworkUnavailable,
    /// The Node is labelled `gateherald.io/announce: "false"`.
    NodeOptedOut,
    /// The Node is labelled [`crate::node::EXCLUDE_LABEL`], and that is honoured.
    NodeExcluded,
    /// No policy selects the Service.
    NoPolicy,
    /// The Service is annotated `gateherald.io/announce: "false"`.
    ServiceOptedOut,
    /// The Service's `loadBalancerClass` is another implementation's.
    OtherLoadBalancerClass(String),
    /// The Service has no address.
    NoAddress,
    /// The ingress names a host and no address.
    HostnameOnly(String),
    /// The text is no address.
    BadAddress(String),
    /// The ingress has `ipMode: Proxy`.
    IpModeProxy,
    /// The address belongs to somebody or means something else.
    NotAVirtualAddress(NotVirtual),
    /// The policy does not announce external IPs.
    ExternalIpsOff,
    /// The policy does not announce LoadBalancer addresses.
    LoadBalancerIpsOff,
    /// The address is outside the policy's `addresses`.
    OutsideAddresses,
    /// The external IP is outside the CIDRs given to the announcer for Cilium's policies.
    OutsideExternalIpCidrs,
    /// No link of the node carries the address.
    NoInterface(NoLink),
    /// All links that carry the address are down.
    InterfacesDown(NoLink),
    /// The Service has the external traffic policy Local, and its endpoints are not known.
    EndpointsUnknown(String),
    /// The Service has the external traffic policy Local, and no endpoint that is ready.
    NoEndpoints,
    /// The Service has the external traffic policy Local, and its endpoints are on other nodes.
    NoLocalEndpoint,
    /// The address is shared with this Service, and is where that one's endpoints are.
    SharedElsewhere(ServiceKey),
}

impl Why {
    /// Every name.
    pub const NAMES: [&'static str; 31] = [
        "BadNodeSelector",
        "BadServiceSelector",
        "BadInterfaceRegex",
        "BadAddresses",
        "AddressesRequired",
        "Undecodable",
        "LeftToCilium",
        "SelectsNothing",
        "NodeUnknown",
        "NodeNotSelected",
        "NodeNetworkUnavailable",
        "NodeOptedOut",
        "NodeExcluded",
        "NoPolicy",
        "ServiceOptedOut",
        "OtherLoadBalancerClass",
        "NoAddress",
        "HostnameOnly",
        "BadAddress",
        "IpModeProxy",
        "NotAVirtualAddress",
        "ExternalIpsOff",
        "LoadBalancerIpsOff",
        "OutsideAddresses",
        "OutsideExternalIpCidrs",
        "NoInterface",
        "InterfacesDown",
        "EndpointsUnknown",
        "NoEndpoints",
        "NoLocalEndpoint",
        "SharedElsewhere",
    ];

    /// The stable name: metric label, log field, Event reason.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PolicyInvalid(reason, _) => reason,
            Self::LeftToCilium(_) => "LeftToCilium",
            Self::SelectsNothing => "SelectsNothing",
            Self::NodeUnknown => "NodeUnknown",
            Self::NodeNotSelected => "NodeNotSelected",
            Self::NodeNetworkUnavailable => "NodeNetworkUnavailable",
            Self::NodeOptedOut => "NodeOptedOut",
            Self::NodeExcluded => "NodeExcluded",
            Self::NoPolicy => "NoPolicy",
            Self::ServiceOptedOut => "ServiceOptedOut",
            Self::OtherLoadBalancerClass(_) => "OtherLoadBalancerClass",
            Self::NoAddress => "NoAddress",
            Self::HostnameOnly(_) => "HostnameOnly",
            Self::BadAddress(_) => "BadAddress",
            Self::IpModeProxy => "IpModeProxy",
            Self::NotAVirtualAddress(_) => "NotAVirtualAddress",
            Self::ExternalIpsOff => "ExternalIpsOff",
            Self::LoadBalancerIpsOff => "LoadBalancerIpsOff",
            Self::OutsideAddresses => "OutsideAddresses",
            Self::OutsideExternalIpCidrs => "OutsideExternalIpCidrs",
            Self::NoInterface(_) => "NoInterface",
            Self::InterfacesDown(_) => "InterfacesDown",
            Self::EndpointsUnknown(_) => "EndpointsUnknown",
            Self::NoEndpoints => "NoEndpoints",
            Self::NoLocalEndpoint => "NoLocalEndpoint",
            Self::SharedElsewhere(_) => "SharedElsewhere",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::PolicyInvalid(_, text) | Self::LeftToCilium(text) | Self::EndpointsUnknown(text) => {
                write!(f, ": {text}")
            }
            Self::SharedElsewhere(service) => write!(f, ": it is announced where {service} has endpoints"),
            Self::OtherLoadBalancerClass(text) | Self::HostnameOnly(text) | Self::BadAddress(text) => {
                write!(f, ": {text:?}")
            }
            Self::NotAVirtualAddress(detail) => write!(f, ": {detail}"),
            Self::NoInterface(detail) | Self::InterfacesDown(detail) => write!(f, ": {detail}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
