// SPDX-License-Identifier: Apache-2.0
//! How long an address is silent when something happens to its holder, as seen on the LAN.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;

use super::cast::Actor;
use super::ground::Ground;
use super::report::{Report, Sample};
use crate::frame::{Mac, Tenure, tenures};
use crate::lan::Asking;
use crate::node::Node;
use crate::patience::LONG;
use crate::sniffer::Sniffer;

const ASKING: Duration = Duration::from_millis(5);
/// Answers in a row that make a tenure worth the name.
const STEADY: usize = 40;
/// Answers of the heir to wait for while a former holder might still send: 2 s.
const LONG_ENOUGH: usize = 400;

/// What happens to the holder of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// It is told to stop, as by a rolling update.
    Planned,
    /// It is killed and started again at once, as by its supervisor.
    Restart,
    /// LAN and management network are cut at once, and the process is killed.
    NodeDeath,
    /// Its LAN cable is taken out; it still reaches the API server. Later the cable is put back.
    LinkDown,
    /// It stands still, and goes on when another one has the address.
    Freeze,
}

/// What the table says beside a figure of Gateherald's.
struct Beside {
    target: &'static str,
    peers: &'static str,
}

impl Kind {
    fn what(self) -> &'static str {
        match self {
            Self::Planned => "planned stop → next owner answers",
            Self::Restart => "SIGKILL, started again at once → answers",
            Self::NodeDeath => "node death → next owner answers",
            Self::LinkDown => "LAN link of the holder down → next owner answers",
            Self::Freeze => "holder frozen, resumed later → next owner answers",
        }
    }

    fn beside(self) -> Beside {
        let (target, peers) = match self {
            Self::Planned => (
                "p99 ≤ 100 ms, later ≤ 50 ms",
                "MetalLB 131, max 204 ms, two owners for 190 ms; kube-vip 980, max 3,170 ms",
            ),
            Self::Restart => {
                ("≤ restart + 200 ms", "MetalLB 5,300 ms; kube-vip 16,400 ms, two owners without end")
            }
            Self::NodeDeath => ("≤ D + 300 ms = 4,300 ms", "MetalLB 6,100 ms; kube-vip 16,600 ms"),
            Self::LinkDown => ("≤ 300 ms", "MetalLB 5,400 ms, two owners for up to 47 s; kube-vip never"),
            Self::Freeze => (
                "≤ D + 300 ms = 4,300 ms",
                "MetalLB 6,100 ms, then 25 to 129 stale answers; kube-vip 16,600 ms, then two owners",
            ),
        };
        Beside { target, peers }
    }
}

/// Has this happen so many times. `ours`: targets and peers' figures belong beside it.
pub(super) async fn measure(
    kind: Kind,
    runs: usize,
    ours: bool,
    ground: &Ground<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut gaps = Gaps::default();
    for _ in 0..runs {
        let watched = Watched::begin(ground).await?;
        let over = watched.fault(kind).await?;
        gaps.add(&watched, kind, over)?;
        watched.recover(kind).await?;
    }
    let Beside { target, peers } = if ours { kind.beside() } else { Beside { target: "", peers: "" } };
    report.row([kind.what(), &Sample::new(gaps.lengths).millis(), target, peers])?;
    if gaps.never > 0 {
        let what = format!("of those, nobody within {} s", LONG.as_secs());
        report.row([&what, &gaps.never.to_string(), "0", ""])?;
    }
    if kind == Kind::Restart {
        report.row(["of those, taken by another node", &gaps.moved.to_string(), "", ""])?;
    }
    let overlaps = format!("{} ({} answers)", gaps.overlaps, gaps.stale);
    report.row(["of those, more than one owner (answers of the former one after that)", &overlaps, "0", ""])
}

/// An address that is asked for all the time, and who holds it at first.
struct Watched<'a> {
    vip: Ipv4Addr,
    node: &'a Node,
    actor: &'a Actor,
    wire: Sniffer,
    _asking: Asking,
}

impl<'a> Watched<'a> {
    /// Returns when its holder answers steadily.
    async fn begin(ground: &'a Ground<'_>) -> anyhow::Result<Self> {
        let (vip, (node, actor)) = (ground.vip(0), ground.holder().await?);
        let wire = ground.lan.sniff()?;
        let asking = ground.lan.client().ask_every(ASKING, &[vip]);
        let watched = Self { vip, node, actor, wire, _asking: asking };
        anyhow::ensure!(
            watched.answered(STEADY, |mac| mac == node.mac()).await,
            "{} fell silent",
            node.name()
        );
        Ok(watched)
    }

    /// Makes it happen, and waits until it is over; whether it is.
    async fn fault(&self, kind: Kind) -> anyhow::Result<bool> {
        let process = self.actor.process();
        match kind {
            Kind::Planned => drop(process.terminate().await?),
            Kind::Restart => {
                process.kill().await?;
                let before = self.answers().len();
                process.restart().await?;
                return Ok(self.answered(before + STEADY, |_| true).await);
            }
            Kind::NodeDeath => {
                self.node.isolate()?;
                self.node.set_management_link(false)?;
                process.kill().await?;
            }
            Kind::LinkDown => self.node.cut_link()?,
            Kind::Freeze => process.freeze()?,
        }
        let over = self.others_answer(STEADY).await;
        match kind {
            Kind::LinkDown => self.node.restore_link()?,
            Kind::Freeze => process.thaw()?,
            Kind::Planned | Kind::Restart | Kind::NodeDeath => return Ok(over),
        }
        // Whoever comes back may still believe to own it.
        if over {
            self.others_answer(STEADY + LONG_ENOUGH).await;
        }
        Ok(over)
    }

    /// Has the former holder stand by again.
    async fn recover(&self, kind: Kind) -> anyhow::Result<()> {
        if kind == Kind::NodeDeath {
            self.node.set_management_link(true)?;
            self.node.rejoin()?;
        }
        if matches!(kind, Kind::Planned | Kind::NodeDeath) {
            self.actor.process().restart().await?;
        }
        self.actor.ready().await
    }

    async fn others_answer(&self, count: usize) -> bool {
        self.answered(count, |mac| mac != self.node.mac()).await
    }

    /// Waits until, since the beginning, so many answers came from hosts that `whose` accepts; whether they did.
    async fn answered(&self, count: usize, whose: impl Fn(Mac) -> bool) -> bool {
        let seen = Cell::new(0);
        let enough = self.wire.wait_for(LONG, |frame| {
            let arp = frame.arp().filter(|arp| arp.answers(self.vip) && !arp.announces(self.vip));
            seen.set(seen.get() + usize::from(arp.is_some_and(|arp| whose(arp.source))));
            seen.get() >= count
        });
        enough.await.is_ok()
    }

    /// When each answer was sent.
    fn answers(&self) -> Vec<Duration> {
        let frames = self.wire.frames();
        let is_answer = |arp: &crate::Arp| arp.answers(self.vip) && !arp.announces(self.vip);
        frames
            .iter()
            .filter(|frame| frame.arp().as_ref().is_some_and(is_answer))
            .map(|frame| frame.at)
            .collect()
    }
}

/// The gaps of one kind of handover, and how many of them were not one host after another.
#[derive(Default)]
struct Gaps {
    lengths: Vec<Duration>,
    overlaps: usize,
    /// Answers of the former holder after its heir had begun.
    stale: usize,
    moved: usize,
    never: usize,
}

impl Gaps {
    fn add(&mut self, watched: &Watched<'_>, kind: Kind, over: bool) -> anyhow::Result<()> {
        let tenures = tenures(&watched.wire.frames(), watched.vip);
        let former = watched.node.mac();
        self.moved += usize::from(tenures.iter().any(|tenure| tenure.mac != former));
        if !over {
            self.never += 1;
            return Ok(());
        }
        let rest: &[Tenure] = if kind == Kind::Restart {
            self.lengths.push(longest_pause(&watched.answers()));
            tenures.get(1..).unwrap_or_default()
        } else {
            let [old, new, rest @ ..] = tenures.as_slice() else {
                anyhow::bail!("expected two hosts, one after the other, and saw {tenures:?}");
            };
            self.lengths.push(new.first.checked_sub(old.last).context("frames out of order")?);
            rest
        };
        let stale: usize =
            rest.iter().filter(|tenure| tenure.mac == former).map(|tenure| tenure.answers).sum();
        // After a restart a move is no overlap as long as nobody comes back.
        let changes = if kind == Kind::Restart { rest.len().saturating_sub(1) } else { rest.len() };
        self.overlaps += usize::from(changes > 0);
        self.stale += stale;
        Ok(())
    }
}

fn longest_pause(times: &[Duration]) -> Duration {
    times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default()
}
