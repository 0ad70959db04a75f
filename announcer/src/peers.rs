// SPDX-License-Identifier: Apache-2.0
//! The other announcers' links, as their sessions list them: what those say about an address is an ordinary handover and no
//! conflict. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use gateherald_model::leases::{Key, Record, Session};
use gateherald_wire::MacAddr;

use crate::claims::LeaseEvent;

/// The links of every node but the own one.
#[derive(Debug)]
pub struct Peers {
    own: String,
    by_node: BTreeMap<String, BTreeSet<MacAddr>>,
    all: Arc<BTreeSet<MacAddr>>,
}

impl Peers {
    /// None, seen from the node `own`.
    pub fn new(own: String) -> Self {
        Self { own, by_node: BTreeMap::new(), all: Arc::default() }
    }

    /// Takes in what the Lease watch says; the links, if they have become others.
    pub fn see(&mut self, event: &LeaseEvent) -> Option<Arc<BTreeSet<MacAddr>>> {
        match event {
            LeaseEvent::Listed { leases, .. } => {
                self.by_node.clear();
                for (_, record) in leases {
                    if let Record::Session(session) = record {
                        self.note(session);
                    }
                }
            }
            LeaseEvent::Changed(_, Record::Session(session)) => self.note(session),
            LeaseEvent::Gone(Key::Session(node), _) => drop(self.by_node.remove(node)),
            LeaseEvent::Changed(_, Record::Claim(_)) | LeaseEvent::Gone(..) | LeaseEvent::Interrupted => {
                return None;
            }
        }
        let all: BTreeSet<MacAddr> = self.by_node.values().flatten().copied().collect();
        (all != *self.all).then(|| {
            self.all = Arc::new(all);
            Arc::clone(&self.all)
        })
    }

    /// Whose link each is.
    pub fn named(&self) -> BTreeMap<MacAddr, String> {
        let links = self.by_node.iter().flat_map(|(node, macs)| macs.iter().map(|mac| (*mac, node.clone())));
        links.collect()
    }

    fn note(&mut self, session: &Session) {
        if session.node != self.own {
            let macs = session.links.iter().filter_map(|link| link.mac.parse().ok()).collect();
            self.by_node.insert(session.node.clone(), macs);
        }
    }
}

#[cfg(test)]
mod tests;
