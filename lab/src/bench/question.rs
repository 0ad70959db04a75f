// SPDX-License-Identifier: Apache-2.0
//! One question of a client, in ARP or neighbour discovery, and how to tell it and its answer in a capture.

use std::net::{IpAddr, Ipv4Addr};

use crate::frame::{Arp, Mac, Ndp};
use crate::lan::LanHost;

/// An address that nobody has, of the networks for benchmarks (RFC 2544 §C.2.2): a request for it marks an instant in a
/// capture.
pub(super) const MARK: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// Who has this address?
#[derive(Clone, Debug)]
pub(super) struct Question {
    address: IpAddr,
    client: Mac,
    /// The broadcast request, or the solicitation to the address's group.
    pub(super) frame: Vec<u8>,
}

impl Question {
    pub(super) fn new(client: &LanHost, address: IpAddr) -> Self {
        let frame = match address {
            IpAddr::V4(v4) => client.request(v4).bytes(),
            IpAddr::V6(v6) => client.solicit(v6).bytes(),
        };
        Self { address, client: client.mac(), frame }
    }

    /// Whether a captured frame is the question.
    pub(super) fn is(&self, bytes: &[u8]) -> bool {
        bytes == self.frame
    }

    /// Whether a captured frame is an answer to this client.
    pub(super) fn is_answered_by(&self, bytes: &[u8]) -> bool {
        match self.address {
            IpAddr::V4(v4) => Arp::parse(bytes)
                .is_some_and(|arp| arp.answers(v4) && !arp.announces(v4) && arp.destination == self.client),
            IpAddr::V6(v6) => {
                Ndp::parse(bytes).is_some_and(|ndp| ndp.answers(v6) && ndp.destination == self.client)
            }
        }
    }
}
