// SPDX-License-Identifier: Apache-2.0
//! One fault, suffered by two LANs beside each other: one whose announcers fence while the API server is away, and one whose hold.
//!
//! On each LAN somebody asks for the addresses all the time, and a capture on the bridge has every frame. Afterwards it is
//! judged by the wire alone: who spoke for an address in turn, and how long nobody answered.

use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, ensure};
use gateherald_lab::gate::Gate;
use gateherald_lab::lan::Asking;
use gateherald_lab::node::Privilege;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::{Announcer, Frame, Lab, Mac, Node, Sniffer};
use serde_json::json;

use crate::vips::{Site, longest_silence, voices};

/// The default lease duration.
pub const D: Duration = Duration::from_secs(4);
/// What D loses to its margin.
pub const MARGIN: Duration = Duration::from_millis(400);
/// A planned move takes about 20 ms, and three probes 80 ms. A machine that compiles beside it adds the rest.
pub const MOVE: Duration = Duration::from_millis(2_500);
/// After a crash an observer counts D; on a busy machine one of its own renewals may fail, and then it counts anew.
pub const COUNTED: Duration = D.saturating_mul(2).saturating_add(SLACK);
/// What a busy machine may add to anything that waits for D.
pub const SLACK: Duration = Duration::from_secs(3);
const OFTEN: Duration = Duration::from_millis(5);
/// Answers in a row that make an owner.
const STEADY: usize = 40;

/// A row of the table in `docs/failover.md`: what is suffered, and what may come of it.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name there.
    pub fault: &'static str,
    /// How many nodes there are.
    pub nodes: usize,
    /// How many addresses they have.
    pub addresses: u8,
    /// Whether each node reaches the API server by a gate of its own.
    pub gates: bool,
    /// What may come of it with `--on-api-outage fence`.
    pub fence: Outcome,
    /// And with `hold`.
    pub hold: Outcome,
}

impl Row {
    /// Two nodes and one address, and the same outcome in either mode.
    pub fn new(fault: &'static str, outcome: Outcome) -> Self {
        Self { fault, nodes: 2, addresses: 1, gates: false, fence: outcome, hold: outcome }
    }
}

/// What may be seen on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Who may speak for an address, in turn.
    pub hands: Hands,
    /// For how long nobody may answer.
    pub silence: Duration,
}

/// Who may speak for an address. Whoever comes back after another counts again, so two owners at a time count many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hands {
    /// Its owner, and nobody else.
    Stay,
    /// Its owner, and after that another one.
    Move,
    /// So many changes at the most.
    Few(usize),
}

/// What an announcer does while the API server is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It falls silent.
    Fence,
    /// It answers on until it hears somebody else.
    Hold,
}

impl Mode {
    /// As the flag says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fence => "fence",
            Self::Hold => "hold",
        }
    }
}

/// One LAN on which a fault is suffered: nodes whose addresses are owned, asked for, and recorded.
pub struct Stage<'a> {
    /// The LAN, its nodes and their announcers.
    pub site: Site<'a>,
    /// How they run.
    pub mode: Mode,
    /// The addresses.
    pub vips: Vec<Ipv4Addr>,
    /// The node that owns the first one at the beginning.
    pub first: usize,
    /// Every frame since.
    pub wire: Sniffer,
    /// Ethernet addresses of nodes beside the site's.
    pub more: Vec<Mac>,
    /// The nodes' gates, if the row wants them.
    pub gates: Vec<Gate>,
    /// How long the API server was away, in which whoever does not hold on is silent.
    pub outage: Cell<Duration>,
    asking: Option<Asking>,
}

/// Has both modes suffer `fault` beside each other, each on a LAN of its own, and judges.
///
/// # Errors
/// When somebody spoke who may not, nobody answered for too long, or nobody answers in the end; and those of `fault`.
pub async fn suffer(
    lab: &Lab,
    row: &Row,
    fault: impl AsyncFn(&Stage<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let alone = async |mode: Mode| {
        let stage = Stage::set(lab, row, mode).await?;
        fault(&stage).await?;
        stage.judge(row).await.with_context(|| format!("{}, {}", row.fault, mode.name()))
    };
    let (fence, hold) = tokio::join!(alone(Mode::Fence), alone(Mode::Hold));
    fence.and(hold)
}

/// As [`suffer`], for a fault of what both LANs use, which therefore happens once.
///
/// # Errors
/// As [`suffer`].
pub async fn suffer_together(
    lab: &Lab,
    row: &Row,
    fault: impl AsyncFnOnce(&[Stage<'_>; 2]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (fence, hold) = tokio::join!(Stage::set(lab, row, Mode::Fence), Stage::set(lab, row, Mode::Hold));
    let stages = [fence?, hold?];
    fault(&stages).await?;
    let [fence, hold] = stages;
    let (fence, hold) = tokio::join!(fence.judge(row), hold.judge(row));
    fence.context("fence").and(hold.context("hold")).context(row.fault)
}

impl<'a> Stage<'a> {
    /// Nodes with ready announcers, and addresses that are answered for.
    ///
    /// # Errors
    /// Those of the lab.
    pub async fn set(lab: &'a Lab, row: &Row, mode: Mode) -> anyhow::Result<Self> {
        let mut site = Site::without_policy(lab, mode.name()).await?;
        site.policy(&json!({})).await?;
        let args = ["--on-api-outage", mode.name()];
        let mut gates = Vec::new();
        for _ in 0..row.nodes {
            let node = site.lan.add_node().await?;
            let kubeconfig = if row.gates {
                let gate = Gate::open(lab.control_plane()).await?;
                let kubeconfig = node.kubeconfig_through(&gate.url())?;
                gates.push(gate);
                kubeconfig
            } else {
                node.kubeconfig()?.clone()
            };
            site.announcers.push(node.start_announcer_as(&Privilege::NetRaw, &kubeconfig, &args)?);
            site.nodes.push(node);
        }
        for announcer in &site.announcers {
            announcer.wait_ready().await?;
        }
        let stage = Self::open(site, row, mode).await?;
        Ok(Self { gates, ..stage })
    }

    /// As [`Stage::set`], on a site that is there.
    ///
    /// # Errors
    /// Those of the lab.
    pub async fn open(site: Site<'a>, row: &Row, mode: Mode) -> anyhow::Result<Self> {
        let vips: Vec<Ipv4Addr> = (0..row.addresses).map(|n| site.lan.address(200 + n)).collect();
        site.service("web", &vips).await?;
        for vip in &vips {
            site.owner(*vip).await?;
        }
        let first = site.owner(vips[0]).await?;
        site.vip_is(first, vips[0], "state", &json!("owned")).await?;
        let wire = site.lan.sniff()?;
        let asking = Some(site.lan.client().ask_every(OFTEN, &vips));
        let stage = Self {
            site,
            mode,
            vips,
            first,
            wire,
            more: Vec::new(),
            gates: Vec::new(),
            outage: Cell::default(),
            asking,
        };
        stage.steady().await?;
        Ok(stage)
    }

    /// The only address, or the first one.
    pub fn vip(&self) -> Ipv4Addr {
        self.vips[0]
    }

    /// The node that owned it at the beginning.
    pub fn old(&self) -> &Node {
        &self.site.nodes[self.first]
    }

    /// Its announcer.
    pub fn holder(&self) -> &Announcer {
        &self.site.announcers[self.first]
    }

    /// The gate between it and the API server.
    pub fn gate(&self) -> &Gate {
        &self.gates[self.first]
    }

    /// The next one, which may inherit it.
    pub fn heir(&self) -> &Node {
        &self.site.nodes[(self.first + 1) % self.site.nodes.len()]
    }

    /// Waits until another node answers for the first address.
    ///
    /// # Errors
    /// When nobody does.
    pub async fn moved(&self) -> anyhow::Result<()> {
        let (vip, old) = (self.vip(), self.old().mac());
        let answers = |f: &Frame| f.source() != old && f.arp().is_some_and(|arp| arp.answers(vip));
        self.wire.wait_for(LONG, answers).await.map(drop)
    }

    /// Waits until the announcer of the first owner has said this.
    ///
    /// # Errors
    /// When it does not.
    pub async fn says(&self, text: &str) -> anyhow::Result<()> {
        self.holder().process().log_line(LONG, |line| line.contains(text)).await.map(drop)
    }

    /// Waits until, from now on, each address has been answered for many times, by one and the same node that also has its claim.
    ///
    /// # Errors
    /// When it has not.
    pub async fn steady(&self) -> anyhow::Result<()> {
        for vip in &self.vips {
            let since = self.wire.frames().len();
            let (seen, run, by) = (Cell::new(0), Cell::new(0), Cell::new(Mac::ZERO));
            let in_a_row = |frame: &Frame| {
                seen.set(seen.get() + 1);
                let answer = frame.arp().filter(|arp| seen.get() > since && arp.answers(*vip));
                if let Some(arp) = answer {
                    run.set(if arp.source == by.replace(arp.source) { run.get() + 1 } else { 1 });
                }
                run.get() >= STEADY
            };
            self.wire.wait_for(LONG, in_a_row).await.with_context(|| format!("{vip} is answered for"))?;
        }
        Ok(())
    }

    /// Judges what came of the fault, and writes down how long nobody answered.
    ///
    /// # Errors
    /// When more was seen than the row allows, and when an address has no owner in the end.
    pub async fn judge(mut self, row: &Row) -> anyhow::Result<()> {
        self.steady().await?;
        self.confirmed().await?;
        self.asking = None;
        let (outcome, outage) = match self.mode {
            Mode::Hold if !self.stood_still() => (row.hold, Duration::ZERO),
            // Nobody may answer while the API server is away.
            Mode::Hold | Mode::Fence => (row.fence, self.outage.get()),
        };
        let frames = self.wire.frames();
        let known: Vec<Mac> =
            self.site.nodes.iter().map(Node::mac).chain(self.more.iter().copied()).collect();
        let bound = outcome.silence + outage;
        let mut longest = (Duration::ZERO, 0);
        for vip in &self.vips {
            let (spoke, silence) = (voices(&frames, *vip), longest_silence(&frames, *vip));
            let changes = spoke.len().saturating_sub(1);
            let allowed = match outcome.hands {
                Hands::Stay => changes == 0,
                Hands::Move => changes == 1,
                Hands::Few(most) => changes <= most,
            };
            ensure!(allowed, "{vip}: {spoke:?} spoke for it in turn, expected {:?}", outcome.hands);
            ensure!(spoke.iter().all(|mac| known.contains(mac)), "{vip}: a stranger among {spoke:?}");
            ensure!(silence < bound, "{vip}: nobody answered for {silence:?}, the bound is {bound:?}");
            longest = longest.max((silence, changes));
        }
        if self.stood_still() {
            return Ok(());
        }
        record(row.fault, self.mode, longest, outage)
    }

    /// Whether the machine let an announcer that held on stand still for so long that it gave up, as it must: then there is nothing
    /// to say of how long nobody answers.
    fn stood_still(&self) -> bool {
        self.site.announcers.iter().any(|announcer| announcer.process().log().contains("stood-still"))
    }

    /// The claims say who answers.
    async fn confirmed(&self) -> anyhow::Result<()> {
        for vip in &self.vips {
            until(&format!("the claim on {vip} names who answers"), LONG, async || {
                let frames = self.wire.frames();
                let by = voices(&frames, *vip).last().copied();
                let holder = self.site.claim_holder(*vip).await?;
                let named = self.site.nodes.iter().find(|node| Some(node.name()) == holder.as_deref());
                let mut macs = named.map(Node::mac).into_iter().chain(self.more.iter().copied());
                let same = named.is_some() && macs.any(|mac| Some(mac) == by);
                Ok(if same { Look::Found(()) } else { Look::NotYet(format!("{holder:?}, {by:?} answers")) })
            })
            .await?;
        }
        Ok(())
    }
}

/// A line for `make failover`, which makes the table of them: fault, mode, milliseconds without an answer, changes of hands,
/// milliseconds that the fault lasted.
fn record(fault: &str, mode: Mode, longest: (Duration, usize), outage: Duration) -> anyhow::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/failover.tsv");
    let mut file = File::options().create(true).append(true).open(path).with_context(|| path.to_owned())?;
    // One write, so that lines of tests beside each other stay whole.
    let (silence, changes) = (longest.0.as_millis(), longest.1);
    let line = format!("{fault}\t{}\t{silence}\t{changes}\t{}\n", mode.name(), outage.as_millis());
    file.write_all(line.as_bytes()).context("write down the gap")
}
