// SPDX-License-Identifier: Apache-2.0
//! Asking on the wire, where that can be done.

use std::{net::IpAddr, time::Duration};

use thiserror::Error;

use crate::probe::Answer;

#[cfg(target_os = "linux")]
mod links;
#[cfg(target_os = "linux")]
mod socket;

/// What is asked.
#[derive(Clone, Debug)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux asks on the wire"))]
pub(crate) struct Asking {
    pub(crate) vip: IpAddr,
    /// Names of interfaces; none: all that could carry an answer.
    pub(crate) interfaces: Vec<String>,
    pub(crate) count: u16,
    /// How long to listen after each question.
    pub(crate) listen: Duration,
}

/// Why nothing could be asked.
#[derive(Debug, Error)]
#[allow(dead_code, reason = "which of them occur depends on the system")]
pub(crate) enum ProbeError {
    /// Not Linux.
    #[error(
        "packet sockets are Linux': ask from a node, or use arping or ndisc6 from a Linux machine on that network"
    )]
    NotLinux,
    /// Without the capability.
    #[error(
        "packet sockets need the capability NET_RAW: use sudo, or setcap cap_net_raw+ep on kubectl-gateherald"
    )]
    NotPermitted,
    /// None is there, or none that could carry an answer.
    #[error("{0}")]
    NoInterface(String),
    /// The kernel said no.
    #[error("cannot ask on {interface}")]
    Socket {
        interface: String,
        #[source]
        source: std::io::Error,
    },
}

/// The interfaces that were asked on, and who answered, in the order of the answers on each.
pub(crate) type Heard = (Vec<String>, Vec<Answer>);

/// Asks.
#[cfg(target_os = "linux")]
pub(crate) async fn ask(asking: &Asking) -> Result<Heard, ProbeError> {
    let links = links::all(&asking.interfaces)?;
    let names = links.iter().map(|link| link.name.clone()).collect();
    let asked = links.into_iter().map(|link| {
        let asking = asking.clone();
        tokio::task::spawn_blocking(move || {
            let name = link.name.clone();
            socket::ask(&link, &asking).map_err(|source| match source.kind() {
                std::io::ErrorKind::PermissionDenied => ProbeError::NotPermitted,
                _ => ProbeError::Socket { interface: name, source },
            })
        })
    });
    let mut answers = Vec::new();
    for heard in futures::future::join_all(asked).await {
        // A panic there is a bug here, and no answer.
        answers.extend(heard.unwrap_or_else(|_| Ok(Vec::new()))?);
    }
    Ok((names, answers))
}

/// Says that it cannot.
#[cfg(not(target_os = "linux"))]
pub(crate) async fn ask(_: &Asking) -> Result<Heard, ProbeError> {
    Err(ProbeError::NotLinux)
}
