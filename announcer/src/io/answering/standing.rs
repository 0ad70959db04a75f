// SPDX-License-Identifier: Apache-2.0
//! What a frame is judged by, besides the clock.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use gateherald_wire::MacAddr;

use crate::{
    claims::{Cover, InForce, time::Now},
    desired::Reach,
    responder::{Ownership, Refusal, Right, Sender},
    standoff::Standoffs,
};

/// The thread's copy of everything that others decide, and its own disputes.
#[derive(Default)]
pub(super) struct Standing {
    pub(super) force: InForce,
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
    /// The addresses that an interface has to hear about: those with title, held or sought, whoever else uses them.
    pub(super) fn heard(&self, interface: u32) -> BTreeSet<IpAddr> {
        self.force.listens_to().filter(|address| self.reaches(*address, interface)).collect()
    }

    /// Whether the address may be announced, if it may be spoken for.
    pub(super) fn announces(&self, address: IpAddr) -> bool {
        self.force.rights().titles.contains(&address)
            && !self.force.probes(address)
            && self.standoffs.refusal(address).is_none()
    }

    /// Whether the address may be spoken for on the interface, if it may be at all.
    pub(super) fn reaches(&self, address: IpAddr, interface: u32) -> bool {
        self.reach.get(&address).is_some_and(|interfaces| interfaces.contains(&interface))
    }
}

impl Ownership for Here<'_> {
    fn may_answer(&self, address: IpAddr) -> Result<Right, Refusal> {
        let Standing { force, reach, standoffs, .. } = self.standing;
        let titled = || force.rights().titles.contains(&address);
        let Some(interfaces) = reach.get(&address) else {
            return Err(if titled() { Refusal::NotDesired } else { Refusal::NotOurs });
        };
        if !interfaces.contains(&self.interface) {
            Err(Refusal::OtherInterface)
        } else if !self.up {
            Err(Refusal::LinkDown)
        } else {
            let right = match force.cover(address, self.now) {
                Cover::Fresh(_) => Ok(Right::Fresh),
                Cover::Held => Ok(Right::Held),
                Cover::Probing if force.resumes(address) => Err(Refusal::Resuming),
                Cover::Probing => Err(Refusal::Probing),
                Cover::None => Err(if titled() { Refusal::NotFresh } else { Refusal::NotOwner }),
            };
            right.and_then(|right| standoffs.refusal(address).map_or(Ok(right), Err))
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
