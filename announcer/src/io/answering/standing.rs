// SPDX-License-Identifier: Apache-2.0
//! What a frame is judged by, besides the clock.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use gateherald_wire::MacAddr;

use crate::{
    claims::{Rights, time::Now},
    desired::Reach,
    responder::{Ownership, Refusal, Right, Sender},
    standoff::Standoffs,
};

/// The thread's copy of everything that others decide, and its own disputes.
#[derive(Default)]
pub(super) struct Standing {
    pub(super) rights: Rights,
    pub(super) reach: Arc<Reach>,
    pub(super) own_macs: BTreeSet<MacAddr>,
    pub(super) peers: Arc<BTreeSet<MacAddr>>,
    pub(super) standoffs: Standoffs,
}

/// [`Standing`] on one interface at one instant.
pub(super) struct Here<'a> {
    pub(super) standing: &'a Standing,
    pub(super) interface: u32,
    pub(super) up: bool,
    pub(super) now: Now,
}

impl Standing {
    /// The addresses that an interface has to hear about: those with title, whoever else uses them.
    pub(super) fn heard(&self, interface: u32) -> BTreeSet<IpAddr> {
        let here = |address: &&IpAddr| self.reaches(**address, interface);
        self.rights.titles.iter().filter(here).copied().collect()
    }

    /// Whether the address may be spoken for on the interface, if it may be at all.
    pub(super) fn reaches(&self, address: IpAddr, interface: u32) -> bool {
        self.reach.get(&address).is_some_and(|interfaces| interfaces.contains(&interface))
    }
}

impl Ownership for Here<'_> {
    fn may_answer(&self, address: IpAddr) -> Result<Right, Refusal> {
        let Standing { rights, reach, standoffs, .. } = self.standing;
        let titled = || rights.titles.contains(&address);
        let Some(interfaces) = reach.get(&address) else {
            return Err(if titled() { Refusal::NotDesired } else { Refusal::NotOurs });
        };
        if !interfaces.contains(&self.interface) {
            Err(Refusal::OtherInterface)
        } else if !self.up {
            Err(Refusal::LinkDown)
        } else if !rights.cover(address, self.now) {
            Err(if titled() { Refusal::NotFresh } else { Refusal::NotOwner })
        } else {
            standoffs.refusal(address).map_or(Ok(Right::Fresh), Err)
        }
    }

    fn sender(&self, mac: MacAddr) -> Sender {
        if self.standing.own_macs.contains(&mac) {
            Sender::Own
        } else if self.standing.peers.contains(&mac) {
            Sender::Peer
        } else {
            Sender::Stranger
        }
    }
}
