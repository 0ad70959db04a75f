// SPDX-License-Identifier: Apache-2.0
//! The claims task: the one that drives [`Claims`], sends its writes and feeds it the one Lease watch.
//!
//! Order matters here: rights that shrink are in force in the answering thread before any write that comes after them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, StreamExt, stream::BoxStream};
use gateherald_model::leases::Key;
use gateherald_runtime::{events::Teller, kubernetes::Trouble, readiness, shutdown::Shutdown};
use gateherald_wire::MacAddr;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use crate::{
    claims::{
        Action, Answer, ClaimState, Claims, Heard, LeaseEvent, Notice, Rights, Write, WriteId, time::Now,
    },
    desired::Plan,
    io::{
        answering::{Gone, Speaker},
        clock,
        leases::{LeaseClient, News, Outcome},
    },
    metrics::{LeaseWrite, Metrics, outcome},
    notices,
    peers::Peers,
};

/// Answers and events taken in before the consequences are drawn: a thousand claims change hands in a few steps.
const BATCH: usize = 256;
/// One failed write is an API server that restarts behind a load balancer; two in a row are news.
const UNREADY_AFTER: u32 = 2;
/// 5 s between failures that are counted towards a line of the log.
const NOTE_EVERY: Duration = Duration::from_secs(5);
/// Why the process is not ready before the watch has shown everything once.
const FIRST_SYNC: &str = "the Leases have not been listed yet";

/// What is known of ownership, for people.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The id of the own session.
    pub session: String,
    /// What is left of its deadline; none while it is not fresh.
    pub fresh_for: Option<Duration>,
    /// The claims on the addresses asked about, and on those that this process may answer for.
    pub claims: BTreeMap<IpAddr, ClaimState>,
    /// The links of the other announcers, each with its node.
    pub peers: BTreeMap<MacAddr, String>,
    /// The instant of all this.
    pub now: Now,
}

/// A question about these addresses.
#[derive(Debug)]
pub struct Question {
    /// The addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Standing>,
}

/// What the task is made of.
pub struct Claiming {
    /// The rules.
    pub claims: Claims,
    /// The API server.
    pub leases: LeaseClient,
    /// The answering thread.
    pub speaker: Speaker,
    /// What it notices.
    pub heard: mpsc::Receiver<Heard>,
    /// What is wanted.
    pub plan: watch::Receiver<Arc<Plan>>,
    /// Where rights are shown.
    pub rights: watch::Sender<Rights>,
    /// Questions about the state.
    pub questions: mpsc::Receiver<Question>,
    /// Where changes are told to people.
    pub teller: Teller<Notice>,
    /// Counters.
    pub metrics: Metrics,
    /// The part of readiness that this task answers for.
    pub ready: readiness::Handle,
}

/// [`Claiming`] at work.
struct Task {
    it: Claiming,
    watch: Option<BoxStream<'static, News>>,
    /// How far the watch has come, to open it anew there.
    version: Option<String>,
    writes: JoinSet<(WriteId, Write, Outcome)>,
    trouble: Trouble,
    writing: Writing,
    peers: Peers,
    /// The other announcers' links, when the answering thread does not know them yet.
    new_peers: Option<Arc<BTreeSet<MacAddr>>>,
    stopping: bool,
    finished: bool,
}

/// How writing goes: many fail in a minute when one does, and not each is worth a line.
struct Writing {
    trouble: Trouble,
    /// In a row.
    failures: u32,
    /// When a failure was noted last.
    noted: Option<Now>,
}

/// What woke the task.
enum Input {
    Stop,
    Plan,
    News(Option<News>),
    Answer(WriteId, Write, Outcome),
    Question(Question),
    Heard(Heard),
    Due,
}

impl Claiming {
    /// Runs until the session has been ended after `shutdown` began, or the answering thread is gone.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Gone> {
        let peers = Peers::new(self.claims.node().to_owned());
        let mut task = Task {
            it: self,
            watch: None,
            version: None,
            writes: JoinSet::new(),
            trouble: Trouble::new("lease watch"),
            writing: Writing { trouble: Trouble::new("lease writes"), failures: 0, noted: None },
            peers,
            new_peers: None,
            stopping: false,
            finished: false,
        };
        task.plan_changed();
        loop {
            task.act(clock::now()).await?;
            if task.finished {
                return Ok(());
            }
            match task.input(&shutdown).await {
                Input::Stop => {
                    task.stopping = true;
                    task.it.claims.shut_down();
                }
                input => task.take_in(input),
            }
            task.take_in_more();
        }
    }
}

impl Task {
    async fn input(&mut self, shutdown: &Shutdown) -> Input {
        let stopping = self.stopping;
        let due = self.it.claims.next_deadline(clock::now());
        let (watching, writing) = (self.watch.is_some(), !self.writes.is_empty());
        let watch = &mut self.watch;
        tokio::select! {
            () = shutdown.draining(), if !stopping => Input::Stop,
            changed = self.it.plan.changed(), if !stopping => {
                if changed.is_ok() { Input::Plan } else { Input::Stop }
            }
            news = next_news(watch), if watching => Input::News(news),
            Some(written) = self.writes.join_next(), if writing => answered(written),
            Some(question) = self.it.questions.recv() => Input::Question(question),
            Some(heard) = self.it.heard.recv() => Input::Heard(heard),
            () = clock::wait(due) => Input::Due,
        }
    }

    fn take_in(&mut self, input: Input) {
        match input {
            Input::Plan => self.plan_changed(),
            Input::News(news) => self.news(news),
            Input::Answer(id, write, outcome) => self.answer(id, &write, outcome),
            Input::Question(question) => self.question(question),
            Input::Heard(heard) => self.it.claims.on_heard(heard, clock::now()),
            Input::Stop | Input::Due => {}
        }
    }

    /// Takes in what is there already.
    fn take_in_more(&mut self) {
        for _ in 0..BATCH {
            let input = match self.writes.try_join_next() {
                Some(written) => answered(written),
                None => match self.it.heard.try_recv() {
                    Ok(heard) => Input::Heard(heard),
                    Err(_) => match self.watch.as_mut().and_then(|watch| watch.next().now_or_never()) {
                        Some(news) => Input::News(news),
                        None => return,
                    },
                },
            };
            self.take_in(input);
        }
    }

    async fn act(&mut self, now: Now) -> Result<(), Gone> {
        if let Some(peers) = self.new_peers.take() {
            self.it.speaker.peers(peers).await?;
        }
        let before = Arc::clone(&self.it.rights.borrow().titles);
        let mut told = Vec::new();
        for action in self.it.claims.poll(now) {
            match action {
                // The own end of the session comes back as one: that is no news to anybody.
                Action::Tell(Notice::Lapsed { .. }) if self.stopping => {}
                Action::Tell(notice) => told.push(notice),
                Action::Publish(rights) => {
                    self.it.speaker.publish(rights.clone()).await?;
                    if self.stopping && !before.is_empty() {
                        tracing::info!(addresses = before.len(), "stopped answering");
                    }
                    self.it.rights.send_replace(rights);
                }
                Action::OpenWatch => {
                    self.it.metrics.watch_openings.inc();
                    self.watch = Some(self.it.leases.watch(self.version.clone()));
                }
                Action::CloseWatch => {
                    self.watch = None;
                    self.version = None;
                    self.it.ready.ready();
                }
                Action::Write(id, write) => {
                    let leases = self.it.leases.clone();
                    self.writes.spawn(async move {
                        let outcome = leases.write(&write).await;
                        (id, write, outcome)
                    });
                }
                Action::Finished => self.finished = true,
            }
        }
        self.tell(&told, &before);
        Ok(())
    }

    /// Tells people, after everything that others wait for is under way: a thousand addresses are a thousand lines.
    fn tell(&self, told: &[Notice], before: &BTreeSet<IpAddr>) {
        let rights = self.it.rights.borrow().clone();
        for notice in told {
            notices::tell(notice, &self.it.metrics);
            if matches!(notice, Notice::Took { .. } | Notice::Lost { .. } | Notice::Released { .. }) {
                self.it.teller.tell(notice.clone());
            }
            if let Notice::Lapsed { session, reason, .. } = notice {
                let held = |address: &IpAddr| rights.held.contains_key(address);
                for address in before {
                    notices::tell_lapse(*address, session, *reason, held(address));
                }
            }
        }
        if self.stopping {
            for address in before.difference(&rights.titles) {
                notices::tell_stopped(*address);
            }
        }
    }

    fn plan_changed(&mut self) {
        let plan = Arc::clone(&self.it.plan.borrow_and_update());
        if !plan.outlook.waiting_for.is_empty() {
            return;
        }
        self.it.claims.want(Arc::clone(&plan.wants));
        self.it.claims.describe(plan.notes.clone());
        self.it.claims.nodes(plan.nodes.clone());
        if plan.notes.policies.is_empty() && plan.wants.is_empty() {
            // Nothing is selected here, so no Lease is looked at.
            self.it.ready.ready();
        } else if !self.it.claims.synced() {
            self.it.ready.waiting(FIRST_SYNC);
        }
    }

    fn news(&mut self, news: Option<News>) {
        let now = clock::now();
        match news {
            Some(News::Event(event)) => {
                self.note_version(&event);
                self.new_peers = self.peers.see(&event).or(self.new_peers.take());
                let first = !self.it.claims.synced();
                self.it.claims.on_watch(event, now);
                if first && self.it.claims.synced() {
                    self.it.ready.ready();
                }
            }
            Some(News::UpTo(version)) => self.version = Some(version),
            Some(News::Connected) => {
                self.trouble.over();
                if self.it.claims.synced() {
                    self.it.ready.ready();
                }
            }
            Some(News::Failed(_, said)) => {
                self.trouble.note(&said);
                self.it.ready.waiting(said);
                self.it.claims.on_watch(LeaseEvent::Interrupted, now);
            }
            Some(News::Ignored(unreadable)) => tracing::warn!(reason = %unreadable, "Lease ignored"),
            // The stream has no end; one that had would have to be opened again.
            None => self.watch = None,
        }
    }

    fn note_version(&mut self, event: &LeaseEvent) {
        let version = match event {
            LeaseEvent::Listed { revision, .. } | LeaseEvent::Gone(_, revision) => *revision,
            LeaseEvent::Changed(version, _) => version.resource_version,
            LeaseEvent::Interrupted => return,
        };
        self.version = Some(version.to_string());
    }

    fn answer(&mut self, id: WriteId, write: &Write, result: Outcome) {
        let lease = kind(write);
        let outcome = outcome(&result.answer);
        self.it.metrics.lease_writes.get_or_create(&LeaseWrite { lease, outcome }).inc();
        match (&result.answer, &result.said) {
            (Answer::Written(_), _) => self.written(),
            // Somebody else was faster, which is how an address finds its one owner.
            (Answer::Conflict, said) => tracing::debug!(said, "conflict"),
            (Answer::Refused | Answer::Unknown, said) => {
                self.not_written(said.as_deref().unwrap_or("no reason"));
            }
        }
        self.it.claims.on_answer(id, result.answer, clock::now());
    }

    fn written(&mut self) {
        if std::mem::take(&mut self.writing.failures) > 0 {
            self.writing.trouble.over();
            self.writing.noted = None;
            if self.it.claims.synced() {
                self.it.ready.ready();
            }
        }
    }

    fn not_written(&mut self, said: &str) {
        let now = clock::now();
        self.writing.failures += 1;
        if self.writing.failures >= UNREADY_AFTER {
            self.it.ready.waiting(said);
        }
        if self.writing.noted.is_none_or(|at| now.at_least_since(at) >= NOTE_EVERY) {
            self.writing.noted = Some(now);
            self.writing.trouble.note(said);
        }
    }

    fn question(&self, question: Question) {
        let now = clock::now();
        let claims = &self.it.claims;
        let rights = claims.rights();
        let answered_for = rights.titles.iter().chain(rights.held.keys()).copied();
        let addresses: BTreeSet<IpAddr> = question.addresses.into_iter().chain(answered_for).collect();
        let standing = Standing {
            session: claims.session().to_owned(),
            fresh_for: rights.deadline.map(|d| d.left(now)).filter(|left| !left.is_zero()),
            claims: addresses.into_iter().map(|address| (address, claims.state(address))).collect(),
            peers: self.peers.named(),
            now,
        };
        // Who asked may have gone.
        let _ = question.answer.send(standing);
    }
}

async fn next_news(watch: &mut Option<BoxStream<'static, News>>) -> Option<News> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

fn answered(written: Result<(WriteId, Write, Outcome), tokio::task::JoinError>) -> Input {
    match written {
        Ok((id, write, outcome)) => Input::Answer(id, write, outcome),
        // A write neither panics nor is aborted while this task lives.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn kind(write: &Write) -> &'static str {
    let key = match write {
        Write::Create(record) | Write::Replace(_, record) => record.key(),
        Write::Delete(_, key) => key.clone(),
    };
    match key {
        Key::Session(_) => "session",
        Key::Claim(_) => "claim",
    }
}
