// SPDX-License-Identifier: Apache-2.0
//! What happened to ownership, for logs, metrics and Events.

use std::net::IpAddr;
use std::time::Duration;

use gateherald_model::leases::Key;

use super::{Answer, Ground, HoldEnd, LapseReason};

/// Something that people want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// This node has title to an address.
    Took {
        /// The address.
        address: IpAddr,
        /// What entitled it.
        ground: Ground,
        /// From when the address was free to when title came.
        after: Duration,
    },
    /// This node has lost title to an address without giving it up.
    Lost {
        /// The address.
        address: IpAddr,
        /// How.
        reason: LossReason,
    },
    /// This node gives an address up.
    Released {
        /// The address.
        address: IpAddr,
        /// The node that it is given up for.
        favours: Option<String>,
    },
    /// The own session is over; the next one is being opened.
    Lapsed {
        /// The id that is over.
        session: String,
        /// Why.
        reason: LapseReason,
        /// How many addresses it had.
        titles: usize,
        /// How many of them are answered for without it.
        held: usize,
    },
    /// An address that was answered for without a session no longer is.
    HoldEnded {
        /// The address.
        address: IpAddr,
        /// Why.
        reason: HoldEnd,
    },
    /// An address is answered for again without a session, if nobody answers the probes for it.
    HoldResumed {
        /// The address.
        address: IpAddr,
    },
    /// A dead predecessor on this node is being replaced (rule 8).
    Adopting {
        /// Its session id.
        session: String,
    },
    /// Another announcer of this node may be alive: nothing is done until its session has been silent for D.
    PredecessorAlive {
        /// Its session id.
        session: String,
    },
    /// Another node's silent session is being ended (rule 4).
    Ending {
        /// The node.
        node: String,
        /// The session id.
        session: String,
        /// For how long it has been silent.
        silent: Duration,
    },
    /// No own renewal came back in the watch for a whole period: the watch is opened anew (rule 2).
    WatchStuck,
    /// A write did not succeed.
    WriteFailed {
        /// Of which Lease.
        key: Key,
        /// How.
        answer: Answer,
    },
}

/// How title was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossReason {
    /// Another session has the claim.
    Taken,
    /// The claim was deleted.
    Deleted,
    /// Someone who is no announcer wrote it.
    Edited,
}

impl LossReason {
    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Deleted => "deleted",
            Self::Edited => "edited",
        }
    }
}
