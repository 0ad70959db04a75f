// SPDX-License-Identifier: Apache-2.0
//! What happens to labels and addresses while the installation changes, or the cluster below it.

use std::path::Path;

use anyhow::{Context, ensure};
use gateherald_lab::chart::{self, NAMESPACE, RELEASE};
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_tests::clusters::{Helm, LABEL, QUICK, Story, tell, tell_from_the_start};
use kube::ResourceExt;
use serde_json::{Value, json};

/// The chart as it was when it first had workloads.
const OLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/chart-0.1.0-first.tgz");

async fn rolled_out(story: &Story<'_>, workload: &str) -> anyhow::Result<()> {
    let args = ["rollout", "status", workload, "-n", NAMESPACE, "--timeout=180s"];
    story.lab.kubectl(&args).await.map(drop)
}

/// Does something to the installation, and sees that no label is lost and nobody else answers meanwhile; how often the
/// address changed hands.
async fn unharmed(
    story: &Story<'_>,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<usize> {
    let address = story.reach().await?;
    let watch = story.watch(address).await?;
    let ((), written, bare) = story.labels_during(work).await?;
    ensure!(written > 0 && bare == 0, "{bare} of {written} Services lacked the label");
    let (service, after) = story.service().await?;
    ensure!(after == address, "the address became {after}");
    ensure!(service.labels().contains_key(LABEL.0), "the Service lost its label: {:?}", service.labels());
    watch.end().await
}

#[test]
fn an_upgrade_from_an_older_chart_with_other_values_loses_no_label_and_makes_no_second_owner()
-> anyhow::Result<()> {
    tell_from_the_start(async |story| {
        story.uninstall(Helm::Four).await?;
        story.deploy(Helm::Four, Path::new(OLDER), &QUICK).await?;
        story.reach().await?;
        let rules = "webhook.labelRules.labels.exclude={internal.example.com/*}";
        let changed = [rules, "webhook.logLevel=debug", "webhook.drainSeconds=8", "announcer.rebalance=slow"];
        let values = [&changed[..], &QUICK].concat();
        let moves = unharmed(story, async {
            story.deploy(Helm::Four, &chart::directory(), &values).await?;
            rolled_out(story, "daemonset/gateherald-announcer").await
        })
        .await?;
        ensure!(moves >= 1, "the holder's pod was replaced, and nobody took its address over");
        let args = story.pods("announcer").await?.into_iter().map(|pod| serde_json::to_value(&pod.spec));
        for spec in args.collect::<Result<Vec<Value>, _>>()? {
            let args = spec["containers"][0]["args"].as_array().cloned().unwrap_or_default();
            ensure!(args.contains(&json!("--rebalance=slow")), "not upgraded: {args:?}");
        }
        Ok(())
    })
}

#[test]
fn a_rolling_restart_loses_no_label_and_makes_no_second_owner() -> anyhow::Result<()> {
    tell(async |story| {
        let moves = unharmed(story, async {
            for workload in ["daemonset/gateherald-announcer", "deployment/gateherald-webhook"] {
                story.lab.kubectl(&["rollout", "restart", workload, "-n", NAMESPACE]).await?;
                rolled_out(story, workload).await?;
            }
            Ok(())
        })
        .await?;
        ensure!(moves >= 1, "the holder's pod was replaced, and nobody took its address over");
        Ok(())
    })
}

#[test]
fn a_drained_node_goes_on_answering_while_the_webhook_moves_elsewhere() -> anyhow::Result<()> {
    tell(async |story| {
        let address = story.reach().await?;
        let holder = story.answered(address).await?.name().to_owned();
        let moves = unharmed(story, async {
            let drain = ["drain", &holder, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s"];
            story.lab.kubectl(&drain).await?;
            rolled_out(story, "deployment/gateherald-webhook").await
        })
        .await?;
        ensure!(moves == 0, "a cordoned node keeps its addresses, and this one moved {moves} times");
        for pod in story.pods("webhook").await? {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
            ensure!(node != holder, "{} is on the drained node", pod.name_any());
        }
        story.lab.kubectl(&["uncordon", &holder]).await.map(drop)
    })
}

#[test]
fn the_address_of_a_node_that_loses_power_is_answered_for_by_another() -> anyhow::Result<()> {
    tell(async |story| {
        let address = story.reach().await?;
        let holder = story.answered(address).await?;
        let watch = story.watch(address).await?;
        holder.power_off().await?;
        let heir = until("another node answers", LONG, async || {
            let now = story.answered(address).await?;
            Ok(if now.name() == holder.name() {
                Look::NotYet("the dead one".to_owned())
            } else {
                Look::Found(now)
            })
        })
        .await?;
        holder.power_on().await?;
        story.cluster.ready().await?;
        rolled_out(story, "daemonset/gateherald-announcer").await?;
        rolled_out(story, "deployment/gateherald-webhook").await?;
        let moves = watch.end().await?;
        ensure!(moves == 1, "{} took it over, and it moved {moves} times", heir.name());
        Ok(())
    })
}

#[test]
fn services_are_written_while_every_replica_of_the_webhook_is_gone() -> anyhow::Result<()> {
    tell(async |story| {
        story.reach().await?;
        // All at once, which no disruption budget allows to an eviction.
        let evict =
            ["delete", "pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=webhook", "--wait=false"];
        let ((), written, _) = story
            .labels_during(async {
                story.lab.kubectl(&[&evict[..], &["--grace-period=0", "--force"]].concat()).await?;
                rolled_out(story, "deployment/gateherald-webhook").await
            })
            .await?;
        ensure!(written > 0, "nothing was written meanwhile");
        story.labelling().await
    })
}

#[test]
fn an_eviction_leaves_one_replica_of_the_webhook_at_work() -> anyhow::Result<()> {
    tell(async |story| {
        story.reach().await?;
        let pods = story.pods("webhook").await?;
        let evict = async |name: &str| {
            let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name, "namespace": NAMESPACE } });
            let file = story.lab.control_plane().state().path().join("eviction.json");
            std::fs::write(&file, eviction.to_string())?;
            let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction");
            story.lab.kubectl(&["create", "--raw", &path, "-f", &file.to_string_lossy()]).await
        };
        let [first, second] = pods.as_slice() else { anyhow::bail!("{} replicas", pods.len()) };
        let ((), written, bare) = story
            .labels_during(async {
                evict(&first.name_any()).await?;
                let refusal =
                    evict(&second.name_any()).await.err().context("the second one may go too")?.to_string();
                ensure!(refusal.contains("disruption budget"), "{refusal}");
                rolled_out(story, "deployment/gateherald-webhook").await
            })
            .await?;
        ensure!(written > 0 && bare == 0, "{bare} of {written} Services lacked the label");
        Ok(())
    })
}

#[test]
fn a_missing_image_is_told_by_the_pod_while_the_old_replicas_work_on() -> anyhow::Result<()> {
    tell(async |story| {
        story.reach().await?;
        let chart = chart::directory();
        let chart = chart.to_string_lossy();
        let missing = "image.webhook.tag=no-such-version";
        let upgrade =
            ["upgrade", RELEASE, &chart, "--namespace", NAMESPACE, "--reuse-values", "--set", missing];
        story.helm(Helm::Four, &upgrade).await?;
        let ((), written, bare) = story
            .labels_during(async {
                until("a pod tells of its image", LONG, async || {
                    let pods = serde_json::to_value(story.pods("webhook").await?)?;
                    let pods = pods.as_array().cloned().unwrap_or_default();
                    let waiting =
                        |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"].clone();
                    let told = pods.iter().map(waiting).find(|state| {
                        let reason = state["reason"].as_str().unwrap_or_default();
                        ["ErrImagePull", "ImagePullBackOff"].contains(&reason)
                    });
                    Ok(match told {
                        Some(state)
                            if state["message"].as_str().unwrap_or_default().contains("no-such-version") =>
                        {
                            Look::Found(())
                        }
                        other => Look::NotYet(format!("{other:?} in {} pods", pods.len())),
                    })
                })
                .await
            })
            .await?;
        ensure!(written > 0 && bare == 0, "{bare} of {written} Services lacked the label");
        story.deploy(Helm::Four, &chart::directory(), &QUICK).await
    })
}
