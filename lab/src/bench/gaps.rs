// SPDX-License-Identifier: Apache-2.0
//! How long an address is silent when something happens to its holder, as seen on the LAN.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context;

use super::ground::Ground;
use super::report::{Report, Sample};
use crate::frame::{Mac, Tenure, tenures};
use crate::lan::Asking;
use crate::node::{Announcer, Node};
use crate::patience::LONG;
use crate::sniffer::Sniffer;

const MOVES: usize = 20;
const FAULTS: usize = 5;
const ASKING: Duration = Duration::from_millis(5);
/// Answers in a row that make a tenure worth the name.
const STEADY: usize = 40;
/// Answers of the heir to wait for while a former holder might still send: 2 s.
const LONG_ENOUGH: usize = 400;

/// The holder is told to stop, as by a rolling update.
pub(super) async fn planned_moves(ground: &Ground<'_>, report: &mut Report) -> anyhow::Result<()> {
    let mut gaps = Gaps::default();
    for _ in 0..MOVES {
        let watched = Watched::begin(ground).await?;
        watched.announcer.process().terminate().await?;
        watched.others_answer(STEADY).await?;
        gaps.add(&watched)?;
        watched.announcer.process().restart().await?;
        watched.announcer.wait_ready().await?;
    }
    let peers = "MetalLB 131, max 204 ms, two owners for 190 ms; kube-vip 980, max 3,170 ms";
    gaps.tell(report, "planned stop → next owner answers", "p99 ≤ 100 ms, later ≤ 50 ms", peers)
}

/// The process is killed and started again at once, as by its supervisor.
pub(super) async fn restarts(ground: &Ground<'_>, report: &mut Report) -> anyhow::Result<()> {
    let (mut gaps, mut moved) = (Vec::new(), 0);
    for _ in 0..FAULTS {
        let watched = Watched::begin(ground).await?;
        watched.announcer.process().kill().await?;
        let before = watched.answers().len();
        watched.announcer.process().restart().await?;
        watched.answered(before + STEADY, |_| true).await?;
        gaps.push(longest_pause(&watched.answers()));
        moved += usize::from(watched.tenures().iter().any(|tenure| tenure.mac != watched.node.mac()));
        watched.announcer.wait_ready().await?;
    }
    let gaps = Sample::new(gaps).millis();
    let peers = "MetalLB 5,300 ms; kube-vip 16,400 ms, two owners without end";
    report.row(["SIGKILL, started again at once → answers", &gaps, "≤ restart + 200 ms", peers])?;
    report.row(["of those, taken by another node", &moved.to_string(), "", ""])
}

/// The process stands still, as on a dead node, and goes on when another one has the address.
pub(super) async fn freezes(ground: &Ground<'_>, report: &mut Report) -> anyhow::Result<()> {
    let mut gaps = Gaps::default();
    for _ in 0..FAULTS {
        let watched = Watched::begin(ground).await?;
        watched.announcer.process().freeze()?;
        watched.others_answer(STEADY).await?;
        watched.announcer.process().thaw()?;
        watched.others_answer(LONG_ENOUGH).await?;
        gaps.add(&watched)?;
        watched.announcer.wait_ready().await?;
    }
    let peers = "MetalLB 6,100 ms, then 25 to 129 stale answers; kube-vip 16,600 ms, then two owners";
    gaps.tell(report, "holder frozen, resumed later → next owner answers", "≤ D + 300 ms = 4,300 ms", peers)
}

/// The holder's LAN cable is taken out; it still reaches the API server. Later the cable is put back.
pub(super) async fn cables(ground: &Ground<'_>, report: &mut Report) -> anyhow::Result<()> {
    let mut gaps = Gaps::default();
    for _ in 0..FAULTS {
        let watched = Watched::begin(ground).await?;
        watched.node.cut_link()?;
        watched.others_answer(STEADY).await?;
        watched.node.restore_link()?;
        watched.others_answer(LONG_ENOUGH).await?;
        gaps.add(&watched)?;
    }
    let peers = "MetalLB 5,400 ms, two owners for up to 47 s; kube-vip never";
    gaps.tell(report, "LAN link of the holder down → next owner answers", "≤ 300 ms", peers)
}

/// An address that is asked for all the time, and who holds it at first.
struct Watched<'a> {
    vip: Ipv4Addr,
    node: &'a Node,
    announcer: &'a Announcer,
    wire: Sniffer,
    _asking: Asking,
}

impl<'a> Watched<'a> {
    /// Returns when its holder answers steadily.
    async fn begin(ground: &'a Ground<'_>) -> anyhow::Result<Self> {
        let (vip, (node, announcer)) = (ground.vip(0), ground.holder().await?);
        let wire = ground.lan.sniff()?;
        let asking = ground.lan.client().ask_every(ASKING, &[vip]);
        let watched = Self { vip, node, announcer, wire, _asking: asking };
        watched.answered(STEADY, |mac| mac == node.mac()).await?;
        Ok(watched)
    }

    async fn others_answer(&self, count: usize) -> anyhow::Result<()> {
        self.answered(count, |mac| mac != self.node.mac()).await
    }

    /// Waits until, since the beginning, so many answers came from hosts that `whose` accepts.
    async fn answered(&self, count: usize, whose: impl Fn(Mac) -> bool) -> anyhow::Result<()> {
        let seen = Cell::new(0);
        self.wire
            .wait_for(LONG, |frame| {
                let arp = frame.arp().filter(|arp| arp.answers(self.vip) && !arp.announces(self.vip));
                seen.set(seen.get() + usize::from(arp.is_some_and(|arp| whose(arp.source))));
                seen.get() >= count
            })
            .await
            .map(drop)
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

    fn tenures(&self) -> Vec<Tenure> {
        tenures(&self.wire.frames(), self.vip)
    }
}

/// The gaps of one kind of handover, and how many of them were not one host after another.
#[derive(Default)]
struct Gaps {
    gaps: Vec<Duration>,
    overlaps: usize,
}

impl Gaps {
    fn add(&mut self, watched: &Watched<'_>) -> anyhow::Result<()> {
        let tenures = watched.tenures();
        let [old, new, rest @ ..] = tenures.as_slice() else {
            anyhow::bail!("expected two hosts, one after the other, and saw {tenures:?}");
        };
        self.gaps.push(new.first.checked_sub(old.last).context("frames out of order")?);
        // A third tenure: the old one answered after the new one had begun, or the address moved on.
        self.overlaps += usize::from(!rest.is_empty());
        Ok(())
    }

    fn tell(self, report: &mut Report, what: &str, target: &str, peers: &str) -> anyhow::Result<()> {
        let overlaps = self.overlaps.to_string();
        report.row([what, &Sample::new(self.gaps).millis(), target, peers])?;
        report.row(["of those, more than one change of owner", &overlaps, "0", ""])
    }
}

fn longest_pause(times: &[Duration]) -> Duration {
    times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default()
}
