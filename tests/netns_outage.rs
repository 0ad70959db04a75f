// SPDX-License-Identifier: Apache-2.0
//! The API server, or etcd, is away, slow, or half there: who answers meanwhile, who afterwards, and never two. The table is in
//! `docs/failover.md`.

use std::time::Duration;

use gateherald_lab::control_plane::API_PORT;
use gateherald_lab::frame::Arp;
use gateherald_lab::gate::{Rules, Stick};
use gateherald_lab::node::{Privilege, SERVICE_URL};
use gateherald_lab::patience::LONG;
use gateherald_lab::{Frame, Lab, Options};
use gateherald_tests::failover::{
    COUNTED, D, Hands, MOVE, Mode, Outcome, Row, SLACK, Stage, suffer, suffer_together,
};
use gateherald_tests::vips::Site;
use serde_json::json;
use tokio::time::{Instant, sleep};

/// Between two frames of a host that claims an address.
const OFTEN: Duration = Duration::from_millis(100);
/// How long etcd is away, as the issue has it.
const LONG_OUTAGE: Duration = Duration::from_secs(30);
/// How long a slow, or half dead, API server is suffered: past the deadline and the time after which others may take over.
const PAST_ALL: Duration = D.saturating_mul(2).saturating_add(SLACK);
/// Nothing moves, and nothing is silent for long.
const NOTHING: Outcome = Outcome { hands: Hands::Stay, silence: MOVE };

/// Silent in fence mode for as long as the outage, and a little longer.
fn silent_meanwhile(fault: &'static str) -> Row {
    Row { fence: Outcome { hands: Hands::Few(1), silence: SLACK }, ..Row::new(fault, NOTHING) }
}

/// The fault that began then is over.
fn over(stages: &[Stage<'_>], began: Instant) {
    for stage in stages {
        stage.outage.set(began.elapsed());
    }
}

/// Waits until each announcer has lost its session, which those that hold say in other words.
async fn lost(stages: &[Stage<'_>; 2]) -> anyhow::Result<()> {
    for stage in stages {
        let said = match stage.mode {
            Mode::Fence => "silent until a new one is in force",
            Mode::Hold => "answering on until somebody else is heard",
        };
        stage.says(said).await?;
    }
    Ok(())
}

async fn ready(stages: &[Stage<'_>; 2]) -> anyhow::Result<()> {
    for announcer in stages.iter().flat_map(|stage| &stage.site.announcers) {
        announcer.wait_ready().await?;
    }
    Ok(())
}

#[test]
fn an_api_server_that_is_killed_and_started_again_silences_no_one_who_holds() -> anyhow::Result<()> {
    let row = Row { addresses: 6, ..silent_meanwhile("API server killed, then started again") };
    gateherald_lab::run_alone(&Options::default(), async |lab| {
        suffer_together(lab, &row, async |stages| {
            let (api, began) = (lab.control_plane().api_server(), Instant::now());
            api.kill().await?;
            lost(stages).await?;
            api.restart().await?;
            lab.control_plane().wait_ready().await?;
            over(stages, began);
            ready(stages).await
        })
        .await
    })
}

#[test]
fn an_etcd_that_stands_still_for_half_a_minute_silences_no_one_who_holds() -> anyhow::Result<()> {
    let row = silent_meanwhile("etcd stopped for 30 s");
    gateherald_lab::run_alone(&Options::default(), async |lab| {
        suffer_together(lab, &row, async |stages| {
            let (etcd, began) = (lab.control_plane().etcd(), Instant::now());
            etcd.freeze()?;
            lost(stages).await?;
            sleep(LONG_OUTAGE.saturating_sub(began.elapsed())).await;
            etcd.thaw()?;
            lab.control_plane().wait_ready().await?;
            over(stages, began);
            ready(stages).await
        })
        .await
    })
}

#[test]
fn an_etcd_that_is_killed_and_comes_back_after_half_a_minute_silences_no_one_who_holds() -> anyhow::Result<()>
{
    let row = silent_meanwhile("etcd killed, started again after 30 s");
    gateherald_lab::run_alone(&Options::default(), async |lab| {
        suffer_together(lab, &row, async |stages| {
            let (etcd, began) = (lab.control_plane().etcd(), Instant::now());
            etcd.kill().await?;
            lost(stages).await?;
            sleep(LONG_OUTAGE.saturating_sub(began.elapsed())).await;
            etcd.restart().await?;
            lab.control_plane().wait_ready().await?;
            over(stages, began);
            ready(stages).await
        })
        .await
    })
}

/// All nodes have these rules at their gates until nobody is fresh any more, and for a while longer.
async fn slow(lab: &Lab, fault: &'static str, rules: Rules) -> anyhow::Result<()> {
    // Whoever is fresh first afterwards may take the address over.
    let row = silent_meanwhile(fault);
    let hold = Outcome { hands: Hands::Few(1), ..row.hold };
    let row = Row { gates: true, hold, ..row };
    suffer(lab, &row, async |stage| {
        let began = Instant::now();
        stage.gates.iter().for_each(|gate| gate.set(rules));
        stage.says("session lost").await?;
        sleep(PAST_ALL).await;
        stage.gates.iter().for_each(|gate| gate.set(Rules::default()));
        over(std::slice::from_ref(stage), began);
        for announcer in &stage.site.announcers {
            announcer.wait_ready().await?;
        }
        Ok(())
    })
    .await
}

#[test]
fn writes_that_arrive_three_seconds_late_give_nobody_a_second_owner() -> anyhow::Result<()> {
    let rules = Rules { writes_late: Duration::from_secs(3), ..Rules::default() };
    gateherald_lab::run(async |lab| slow(lab, "API server slow: each write arrives 3 s late", rules).await)
}

#[test]
fn writes_that_are_answered_three_seconds_late_give_nobody_a_second_owner() -> anyhow::Result<()> {
    let rules = Rules { answers_late: Duration::from_secs(3), ..Rules::default() };
    gateherald_lab::run(async |lab| slow(lab, "API server slow: each answer comes 3 s late", rules).await)
}

/// The holder alone is slow: the session's end that it writes itself, or an observer, gives the address to the other node.
#[test]
fn a_holder_whose_writes_arrive_late_is_succeeded_by_one_whose_do_not() -> anyhow::Result<()> {
    let late = Duration::from_secs(3);
    let row = Row {
        gates: true,
        fence: Outcome { hands: Hands::Move, silence: COUNTED + late },
        ..Row::new("API server slow for the holder alone", Outcome { hands: Hands::Move, silence: MOVE })
    };
    gateherald_lab::run(async |lab| {
        suffer(lab, &row, async |stage| {
            stage.gate().set(Rules { writes_late: late, ..Rules::default() });
            stage.moved().await?;
            stage.gate().set(Rules::default());
            stage.holder().wait_ready().await
        })
        .await
    })
}

#[test]
fn a_stuck_lease_watch_is_replaced_before_anybody_notices() -> anyhow::Result<()> {
    let row = Row { gates: true, ..Row::new("Lease watch stuck, renewals pass", NOTHING) };
    gateherald_lab::run(async |lab| {
        suffer(lab, &row, async |stage| {
            let opened = stage.gate().opened();
            stage.gate().set(Rules { stick: Stick::First(opened), ..Rules::default() });
            stage.says("opening the Lease watch anew").await?;
            sleep(D + D).await;
            anyhow::ensure!(stage.gate().opened() > opened, "no other watch was opened");
            Ok(())
        })
        .await
    })
}

/// Every new watch is stuck as well. Renewals are answered, so the API server is not away: nothing is held.
#[test]
fn a_holder_that_sees_nothing_any_more_falls_silent_and_is_succeeded() -> anyhow::Result<()> {
    let outcome = Outcome { hands: Hands::Move, silence: COUNTED };
    let row =
        Row { gates: true, ..Row::new("every Lease watch of the holder stuck, renewals pass", outcome) };
    gateherald_lab::run(async |lab| {
        suffer(lab, &row, async |stage| {
            stage.gate().set(Rules { stick: Stick::All, ..Rules::default() });
            stage.says("session lost").await?;
            stage.moved().await?;
            stage.gate().set(Rules::default());
            stage.holder().wait_ready().await
        })
        .await
    })
}

/// One after the other, so that the connections of both watches and renewals are hit; the first swallows packets, the second
/// takes connections and says nothing.
#[test]
fn one_of_two_api_servers_that_is_a_black_hole_costs_nothing() -> anyhow::Result<()> {
    let other = API_PORT + 1;
    // Each new connection meets the black hole by chance, and so does the one beside it.
    let outcome = Outcome { hands: Hands::Few(2), silence: COUNTED };
    let row = Row::new("one of two API servers a black hole", outcome);
    gateherald_lab::run_alone(&Options::default(), async |lab| {
        let second = lab.control_plane().start_another_api_server(other).await?;
        let alone = async |mode: Mode| {
            let mut site = Site::without_policy(lab, mode.name()).await?;
            site.policy(&json!({})).await?;
            for _ in 0..2 {
                let node = site.lan.add_node().await?;
                node.balance([API_PORT, other])?;
                let (kubeconfig, args) =
                    (node.kubeconfig_through(SERVICE_URL)?, ["--on-api-outage", mode.name()]);
                site.announcers.push(node.start_announcer_as(&Privilege::NetRaw, &kubeconfig, &args)?);
                site.nodes.push(node);
            }
            for announcer in &site.announcers {
                announcer.wait_ready().await?;
            }
            Stage::open(site, &row, mode).await
        };
        let (fence, hold) = tokio::join!(alone(Mode::Fence), alone(Mode::Hold));
        let stages = [fence?, hold?];
        let nodes = || stages.iter().flat_map(|stage| &stage.site.nodes);
        nodes().try_for_each(|node| node.black_hole(API_PORT, true))?;
        sleep(PAST_ALL).await;
        nodes().try_for_each(|node| node.black_hole(API_PORT, false))?;
        second.freeze()?;
        sleep(PAST_ALL).await;
        second.thaw()?;
        ready(&stages).await?;
        let [fence, hold] = stages;
        fence.judge(&row).await.and(hold.judge(&row).await)
    })
}

#[test]
fn a_persons_arping_silences_a_held_address_for_a_few_seconds_only() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let stage = held(lab).await?;
        let (vip, mac) = (stage.vip(), stage.old().mac());
        let wire = stage.site.lan.sniff()?;
        // Not the client: it is told the answers to what it asks all the time.
        let person = stage.site.lan.add_host("person")?;
        let duplicate = person.arping(vip, &["-D", "-c", "1", "-w", "1"]).await?;
        assert!(duplicate.status.success(), "a held address does not answer a probe");
        stage.says("answering again without a session").await?;
        assert_eq!(stage.site.owner(vip).await?, stage.first);
        let announced = |f: &Frame| f.source() == mac && f.arp().is_some_and(|arp| arp.announces(vip));
        assert!(!wire.frames().iter().any(announced), "held is not announced");
        release(&stage).await
    })
}

#[test]
fn another_host_that_claims_a_held_address_has_it_until_the_api_server_is_back() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let stage = held(lab).await?;
        let (vip, mac) = (stage.vip(), stage.old().mac());
        let stranger = stage.site.lan.add_host("stranger")?;
        let wire = stage.site.lan.sniff()?;
        let claim = Arp { sender_ip: vip, ..stranger.request(vip) };
        // Again and again: a port that was just plugged in may not forward yet.
        let claiming = stranger.repeat(OFTEN, vec![claim.bytes()]);
        stage.says("no longer answering without a session").await?;
        drop(claiming);
        let heard = wire.wait_for(LONG, |f| f.source() == stranger.mac()).await?.at;
        // Longer than after a probe.
        sleep(D + SLACK).await;
        // Replies may have been on their way while the claim came.
        let after = heard + Duration::from_secs(1);
        let spoke =
            |f: &&Frame| f.at > after && f.source() == mac && f.arp().is_some_and(|arp| arp.sender_ip == vip);
        assert_eq!(wire.frames().iter().filter(spoke).count(), 0);
        release(&stage).await
    })
}

/// A LAN on which nobody reaches the API server, and the first owner answers on.
async fn held(lab: &Lab) -> anyhow::Result<Stage<'_>> {
    let stage = Stage::set(lab, &Row::new("", NOTHING), Mode::Hold).await?;
    stage.site.nodes.iter().try_for_each(|node| node.set_management_link(false))?;
    stage.says("answering on until somebody else is heard").await?;
    assert_eq!(stage.site.owner(stage.vip()).await?, stage.first);
    Ok(stage)
}

/// The API server is back, and somebody answers without help.
async fn release(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.site.nodes.iter().try_for_each(|node| node.set_management_link(true))?;
    for announcer in &stage.site.announcers {
        announcer.wait_ready().await?;
    }
    stage.steady().await
}
