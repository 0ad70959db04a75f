// SPDX-License-Identifier: Apache-2.0
//! ARP.

use gateherald_wire::{ArpFrame, Operation};

use super::{DropReason, Nic, Ownership, Verdict, asked_for, sender, spoken_for};

pub(super) fn judge(bytes: &[u8], nic: Nic, ownership: &impl Ownership) -> Result<Verdict, DropReason> {
    let frame = ArpFrame::parse(bytes).map_err(DropReason::Malformed)?;
    let arp = &frame.arp;
    if let Operation::Other(operation) = arp.operation {
        return Err(DropReason::OtherOperation(operation));
    }
    let sender = sender((frame.destination, frame.source), arp.sha, nic, ownership)?;
    if let Some(conflict) = spoken_for(arp.spa.into(), (sender, arp.sha), ownership)? {
        return Ok(conflict);
    }
    if arp.operation != Operation::Request {
        return Err(DropReason::NotARequest);
    }
    let probe = arp.spa.is_unspecified();
    let conflict = asked_for(arp.tpa.into(), arp.sha, probe, ownership)?;
    Ok(conflict.unwrap_or_else(|| Verdict::Reply(ArpFrame::reply(arp, nic.mac).into())))
}

#[cfg(test)]
mod tests;
