// SPDX-License-Identifier: Apache-2.0
//! Faults of one node, each with announcers that fence and with announcers that hold: never two owners, no owner for a bounded
//! time, and recovery without help. The table is in `docs/failover.md`.

use std::time::Duration;

use gateherald_lab::Frame;
use gateherald_lab::gate::Rules;
use gateherald_lab::patience::LONG;
use gateherald_tests::failover::{COUNTED, D, Hands, MARGIN, MOVE, Mode, Outcome, Row, SLACK, Stage, suffer};
use serde_json::json;

/// Another node takes over by a planned move.
const PLANNED: Outcome = Outcome { hands: Hands::Move, silence: MOVE };
/// Another node takes over when the session has been silent for D.
const CRASH: Outcome = Outcome { hands: Hands::Move, silence: COUNTED };
/// Nothing moves, and nothing is silent for long.
const NOTHING: Outcome = Outcome { hands: Hands::Stay, silence: MOVE };

#[test]
fn a_holder_that_is_told_to_stop_leaves_its_address_at_once() -> anyhow::Result<()> {
    let row = Row::new("SIGTERM", PLANNED);
    gateherald_lab::run(async |lab| {
        suffer(lab, &row, async |stage| {
            anyhow::ensure!(stage.holder().process().terminate().await?.success());
            stage.moved().await
        })
        .await
    })
}

#[test]
fn a_holder_that_is_killed_is_succeeded_after_its_lease() -> anyhow::Result<()> {
    let row = Row::new("SIGKILL", CRASH);
    gateherald_lab::run(async |lab| {
        suffer(lab, &row, async |stage| {
            stage.holder().process().kill().await?;
            stage.moved().await
        })
        .await
    })
}

#[test]
fn a_holder_that_is_killed_and_started_again_keeps_its_address() -> anyhow::Result<()> {
    let row = Row::new("SIGKILL, started again at once", Outcome { silence: D + SLACK, ..NOTHING });
    gateherald_lab::run(async |lab| {
        suffer(lab, &row, async |stage| {
            stage.holder().process().kill().await?;
            stage.holder().process().restart().await?;
            stage.says("replacing this node's dead predecessor").await
        })
        .await
    })
}

/// Requests of seconds are queued in its socket when it wakes.
#[test]
fn a_frozen_holder_sends_nothing_after_its_deadline() -> anyhow::Result<()> {
    let row = Row::new("SIGSTOP past the deadline, then SIGCONT", CRASH);
    gateherald_lab::run(async |lab| {
        suffer(lab, &row, async |stage| {
            stage.holder().process().freeze()?;
            stage.moved().await?;
            stage.holder().process().thaw()?;
            stage.says("session lost").await?;
            stage.holder().wait_ready().await
        })
        .await
    })
}

/// client-go's electors take a lease back that was renewed while they stood still.
#[test]
fn a_holder_that_is_frozen_with_a_renewal_under_way_says_nothing_when_it_wakes() -> anyhow::Result<()> {
    let row =
        Row { gates: true, ..Row::new("frozen with a renewal under way, which arrives meanwhile", CRASH) };
    gateherald_lab::run(async |lab| {
        suffer(lab, &row, async |stage| {
            let gate = stage.gate();
            gate.set(Rules { hold_writes: true, ..Rules::default() });
            gate.holds_a_write().await?;
            stage.holder().process().freeze()?;
            // The renewal arrives, and renews what nobody lives under.
            gate.set(Rules::default());
            stage.moved().await?;
            stage.holder().process().thaw()?;
            stage.says("session lost").await?;
            stage.holder().wait_ready().await
        })
        .await
    })
}

#[test]
fn a_node_that_dies_is_succeeded_and_gets_nothing_back_by_returning() -> anyhow::Result<()> {
    let row = Row::new("node death", CRASH);
    gateherald_lab::run(async |lab| {
        suffer(lab, &row, async |stage| {
            // This one first: what is left of the node for a moment must not be able to give the address up.
            stage.old().set_management_link(false)?;
            stage.old().cut_link()?;
            stage.holder().process().kill().await?;
            stage.moved().await?;
            stage.old().restore_link()?;
            stage.old().set_management_link(true)?;
            stage.holder().process().restart().await?;
            stage.holder().wait_ready().await
        })
        .await
    })
}

#[test]
fn a_holder_whose_cable_is_out_gives_its_address_up_and_gets_nothing_back_by_returning() -> anyhow::Result<()>
{
    let row = Row::new("LAN link down", PLANNED);
    gateherald_lab::run(async |lab| {
        suffer(lab, &row, async |stage| {
            stage.old().cut_link()?;
            stage.moved().await?;
            stage.site.refused(stage.first, Some(stage.vip()), "InterfacesDown").await?;
            stage.old().restore_link()?;
            stage.site.vip_is(stage.first, stage.vip(), "state", &json!("held-elsewhere")).await
        })
        .await
    })
}

#[test]
fn a_link_that_flaps_has_one_owner_afterwards_who_announces() -> anyhow::Result<()> {
    // Three times down and up; each may be long enough to give the address up.
    let row = Row::new("LAN link down and up within 200 ms", Outcome { hands: Hands::Few(3), silence: MOVE });
    gateherald_lab::run(async |lab| {
        suffer(lab, &row, async |stage| {
            for pause in [20, 100, 180] {
                let owner = stage.site.owner(stage.vip()).await?;
                let node = &stage.site.nodes[owner];
                node.cut_link()?;
                tokio::time::sleep(Duration::from_millis(pause)).await;
                node.restore_link()?;
                let up = stage.wire.frames().last().map(|frame| frame.at).unwrap_or_default();
                let announced =
                    |f: &Frame| f.at > up && f.arp().is_some_and(|arp| arp.announces(stage.vip()));
                stage.wire.wait_for(LONG, announced).await?;
                stage.steady().await?;
            }
            Ok(())
        })
        .await
    })
}

/// In fence mode the silence is the margin; in hold mode the holder answers until it hears the heir's probe.
#[test]
fn a_holder_that_is_cut_off_from_the_api_server_is_succeeded_in_turn() -> anyhow::Result<()> {
    let row = Row {
        fence: Outcome { hands: Hands::Move, silence: COUNTED },
        hold: PLANNED,
        ..Row::new("management link cut for longer than the lease", PLANNED)
    };
    gateherald_lab::run(async |lab| {
        suffer(lab, &row, async |stage| {
            stage.old().set_management_link(false)?;
            stage.says("session lost").await?;
            stage.moved().await?;
            stage.old().set_management_link(true)?;
            stage.holder().wait_ready().await
        })
        .await
    })
}

#[test]
fn all_announcers_restarted_at_once_find_their_addresses_again() -> anyhow::Result<()> {
    let outcome = Outcome { hands: Hands::Stay, silence: SLACK.saturating_add(SLACK) };
    let row = Row { addresses: 6, ..Row::new("all announcers killed and started again at once", outcome) };
    gateherald_lab::run(async |lab| {
        suffer(lab, &row, async |stage| {
            for announcer in &stage.site.announcers {
                announcer.process().kill().await?;
            }
            for announcer in &stage.site.announcers {
                announcer.process().restart().await?;
            }
            for announcer in &stage.site.announcers {
                announcer.wait_ready().await?;
            }
            Ok(())
        })
        .await
    })
}

/// Each restart is a planned move; so an address moves as often as its owner of the moment is restarted.
#[test]
fn a_rolling_restart_never_has_two_owners() -> anyhow::Result<()> {
    let outcome = Outcome { hands: Hands::Few(3), silence: MOVE };
    let row = Row { nodes: 3, addresses: 6, ..Row::new("rolling restart", outcome) };
    gateherald_lab::run(async |lab| {
        suffer(lab, &row, async |stage| {
            for announcer in &stage.site.announcers {
                anyhow::ensure!(announcer.process().terminate().await?.success());
                announcer.process().restart().await?;
                announcer.wait_ready().await?;
            }
            Ok(())
        })
        .await
    })
}

/// Longer on one node after the other, then shorter; then a crash, which is judged by the crashed one's own duration.
#[test]
fn a_rolling_change_of_the_lease_duration_never_has_two_owners() -> anyhow::Result<()> {
    let outcome = Outcome { hands: Hands::Few(5), silence: COUNTED };
    let row =
        Row { addresses: 6, ..Row::new("rolling change of D to 7 s and to 2 s, then SIGKILL", outcome) };
    gateherald_lab::run(async |lab| {
        suffer(lab, &row, async |stage| {
            for (seconds, period) in [("7", "2s"), ("2", "500ms")] {
                for announcer in &stage.site.announcers {
                    let args = announcer.process().spec().args.iter().cloned();
                    let times = ["--lease-duration", seconds, "--renew-period", period].map(str::to_owned);
                    anyhow::ensure!(announcer.process().terminate().await?.success());
                    announcer.process().restart_with(args.chain(times).collect()).await?;
                    announcer.wait_ready().await?;
                }
                stage.steady().await?;
            }
            stage.site.announcers[0].process().kill().await.map(drop)
        })
        .await
    })
}

/// It has the node's name and address of the API server, and neither its network namespace nor its socket.
#[test]
fn a_second_announcer_of_the_same_node_waits_until_the_first_is_gone() -> anyhow::Result<()> {
    let row =
        Row { nodes: 1, ..Row::new("second announcer of the node in another network namespace", CRASH) };
    gateherald_lab::run(async |lab| {
        let alone = async |mode: Mode| {
            let mut stage = Stage::set(lab, &row, mode).await?;
            let twin = stage.old().twin()?;
            stage.more.push(twin.mac());
            let second = twin.start_announcer(&["--on-api-outage", mode.name()])?;
            let waits = |line: &str| line.contains("another announcer of this node may be alive");
            second.process().log_line(LONG, waits).await?;
            stage.steady().await?;
            // Both live for longer than a lease, and only the first one answers.
            tokio::time::sleep(D + MARGIN).await;
            assert_eq!(
                gateherald_tests::vips::voices(&stage.wire.frames(), stage.vip()),
                [stage.old().mac()]
            );
            stage.holder().process().kill().await?;
            stage.moved().await?;
            // Now the first one is the second.
            stage.holder().process().restart().await?;
            stage.holder().process().log_line(LONG, waits).await?;
            stage.judge(&row).await?;
            drop(second);
            anyhow::Ok(())
        };
        let (fence, hold) = tokio::join!(alone(Mode::Fence), alone(Mode::Hold));
        fence.and(hold)
    })
}
