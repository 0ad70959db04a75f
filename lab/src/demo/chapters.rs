// SPDX-License-Identifier: Apache-2.0
//! The story, part by part. Each claim is checked on the running system.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use super::narrator::Narrator;
use super::stage::{GATEWAY, LABEL, POLICY, SERVICE, Stage, is_in_the_right_pool};
use crate::chart::NAMESPACE;
use crate::cluster::Machine;
use crate::frame::{Mac, Tenure, tenures};
use crate::patience::{self, LONG, Look};
use crate::sniffer::Sniffer;

/// How often the client asks while a gap is measured.
const ASKING: Duration = Duration::from_millis(5);
/// Answers that make a tenure worth the name.
const STEADY: usize = 40;

/// Who is there.
pub(super) async fn setting(stage: &Stage<'_>, narrator: &mut Narrator) -> anyhow::Result<()> {
    narrator.chapter("The setting")?;
    narrator.say(
        "Three nodes share a LAN, 192.168.99.0/24, and a client is on it too. The chart is installed without its \
         webhook: an announcer runs in a pod on each node. A stand-in for Cilium's Gateway controller generates Services, and a \
         stand-in for its LB-IPAM gives them addresses: from mdhlabs-pool (192.168.99.128/25) if they carry the label \
         mdhlabs-arp=enable when they are created, else from a default pool.",
    )?;
    show(stage, narrator, "get nodes").await?;
    show(stage, narrator, &format!("get pods -n {NAMESPACE}")).await?;
    narrator
        .say("Somebody has written this policy: announce what carries the label, from workers, on ens18.")?;
    narrator.command("cat mdhlabs-layer2-policy.yaml", POLICY)
}

/// The problem: the controller does not copy the label.
pub(super) async fn without_the_webhook(stage: &Stage<'_>, narrator: &mut Narrator) -> anyhow::Result<()> {
    narrator.chapter("Without the webhook: a silent address")?;
    narrator.say("The label is on the Gateway, where a person would put it.")?;
    let file = stage.lab.control_plane().state().path().join("gateway.yaml");
    std::fs::write(&file, GATEWAY)?;
    let output = stage.lab.kubectl(&["apply", "-f", &file.to_string_lossy()]).await?;
    narrator.command("kubectl apply -f gateway.yaml", &output)?;
    let (service, vip) = stage.service(None).await?;
    show(stage, narrator, "get gateway -n prod cd-arp-gw -L mdhlabs-arp").await?;
    show(stage, narrator, "get service -n prod cilium-gateway-cd-arp-gw -L mdhlabs-arp").await?;
    narrator
        .check(!service.labels().contains_key(LABEL.0), "the generated Service lacks the Gateway's label")?;
    narrator
        .check(!is_in_the_right_pool(vip), &format!("so its address, {vip}, comes from the default pool"))?;
    let silent = !arping(stage, narrator, vip).await?;
    narrator.check(silent, &format!("and nobody answers for {vip}"))?;

    narrator.say("Until somebody adds the label by hand…")?;
    let label = format!("{}={}", LABEL.0, LABEL.1);
    let command = ["label", "service", "-n", "prod", SERVICE, &label];
    narrator.command(&format!("kubectl {}", command.join(" ")), &stage.lab.kubectl(&command).await?)?;
    let holder = stage.cluster.holder(vip).await?;
    let answer = stage.cluster.lan().client().ask(vip, LONG).await?;
    narrator.check(
        answer.sender_mac == holder.mac() && !is_in_the_right_pool(vip),
        &format!("by hand it works: {} answers, though for an address of the wrong pool", holder.name()),
    )?;

    narrator.say("…and only until the Service is created again.")?;
    let (created, vip) = recreate(stage, narrator, &service).await?;
    narrator.check(!created.labels().contains_key(LABEL.0), "the new Service lacks the label again")?;
    let silent = !arping(stage, narrator, vip).await?;
    narrator.check(silent, &format!("and {vip} is silent again"))
}

/// The webhook labels the Service in its CREATE, and everything behind it falls into place.
pub(super) async fn with_the_webhook(stage: &Stage<'_>, narrator: &mut Narrator) -> anyhow::Result<()> {
    narrator.chapter("With the webhook: labelled at birth")?;
    stage.install(narrator, "webhook.enabled=true").await?;
    show(stage, narrator, &format!("get pods -n {NAMESPACE}")).await?;
    narrator.step("two replicas serve with a CA that they made and registered themselves")?;
    let (old, _) = stage.service(None).await?;
    let (created, vip) = recreate(stage, narrator, &old).await?;
    right_at_birth(narrator, &created, vip)?;
    show(stage, narrator, "get service -n prod cilium-gateway-cd-arp-gw -L mdhlabs-arp").await?;
    let record = audit(stage).await;
    narrator.check(record.is_ok(), "the webhook's audit log says what it did")?;
    if let Ok(record) = record {
        narrator.command(&format!("kubectl {} | grep '\"target\":\"audit\"'", LOGS.join(" ")), &record)?;
    }
    let holder = stage.cluster.holder(vip).await?;
    show(stage, narrator, &format!("get leases -n {NAMESPACE}")).await?;
    answered_by(stage, narrator, vip, holder).await
}

/// What both replicas wrote.
const LOGS: [&str; 6] = ["logs", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=webhook", "--tail=-1"];

/// The audit line about the label of the story.
async fn audit(stage: &Stage<'_>) -> anyhow::Result<String> {
    patience::until("an audit line", LONG, async || {
        let log = stage.lab.kubectl(&LOGS).await?;
        let ours = |line: &&str| line.contains(r#""target":"audit""#) && line.contains(LABEL.0);
        Ok(log
            .lines()
            .find(ours)
            .map_or(Look::NotYet("none".to_owned()), |line| Look::Found(line.to_owned())))
    })
    .await
}

/// The holder goes, another node answers.
pub(super) async fn the_holder_stops(stage: &Stage<'_>, narrator: &mut Narrator) -> anyhow::Result<()> {
    narrator.chapter("The holder stops")?;
    let (_, vip) = stage.service(None).await?;
    let holder = stage.cluster.holder(vip).await?;
    narrator.say(&format!(
        "The client asks every {} ms who has {vip}, a capture on the LAN takes the times, and the announcer's pod on {} is \
         deleted, as a rolling update would.",
        ASKING.as_millis(),
        holder.name(),
    ))?;
    let wire = stage.cluster.lan().sniff()?;
    let asking = stage.cluster.lan().client().ask_every(ASKING, &[vip]);
    steady(&wire, vip, |mac| mac == holder.mac()).await?;
    let pod = announcer(stage, holder).await?;
    show(stage, narrator, &format!("delete pod -n {NAMESPACE} {pod} --wait=false")).await?;
    steady(&wire, vip, |mac| mac != holder.mac()).await?;
    drop(asking);
    let (old, new) = handover(&wire, vip)?;
    let machines = stage.cluster.machines();
    let heir =
        machines.iter().find(|machine| machine.mac() == new.mac).context("an unknown host answered")?;
    let gap = new.first.checked_sub(old.last);
    show(stage, narrator, &format!("get leases -n {NAMESPACE}")).await?;
    narrator.check(
        heir.name() != holder.name() && stage.cluster.holder(vip).await?.name() == heir.name(),
        &format!("{} took over from {} and holds the lease", heir.name(), holder.name()),
    )?;
    let gap = gap.map(|gap| format!("{:.1} ms", gap.as_secs_f64() * 1000.0));
    narrator.check(
        gap.is_some(),
        &match gap {
            Some(gap) => {
                format!("{gap} passed between the last answer of the one and the first of the other")
            }
            None => "one stopped before the other began".to_owned(),
        },
    )?;
    answered_by(stage, narrator, vip, heir).await
}

/// The announcer's pod on a node.
async fn announcer(stage: &Stage<'_>, machine: &Machine) -> anyhow::Result<String> {
    let node = format!("--field-selector=spec.nodeName={}", machine.name());
    let selector = "app.kubernetes.io/component=announcer";
    let pod =
        ["get", "pods", "-n", NAMESPACE, "-l", selector, &node, "-o=jsonpath={.items[0].metadata.name}"];
    stage.lab.kubectl(&pod).await
}

/// The Service is deleted, and what comes back is right by itself.
pub(super) async fn created_again(stage: &Stage<'_>, narrator: &mut Narrator) -> anyhow::Result<()> {
    narrator.chapter("Created again")?;
    let (old, _) = stage.service(None).await?;
    let (created, vip) = recreate(stage, narrator, &old).await?;
    right_at_birth(narrator, &created, vip)?;
    let holder = stage.cluster.holder(vip).await?;
    answered_by(stage, narrator, vip, holder).await
}

/// Deletes the generated Service and shows how; the result is the next one, as its CREATE left it, and its address.
async fn recreate(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    old: &Service,
) -> anyhow::Result<(Service, Ipv4Addr)> {
    let command = ["delete", "service", "-n", "prod", SERVICE];
    let recreated = stage.recreate(old, &command).await?;
    narrator.command(&format!("kubectl {}", command.join(" ")), &recreated.output)?;
    Ok((recreated.created, recreated.vip))
}

fn right_at_birth(narrator: &mut Narrator, created: &Service, vip: Ipv4Addr) -> anyhow::Result<()> {
    let labelled = created.labels().get(LABEL.0).is_some_and(|value| value == LABEL.1);
    narrator.check(labelled, "the Service carries the Gateway's label in its very CREATE")?;
    narrator.check(is_in_the_right_pool(vip), &format!("its address, {vip}, comes from mdhlabs-pool"))
}

/// Asks until somebody answers, then shows arping's view of it.
async fn answered_by(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    vip: Ipv4Addr,
    machine: &Machine,
) -> anyhow::Result<()> {
    let answer = stage.cluster.lan().client().ask(vip, LONG).await?;
    let answered = arping(stage, narrator, vip).await?;
    narrator.check(
        answered && answer.sender_mac == machine.mac(),
        &format!("{} ({}) answers for {vip}", machine.name(), machine.mac()),
    )
}

/// Runs and shows arping; whether somebody answered.
async fn arping(stage: &Stage<'_>, narrator: &mut Narrator, vip: Ipv4Addr) -> anyhow::Result<bool> {
    let output = stage.arping(vip).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    narrator.command(&format!("arping -I eth0 -c 2 -w 3 {vip}   # on the client"), &text)?;
    Ok(output.status.success())
}

/// Runs and shows a kubectl command.
async fn show(stage: &Stage<'_>, narrator: &mut Narrator, command: &str) -> anyhow::Result<()> {
    let args: Vec<&str> = command.split_ascii_whitespace().collect();
    narrator.command(&format!("kubectl {command}"), &stage.lab.kubectl(&args).await?)
}

/// Waits until a host that `whose` accepts has answered for a while.
async fn steady(wire: &Sniffer, vip: Ipv4Addr, whose: impl Fn(Mac) -> bool) -> anyhow::Result<()> {
    let answers = std::cell::Cell::new(0);
    wire.wait_for(LONG, |frame| {
        let counts =
            frame.arp().is_some_and(|arp| arp.answers(vip) && !arp.announces(vip) && whose(arp.source));
        answers.set(answers.get() + usize::from(counts));
        answers.get() >= STEADY
    })
    .await
    .map(drop)
}

/// The last two tenures of an address.
fn handover(wire: &Sniffer, vip: Ipv4Addr) -> anyhow::Result<(Tenure, Tenure)> {
    let tenures = tenures(&wire.frames(), vip);
    let [old, new] = tenures.as_slice() else {
        anyhow::bail!("expected two hosts, one after the other, and saw {tenures:?}");
    };
    Ok((*old, *new))
}
