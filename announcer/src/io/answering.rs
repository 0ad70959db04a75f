// SPDX-License-Identifier: Apache-2.0
//! The one thread that hears and speaks: it alone has the sockets, and the rights by which every frame is judged.
//!
//! Rights arrive as messages and are acknowledged once they are in force: after that no frame can go out under the old
//! ones. Nothing else runs on the thread, so neither a slow API call nor a big evaluation delays an answer.

use std::{collections::BTreeMap, io, sync::Arc, task::Poll, thread};

use gateherald_model::interfaces::Link;
use tokio::{
    runtime::Builder,
    sync::{mpsc, oneshot, watch},
};

use super::{clock, packet::OpenError};
use crate::{claims::Rights, desired::Reach, metrics::Metrics};
use port::Port;
use station::Station;

mod port;
mod station;

/// What the thread is told.
enum Message {
    /// These rights are in force once the sender is answered.
    Rights(Rights, oneshot::Sender<()>),
}

/// The way to tell the thread what it may do.
#[derive(Debug, Clone)]
pub struct Speaker {
    messages: mpsc::Sender<Message>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Rights(rights, _) = self;
        f.debug_tuple("Rights").field(rights).finish()
    }
}

/// The thread is gone; what it may send it can't send any more either.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the answering thread is gone")]
pub struct Gone;

impl Speaker {
    /// Puts rights into force: when this returns, no frame goes out under the old ones.
    ///
    /// Not cancel-safe: without the answer nothing is known.
    pub async fn publish(&self, rights: Rights) -> Result<(), Gone> {
        let (done, in_force) = oneshot::channel();
        self.messages.send(Message::Rights(rights, done)).await.map_err(|_| Gone)?;
        in_force.await.map_err(|_| Gone)
    }
}

/// Why the thread ended.
#[derive(Debug, thiserror::Error)]
pub enum AnsweringError {
    /// It could not begin.
    #[error("start the answering thread")]
    Start(#[source] io::Error),
    /// The capability was taken away.
    #[error(transparent)]
    Socket(#[from] OpenError),
    /// It died.
    #[error("the answering thread died")]
    Died,
}

/// Starts the thread. The future ends with the thread: with `Ok` once every [`Speaker`] is dropped.
pub fn start(
    reach: watch::Receiver<Arc<Reach>>,
    links: watch::Receiver<Option<Arc<[Link]>>>,
    metrics: Metrics,
) -> Result<(Speaker, impl Future<Output = Result<(), AnsweringError>>), AnsweringError> {
    let (messages, inbox) = mpsc::channel(8);
    let (ended, end) = oneshot::channel();
    let runtime = Builder::new_current_thread().enable_all().build().map_err(AnsweringError::Start)?;
    thread::Builder::new()
        .name("answering".to_owned())
        .spawn(move || {
            let result =
                runtime.block_on(Thread { inbox, reach, links, station: Station::new(metrics) }.run());
            // The receiver is only gone when the process is ending.
            let _ = ended.send(result);
        })
        .map_err(AnsweringError::Start)?;
    Ok((Speaker { messages }, async move { end.await.unwrap_or(Err(AnsweringError::Died)) }))
}

struct Thread {
    inbox: mpsc::Receiver<Message>,
    reach: watch::Receiver<Arc<Reach>>,
    links: watch::Receiver<Option<Arc<[Link]>>>,
    station: Station,
}

impl Thread {
    async fn run(mut self) -> Result<(), AnsweringError> {
        // `select!` sees channels that closed as ready for ever; these two only close when the process is ending.
        let (mut reach_open, mut links_open) = (true, true);
        let mut heard = 0;
        loop {
            // Not a branch of `select!`: a flood of requests would keep it from its turn for ever.
            let now = clock::now();
            self.station.announce(now);
            let pause = self.station.next_announcement(now);
            // Biased: a right that ends comes before any frame, and links before frames that would use them.
            tokio::select! {
                biased;
                message = self.inbox.recv() => match message {
                    Some(Message::Rights(rights, done)) => {
                        self.station.set_rights(rights, clock::now());
                        // Whoever asked and does not wait any more has no use for the answer.
                        let _ = done.send(());
                    }
                    None => return Ok(()),
                },
                changed = self.links.changed(), if links_open => {
                    links_open = changed.is_ok();
                    let links = self.links.borrow_and_update().clone().unwrap_or_default();
                    self.station.set_links(&links, clock::now())?;
                }
                changed = self.reach.changed(), if reach_open => {
                    reach_open = changed.is_ok();
                    let reach = Arc::clone(&self.reach.borrow_and_update());
                    self.station.set_reach(reach, clock::now())?;
                }
                index = readable(self.station.ports(), heard) => {
                    heard = index;
                    self.station.hear(index);
                }
                () = clock::wait(pause) => {}
            }
        }
    }
}

/// The index of an interface with frames to read, beginning after the one that was `last`, so that each has its turn.
async fn readable(ports: &BTreeMap<u32, Port>, last: u32) -> u32 {
    std::future::poll_fn(|cx| {
        for (index, port) in ports.range(last.saturating_add(1)..).chain(ports.range(..=last)) {
            if port.poll_readable(cx) {
                return Poll::Ready(*index);
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests;
