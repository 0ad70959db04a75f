// SPDX-License-Identifier: Apache-2.0
//! Asking a network who answers for an address, with a socket of its own for as long as that takes: the answering thread
//! is not disturbed.

use std::{collections::BTreeSet, io, net::IpAddr, time::Duration};

use gateherald_model::interfaces::Link;
use gateherald_wire::{MacAddr, NeighborFrame};
use tokio::{
    io::unix::AsyncFd,
    time::{sleep, timeout},
};

use super::{
    clock,
    packet::{OpenError, PacketSocket},
};
use crate::{
    asking::{Answer, Heard, PATIENCE, ROUNDS, SPACING, Unasked, answer, question},
    responder::Protocol,
};

/// A neighbour message with its padding.
const FRAME: usize = 1514;

/// Why nothing was heard on an interface.
#[derive(Debug, thiserror::Error)]
pub enum InquiryError {
    /// It cannot ask.
    #[error("{}", .0.name())]
    Unasked(Unasked),
    /// No socket.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The socket cannot be waited for, or sent on.
    #[error("ask")]
    Socket(#[source] io::Error),
}

/// Asks on a link, a few times, and collects what comes back.
///
/// # Errors
/// When the link cannot ask, or went away meanwhile.
pub async fn ask(link: &Link, address: IpAddr) -> Result<Heard, InquiryError> {
    let question = question(link, address).map_err(InquiryError::Unasked)?;
    let mac = MacAddr(link.mac.ok_or(InquiryError::Unasked(Unasked::NotEthernet))?);
    let protocol = Protocol::from(address);
    let socket = PacketSocket::open(link.index, protocol, &BTreeSet::from([address]))?;
    let socket = socket.register().map_err(InquiryError::Socket)?;
    let mut heard = Heard::default();
    for round in 0..ROUNDS {
        let asked = clock::now().raw;
        send(&socket, &question).map_err(InquiryError::Socket)?;
        heard.asked += 1;
        let patience = if round + 1 == ROUNDS { PATIENCE } else { SPACING };
        let listening = listen(&socket, (mac, address), |mac| {
            let after = clock::now().raw.saturating_sub(asked);
            heard.answers.push(Answer { mac, round, after });
        });
        if let Ok(error) = timeout(patience, listening).await {
            tracing::debug!(interface = link.name, %error, "listen");
            // The link went down: what was heard stands, and the pace stays.
            sleep(patience.saturating_sub(clock::now().raw.saturating_sub(asked))).await;
        }
    }
    Ok(heard)
}

fn send(socket: &AsyncFd<PacketSocket>, question: &NeighborFrame) -> io::Result<()> {
    let mut buffer = [0; NeighborFrame::MAX_LEN];
    let bytes = question.emit(&mut buffer).map_err(io::Error::other)?;
    socket.get_ref().send(bytes)
}

/// Tells every answer, until the socket fails.
async fn listen(
    socket: &AsyncFd<PacketSocket>,
    (link, address): (MacAddr, IpAddr),
    mut heard: impl FnMut(MacAddr),
) -> io::Error {
    let mut buffer = [0; FRAME];
    loop {
        let mut ready = match socket.readable().await {
            Ok(ready) => ready,
            Err(error) => return error,
        };
        let received = match ready.try_io(|socket| socket.get_ref().receive(&mut buffer)) {
            Ok(Ok(received)) => received,
            Ok(Err(error)) => return error,
            Err(_) => continue,
        };
        let bytes = buffer.get(..received.len).unwrap_or_default();
        if let Some(mac) = answer(bytes, received.meta, link, address) {
            heard(mac);
        }
    }
}

/// How long [`ask`] takes.
pub fn takes() -> Duration {
    SPACING * u32::from(ROUNDS - 1) + PATIENCE
}
