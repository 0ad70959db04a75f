// SPDX-License-Identifier: Apache-2.0
//! Installing, testing and removing the chart with both versions of Helm, and what stays.

use std::time::Duration;

use anyhow::ensure;
use gateherald_lab::chart::{self, NAMESPACE, RELEASE};
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_tests::clusters::{Helm, QUICK, Story, differences, tell_from_the_start};

/// Kinds outside namespaces that a chart may have.
const WIDE: &str = "clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations,\
                    priorityclasses,flowschemas,ghl2,customresourcedefinitions,namespaces";

/// `helm test`.
const TEST: [&str; 6] = ["test", RELEASE, "--namespace", NAMESPACE, "--timeout", "3m"];

/// What stays.
const DEFINITION: &str = "customresourcedefinition.apiextensions.k8s.io/l2announcementpolicies.gateherald.io";

/// Every object that an installation could leave behind; not Events, which tell of the past.
async fn objects(story: &Story<'_>) -> anyhow::Result<Vec<String>> {
    let kinds = story.lab.kubectl(&["api-resources", "--namespaced", "--verbs=list", "-o", "name"]).await?;
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
    let mut found = Vec::new();
    for place in [NAMESPACE, "kube-system", "default"] {
        let list = ["get", &kinds.join(","), "-n", place, "-o", "name", "--ignore-not-found"];
        found.extend(story.lab.kubectl(&list).await?.lines().map(|line| format!("{place}: {line}")));
    }
    let wide = ["get", WIDE, "-o", "name", "--ignore-not-found"];
    found.extend(story.lab.kubectl(&wide).await?.lines().map(str::to_owned));
    Ok(found)
}

/// Creates Services (as dry runs) while something else is done; none of them may be refused.
async fn while_services_are_written<T>(
    story: &Story<'_>,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let (outcome, written, _) = story.labels_during(work).await?;
    ensure!(written > 0, "nothing was written");
    Ok(outcome)
}

#[test]
fn either_helm_installs_what_works_and_removes_all_of_it_but_the_definition() -> anyhow::Result<()> {
    tell_from_the_start(async |story| {
        story.uninstall(Helm::Four).await?;
        // The definition stays by intent, and so does the namespace that Helm made.
        story.deploy(Helm::Four, &chart::directory(), &QUICK).await?;
        story.uninstall(Helm::Four).await?;
        let before = settled(story, &[]).await?;
        ensure!(before.iter().any(|object| object == DEFINITION), "the definition is gone: {before:?}");
        for helm in [Helm::Four, Helm::Three] {
            story.deploy(helm, &chart::directory(), &["selfTest.timeoutSeconds=20"]).await?;
            let address = story.reach().await?;
            without_webhook(story, helm).await?;
            // Helm does not count the objects of a test to the release: what stays now stays for good.
            test(story, helm).await?;
            while_services_are_written(story, story.uninstall(helm)).await?;
            let _ = settled(story, &before).await?;
            // Nobody answers any more, and the controller's Service is as it was.
            let silent = story.cluster.lan().client().ask(address, Duration::from_secs(1)).await;
            ensure!(silent.is_err(), "{address} is answered for by {silent:?} after the uninstallation");
            story.lab.kubectl(&["delete", "gateway,service", "-n", &story.namespace, "--all"]).await?;
        }
        // Once more, over what the other version of Helm left.
        story.deploy(Helm::Four, &chart::directory(), &QUICK).await?;
        story.reach().await.map(drop)
    })
}

/// Runs `helm test`. Helm 3 removes the pod before it looks for the logs, so only Helm 4 is asked for them.
async fn test(story: &Story<'_>, helm: Helm) -> anyhow::Result<()> {
    let logs: &[&str] = if helm == Helm::Four { &["--logs"] } else { &[] };
    let told = story.helm(helm, &[&TEST[..], logs].concat()).await?;
    ensure!(told.contains("Succeeded"), "helm test with {helm:?}: {told}");
    ensure!(logs.is_empty() || told.contains("POD LOGS: gateherald-self-test"), "no logs: {told}");
    Ok(())
}

/// Runs `helm test` while no replica of the webhook runs: it fails, and its pod stays and says why. The next one removes it.
async fn without_webhook(story: &Story<'_>, helm: Helm) -> anyhow::Result<()> {
    let replicas = async |number: &str| {
        let number = format!("--replicas={number}");
        story.lab.kubectl(&["scale", "deployment/gateherald-webhook", "-n", NAMESPACE, &number]).await?;
        let done = ["rollout", "status", "deployment/gateherald-webhook", "-n", NAMESPACE, "--timeout=2m"];
        story.lab.kubectl(&done).await
    };
    replicas("0").await?;
    // One that is told to stop still serves for a moment.
    let gone = ["wait", "pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=webhook", "--for=delete"];
    story.lab.kubectl(&[&gone[..], &["--timeout=2m"]].concat()).await?;
    let told = story.helm(helm, &TEST).await;
    ensure!(told.is_err(), "helm test with {helm:?} and without webhook: {told:?}");
    let log = story.lab.kubectl(&["logs", "-n", NAMESPACE, "gateherald-self-test"]).await?;
    ensure!(log.contains("did not call the webhook"), "with {helm:?}: {log}");
    replicas("2").await.map(drop)
}

/// Waits until the objects are those of `before` (any, when that is empty), which the garbage collector takes a moment for.
async fn settled(story: &Story<'_>, before: &[String]) -> anyhow::Result<Vec<String>> {
    until("the uninstallation leaves nothing", 2 * LONG, async || {
        let now = objects(story).await?;
        let expected = if before.is_empty() { now.clone() } else { before.to_vec() };
        let name = |object: &str| object.rsplit(' ').next().unwrap_or_default().to_owned();
        let stays = [DEFINITION.to_owned(), format!("namespace/{NAMESPACE}")];
        let ours = |object: &&String| name(object).contains(RELEASE) && !stays.contains(&name(object));
        let differences = differences(&expected, &now);
        let mut left = now.iter().filter(ours).peekable();
        Ok(if differences.is_empty() && left.peek().is_none() {
            Look::Found(now)
        } else {
            Look::NotYet(format!("{differences:?} {:?}", left.collect::<Vec<_>>()))
        })
    })
    .await
}
