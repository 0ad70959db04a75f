// SPDX-License-Identifier: Apache-2.0
//! The one thread that hears and speaks: it alone has the sockets, and the rights by which every frame is judged.
//!
//! Rights arrive as messages and are acknowledged once they are in force: after that no frame can go out under the old
//! ones. Nothing else runs on the thread, so neither a slow API call nor a big evaluation delays an answer, and it waits
//! in one system call for frames, messages and the next announcement alike, so little lies between a request and its
//! answer.

use std::{collections::BTreeSet, io, sync::Arc, thread, time::Duration};

use gateherald_model::interfaces::Link;
use gateherald_wire::MacAddr;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use tokio::sync::{
    mpsc::{self, error::TryRecvError},
    oneshot, watch,
};

use super::{clock, packet::OpenError};
use crate::{
    claims::{Heard, Rights},
    desired::Reach,
    metrics::Metrics,
    responder::Protocol,
    standoff::Contests,
};
use bell::Bell;
use station::Station;

mod bell;
mod ear;
mod port;
mod standing;
mod station;

/// Messages under way; who sends more waits.
const BACKLOG: usize = 8;

/// Things heard that the claims have not taken in: as many as addresses may change hands at once.
const HEARD: usize = 4096;

/// What the thread is told.
enum Message {
    /// These rights are in force once the sender is answered.
    Rights(Rights, oneshot::Sender<()>),
    /// The links of the other announcers: what they say about an address is no conflict.
    Peers(Arc<BTreeSet<MacAddr>>),
}

/// The way to tell the thread what it may do. It ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Speaker {
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
    /// Only taken when it is dropped, so that the bell rings after the last sender is gone.
    messages: Option<mpsc::Sender<Message>>,
    bell: Arc<Bell>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.messages = None;
        self.bell.ring();
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rights(rights, _) => f.debug_tuple("Rights").field(rights).finish(),
            Self::Peers(peers) => f.debug_tuple("Peers").field(peers).finish(),
        }
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
        self.tell(Message::Rights(rights, done)).await?;
        in_force.await.map_err(|_| Gone)
    }

    /// From soon on these are the links of the other announcers.
    pub async fn peers(&self, peers: Arc<BTreeSet<MacAddr>>) -> Result<(), Gone> {
        self.tell(Message::Peers(peers)).await
    }

    async fn tell(&self, message: Message) -> Result<(), Gone> {
        let messages = self.line.messages.as_ref().ok_or(Gone)?;
        messages.send(message).await.map_err(|_| Gone)?;
        self.line.bell.ring();
        Ok(())
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
    /// The kernel refused to wait.
    #[error("wait for frames")]
    Wait(#[source] io::Error),
    /// It died.
    #[error("the answering thread died")]
    Died,
}

/// The thread's links to the rest.
pub struct Answering<F> {
    /// How it is told what it may do.
    pub speaker: Speaker,
    /// The addresses that other hosts use.
    pub contests: watch::Receiver<Arc<Contests>>,
    /// What bears on ownership.
    pub heard: mpsc::Receiver<Heard>,
    /// Ends with the thread: with `Ok` once every [`Speaker`] is dropped. It also wakes the thread for new reach and links,
    /// so it must be polled.
    pub end: F,
}

/// Starts the thread.
pub fn start(
    reach: watch::Receiver<Arc<Reach>>,
    links: watch::Receiver<Option<Arc<[Link]>>>,
    metrics: Metrics,
) -> Result<Answering<impl Future<Output = Result<(), AnsweringError>>>, AnsweringError> {
    let (messages, inbox) = mpsc::channel(BACKLOG);
    let (ended, end) = oneshot::channel();
    let (contests_out, contests) = watch::channel(Arc::default());
    let (heard_out, heard) = mpsc::channel(HEARD);
    let bell = Arc::new(Bell::new().map_err(AnsweringError::Start)?);
    let waking = wake(reach.clone(), links.clone(), Arc::clone(&bell));
    let station = Station::new(metrics, contests_out, heard_out);
    let thread = Thread { inbox, bell: Arc::clone(&bell), reach, links, station };
    thread::Builder::new()
        .name("answering".to_owned())
        .spawn(move || {
            // The receiver is only gone when the process is ending.
            let _ = ended.send(thread.run());
        })
        .map_err(AnsweringError::Start)?;
    let end = async move {
        tokio::select! {
            end = end => end.unwrap_or(Err(AnsweringError::Died)),
            never = waking => match never {},
        }
    };
    Ok(Answering {
        speaker: Speaker { line: Arc::new(Line { messages: Some(messages), bell }) },
        contests,
        heard,
        end,
    })
}

/// Rings the bell for every change of what the thread looks at.
async fn wake(
    mut reach: watch::Receiver<Arc<Reach>>,
    mut links: watch::Receiver<Option<Arc<[Link]>>>,
    bell: Arc<Bell>,
) -> std::convert::Infallible {
    // A channel that closed is ready for ever; these two only close when the process is ending.
    let (mut reach_open, mut links_open) = (true, true);
    loop {
        tokio::select! {
            changed = reach.changed(), if reach_open => reach_open = changed.is_ok(),
            changed = links.changed(), if links_open => links_open = changed.is_ok(),
            else => std::future::pending().await,
        }
        bell.ring();
    }
}

struct Thread {
    inbox: mpsc::Receiver<Message>,
    bell: Arc<Bell>,
    reach: watch::Receiver<Arc<Reach>>,
    links: watch::Receiver<Option<Arc<[Link]>>>,
    station: Station,
}

/// Whether anybody is left who could tell the thread something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inbox {
    Open,
    Closed,
}

impl Thread {
    fn run(mut self) -> Result<(), AnsweringError> {
        let mut ready = Vec::new();
        loop {
            if self.take_in()? == Inbox::Closed {
                return Ok(());
            }
            let now = clock::now();
            self.station.turn(now)?;
            let pause = self.station.next_deadline().map(|at| at.saturating_sub(now.raw));
            self.wait(pause, &mut ready)?;
            for (index, protocol) in ready.drain(..) {
                // A right that ends comes before any frame.
                if self.take_in()? == Inbox::Closed {
                    return Ok(());
                }
                self.station.hear(index, protocol)?;
            }
        }
    }

    /// Puts into force what has been told: first rights, then links and reach, which frames are judged by next.
    fn take_in(&mut self) -> Result<Inbox, OpenError> {
        loop {
            match self.inbox.try_recv() {
                Ok(Message::Rights(rights, done)) => {
                    self.station.set_rights(rights, clock::now())?;
                    // Whoever asked and does not wait any more has no use for the answer.
                    let _ = done.send(());
                }
                Ok(Message::Peers(peers)) => self.station.set_peers(peers, clock::now())?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(Inbox::Closed),
            }
        }
        // A sender that is gone changes nothing any more.
        if self.links.has_changed().unwrap_or(false) {
            let links = self.links.borrow_and_update().clone().unwrap_or_default();
            self.station.set_links(&links, clock::now())?;
        }
        if self.reach.has_changed().unwrap_or(false) {
            let reach = Arc::clone(&self.reach.borrow_and_update());
            self.station.set_reach(reach, clock::now())?;
        }
        Ok(Inbox::Open)
    }

    /// Waits for frames, the bell, or the end of the pause; the sockets with frames are left in `ready`.
    fn wait(&self, pause: Option<Duration>, ready: &mut Vec<(u32, Protocol)>) -> Result<(), AnsweringError> {
        let ears: Vec<_> = self.station.ears().collect();
        let mut waited = vec![PollFd::new(&*self.bell, PollFlags::IN)];
        waited.extend(ears.iter().map(|(_, ear)| PollFd::new(ear, PollFlags::IN)));
        // A pause beyond what the kernel can count is none.
        let timeout = pause.and_then(|pause| Timespec::try_from(pause).ok());
        match poll(&mut waited, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(AnsweringError::Wait(error.into())),
        }
        let has_something = |fd: &PollFd<'_>| !fd.revents().is_empty();
        if waited.first().is_some_and(has_something) {
            self.bell.hush();
        }
        let heard = ears.iter().zip(waited.iter().skip(1)).filter(|(_, fd)| has_something(fd));
        ready.extend(heard.map(|((name, _), _)| *name));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
