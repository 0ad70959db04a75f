// SPDX-License-Identifier: Apache-2.0
//! Leases in the wrong hands, and in another format. The table is in `docs/failover.md`.

use std::net::Ipv4Addr;

use anyhow::Context;
use gateherald_lab::Lab;
use gateherald_lab::chart::NAMESPACE;
use gateherald_lab::gate::Gate;
use gateherald_lab::patience::LONG;
use gateherald_tests::failover::{COUNTED, Hands, Outcome, Row, Stage, suffer};
use serde_json::{Value, json};

/// The address is silent for D, and then taken by whoever is first; an observer's count may have to begin anew.
const WAITED_OUT: Outcome = Outcome { hands: Hands::Few(1), silence: COUNTED };

/// What a person does to a claim.
#[derive(Clone, Copy, Debug)]
enum Hand {
    Delete,
    Foreign,
    Empty,
    Session,
    Format,
    Restore,
}

impl Hand {
    /// One address each.
    const ALL: [Self; 6] =
        [Self::Delete, Self::Foreign, Self::Empty, Self::Session, Self::Format, Self::Restore];

    async fn lay(self, lab: &Lab, vip: Ipv4Addr, older: &str) -> anyhow::Result<()> {
        let claim = format!("gateherald-vip-{vip}");
        let patch = match self {
            Self::Delete => {
                return lab.kubectl(&["delete", "lease", &claim, "-n", NAMESPACE]).await.map(drop);
            }
            Self::Restore => return lab.apply(older).await,
            Self::Foreign => json!({ "spec": { "holderIdentity": "somebody-else" } }),
            Self::Empty => json!({ "spec": { "holderIdentity": "" } }),
            Self::Session => annotation("session", "aaaaaaaaaaaaaaaaaaaaaaaa"),
            Self::Format => annotation("format", "0"),
        };
        let patch = patch.to_string();
        let args = ["patch", "lease", &claim, "-n", NAMESPACE, "--type=merge", "-p", &patch];
        lab.kubectl(&args).await.map(drop)
    }
}

fn annotation(key: &str, value: &str) -> Value {
    json!({ "metadata": { "annotations": { format!("gateherald.io/{key}"): value } } })
}

/// A claim as it is now, to be put back later, as from a backup.
async fn copy_of(lab: &Lab, vip: Ipv4Addr) -> anyhow::Result<String> {
    let claim = format!("gateherald-vip-{vip}");
    let text = lab.kubectl(&["get", "lease", &claim, "-n", NAMESPACE, "-o", "json"]).await?;
    let mut lease: Value = serde_json::from_str(&text)?;
    if let Some(metadata) = lease["metadata"].as_object_mut() {
        for field in ["resourceVersion", "uid", "creationTimestamp", "managedFields"] {
            metadata.remove(field);
        }
    }
    Ok(lease.to_string())
}

#[test]
fn claims_in_a_persons_hands_are_waited_out() -> anyhow::Result<()> {
    let addresses = u8::try_from(Hand::ALL.len())?;
    // The one that is restored has moved before.
    let outcome = Outcome { hands: Hands::Few(2), ..WAITED_OUT };
    let row = Row {
        addresses,
        ..Row::new("claims deleted, edited, emptied, set back to an older version by hand", outcome)
    };
    gateherald_lab::run(async |lab| {
        suffer(lab, &row, async |stage| {
            let last = stage.vips[Hand::ALL.len() - 1];
            let older = copy_of(lab, last).await?;
            prefer_another(stage, last).await?;
            for (hand, vip) in Hand::ALL.into_iter().zip(&stage.vips) {
                hand.lay(lab, *vip, &older).await?;
            }
            for vip in &stage.vips {
                someone_lost(stage, *vip).await?;
            }
            Ok(())
        })
        .await
    })
}

/// Moves one address to the other node.
async fn prefer_another(stage: &Stage<'_>, vip: Ipv4Addr) -> anyhow::Result<()> {
    let site = &stage.site;
    let other = &site.nodes[1 - site.owner(vip).await?];
    site.addresses("web", &stage.vips.iter().copied().filter(|one| *one != vip).collect::<Vec<_>>()).await?;
    let preferred =
        json!({ "metadata": { "annotations": { "gateherald.io/preferred-node": other.name() } } });
    site.service("moving", &[vip]).await?;
    site.patch("moving", preferred).await?;
    site.claimed_by(vip, Some(other.name())).await?;
    stage.steady().await
}

/// Waits until an announcer has noticed that a claim is not its own any more.
async fn someone_lost(stage: &Stage<'_>, vip: Ipv4Addr) -> anyhow::Result<()> {
    let vip = vip.to_string();
    let told = |line: &str| line.contains("lost the address") && line.contains(&vip);
    let [first, second] = [0, 1].map(|node| stage.site.announcers[node].process());
    tokio::select! {
        told = first.log_line(LONG, told) => told.map(drop),
        told = second.log_line(LONG, told) => told.map(drop),
    }
}

#[test]
fn a_session_that_a_person_deletes_silences_its_node_until_it_has_another() -> anyhow::Result<()> {
    let row = Row { addresses: 3, ..Row::new("session Lease deleted by hand", WAITED_OUT) };
    gateherald_lab::run(async |lab| {
        suffer(lab, &row, async |stage| {
            let session = format!("gateherald-node-{}", stage.old().name());
            lab.kubectl(&["delete", "lease", &session, "-n", NAMESPACE]).await?;
            stage.says("session lost").await
        })
        .await
    })
}

/// There has been one format so far, so there is no older program to build. A gate gives the program another one: whatever it
/// reads and writes through it has the numbers exchanged. To the API server and the other node it is a program of format 2,
/// which knows of format 1 what every format knows of another.
#[test]
fn announcers_of_two_formats_upgrade_and_roll_back_without_two_owners() -> anyhow::Result<()> {
    // Each node changes twice, and each change is a stop; when the last one of a format stops, the others wait for D.
    let outcome = Outcome { hands: Hands::Few(4), silence: COUNTED };
    let row = Row { addresses: 4, ..Row::new("upgrade to another format of Leases, and rollback", outcome) };
    gateherald_lab::run(async |lab| {
        suffer(lab, &row, async |stage| {
            let gate = Gate::open_speaking(lab.control_plane(), 1, 2).await?;
            for upgrade in [true, false] {
                for (node, announcer) in stage.site.nodes.iter().zip(&stage.site.announcers) {
                    let mut args = announcer.process().spec().args.clone();
                    if upgrade {
                        let flag = args.iter().position(|arg| arg == "--kubeconfig").context("a flag")?;
                        let other = node.kubeconfig_through(&gate.url())?;
                        args[flag + 1] = other.to_string_lossy().into_owned();
                    }
                    anyhow::ensure!(announcer.process().terminate().await?.success());
                    announcer.process().restart_with(args).await?;
                    announcer.wait_ready().await?;
                    stage.steady().await?;
                }
                let format = "-o=jsonpath={.metadata.annotations.gateherald\\.io/format}";
                let claim = format!("gateherald-vip-{}", stage.vip());
                let written = lab.kubectl(&["get", "lease", &claim, "-n", NAMESPACE, format]).await?;
                anyhow::ensure!(
                    written == if upgrade { "2" } else { "1" },
                    "the claim is of format {written}"
                );
            }
            Ok(())
        })
        .await
    })
}
