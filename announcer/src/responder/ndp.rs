// SPDX-License-Identifier: Apache-2.0
//! NDP.

use gateherald_wire::{NdpFrame, NdpRepr};

use super::{DropReason, Nic, Ownership, Verdict, asked_for, sender, spoken_for};

pub(super) fn judge(bytes: &[u8], nic: Nic, ownership: &impl Ownership) -> Result<Verdict, DropReason> {
    let frame = NdpFrame::parse(bytes).map_err(DropReason::Malformed)?;
    let told = frame.ndp.link_layer().unwrap_or(frame.source);
    let sender = sender((frame.destination, frame.source), told, nic, ownership)?;
    let target = frame.ndp.target();
    // A host says that it has an address by advertising it, and by sending from it.
    if let NdpRepr::Advert { .. } = frame.ndp
        && let Some(conflict) = spoken_for(target.into(), (sender, told), ownership)?
    {
        return Ok(conflict);
    }
    if let Some(conflict) = spoken_for(frame.from.into(), (sender, told), ownership)? {
        return Ok(conflict);
    }
    if let NdpRepr::Advert { .. } = frame.ndp {
        return Err(DropReason::NotARequest);
    }
    let probe = frame.from.is_unspecified();
    let conflict = asked_for(target.into(), told, probe, ownership)?;
    Ok(conflict
        .unwrap_or_else(|| Verdict::Reply(NdpFrame::answer(&frame, nic.mac, nic.source(target)).into())))
}

#[cfg(test)]
mod tests;
