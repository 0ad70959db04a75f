// SPDX-License-Identifier: Apache-2.0
//! Capturing frames, with the kernel's time stamps.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::bail;
use tokio::sync::watch;

use crate::frame::Frame;
use crate::netns::Netns;
use crate::packet::{PacketSocket, Received};

/// The names of a LAN's ports by interface index.
pub(crate) type Ports = Arc<Mutex<HashMap<u32, String>>>;

/// A running capture of ARP, NDP and MLD frames. It ends when it is dropped.
#[derive(Debug)]
pub struct Sniffer {
    frames: watch::Receiver<Vec<Frame>>,
    stop: Arc<AtomicBool>,
}

impl Sniffer {
    /// Captures the ARP, NDP and MLD frames that `interface` of `netns` gets and sends.
    pub(crate) fn on(netns: &Netns, interface: &str) -> anyhow::Result<Self> {
        let socket = PacketSocket::open(netns, Some(interface))?;
        Self::start(socket, |received, bytes| keep(received, bytes, String::new()))
    }

    /// Captures each ARP, NDP and MLD frame on a LAN once: where it enters the bridge.
    pub(crate) fn on_ports(netns: &Netns, ports: Ports) -> anyhow::Result<Self> {
        let socket = PacketSocket::open(netns, None)?;
        Self::start(socket, move |received, bytes| {
            let port = ports.lock().unwrap_or_else(PoisonError::into_inner).get(&received.interface).cloned();
            if received.outgoing { None } else { keep(received, bytes, port?) }
        })
    }

    fn start(
        socket: PacketSocket,
        keep: impl Fn(&Received, &[u8]) -> Option<Frame> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (sender, frames) = watch::channel(Vec::new());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::Builder::new().name("sniffer".to_owned()).spawn(move || {
            let mut buffer = vec![0; 65536];
            while !stopped.load(Ordering::Relaxed) {
                match socket.receive(&mut buffer) {
                    Ok(Some(received)) => {
                        if let Some(frame) = keep(&received, &buffer[..received.length.min(buffer.len())]) {
                            sender.send_modify(|frames| frames.push(frame));
                        }
                    }
                    Ok(None) => {}
                    // Dropping the sender tells everybody who waits.
                    Err(error) => return tracing::error!(%error, "a capture ended"),
                }
            }
        })?;
        Ok(Self { frames, stop })
    }

    /// Everything captured so far, in the order of arrival.
    pub fn frames(&self) -> Vec<Frame> {
        self.frames.borrow().clone()
    }

    /// The first frame, captured before or from now on, that `wanted` accepts.
    ///
    /// # Errors
    /// When none came `within` the time, with what came instead.
    pub async fn wait_for(&self, within: Duration, wanted: impl Fn(&Frame) -> bool) -> anyhow::Result<Frame> {
        let mut frames = self.frames.clone();
        let mut looked_at = 0;
        let mut found = None;
        let search = frames.wait_for(|frames| {
            found = frames[looked_at..].iter().find(|frame| wanted(frame)).cloned();
            looked_at = frames.len();
            found.is_some()
        });
        let ended = matches!(tokio::time::timeout(within, search).await, Ok(Err(_)));
        match found {
            Some(frame) => Ok(frame),
            None if ended => bail!("the capture ended"),
            None => bail!("the frame did not come within {within:?}; seen: {}", self.summary()),
        }
    }

    /// The last few frames, for messages.
    fn summary(&self) -> String {
        let frames = self.frames.borrow();
        let lines: Vec<String> = frames.iter().rev().filter_map(line).take(8).collect();
        if lines.is_empty() { "nothing".to_owned() } else { lines.join("; ") }
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn line(frame: &Frame) -> Option<String> {
    frame.arp().map(|arp| arp.to_string()).or_else(|| frame.ndp().map(|ndp| ndp.to_string()))
}

fn keep(received: &Received, bytes: &[u8], port: String) -> Option<Frame> {
    let frame = Frame { at: received.at, port, outgoing: received.outgoing, bytes: bytes.to_vec() };
    let of_neighbours = frame.arp().is_some() || frame.ndp().is_some() || !frame.memberships().is_empty();
    of_neighbours.then_some(frame)
}
