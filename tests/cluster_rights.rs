// SPDX-License-Identifier: Apache-2.0
//! What the programs may do, seen on the running processes and in the API server's audit log.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, ensure};
use gateherald_lab::chart::{self, NAMESPACE};
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_tests::clusters::{Helm, LABEL, SERVICE, Story, tell, tell_from_the_start};
use gateherald_tests::gateways::{Shop, owned_by};
use serde_json::{Value, json};

/// A line of /proc/PID/status.
fn status(process: u32, field: &str) -> anyhow::Result<String> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("no {field} of process {process}"))?.trim().to_owned())
}

/// Whether the root file system of a process can only be read.
fn has_a_read_only_root(process: u32) -> anyhow::Result<bool> {
    let mounts = fs::read_to_string(format!("/proc/{process}/mountinfo"))?;
    let root = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/")).context("no root")?;
    Ok(root.split(' ').nth(5).is_some_and(|options| options.split(',').any(|option| option == "ro")))
}

fn processes(story: &Story<'_>, program: &str) -> anyhow::Result<Vec<u32>> {
    let machines = story.cluster.machines().iter().map(|machine| machine.processes(program));
    Ok(machines.collect::<anyhow::Result<Vec<_>>>()?.concat())
}

#[test]
fn the_programs_run_with_the_least_rights() -> anyhow::Result<()> {
    tell(async |story| {
        // CAP_NET_RAW is bit 13.
        for (program, capabilities, user, number) in [
            ("gateherald-announcer", "0000000000002000", "0", 3),
            ("gateherald-webhook", "0000000000000000", "65532", 2),
        ] {
            let running = processes(story, program)?;
            ensure!(running.len() == number, "{program} runs as {running:?}");
            for process in running {
                let seen = |field: &str| status(process, field);
                ensure!(seen("CapEff")? == capabilities, "{program} has CapEff {}", seen("CapEff")?);
                ensure!(seen("CapPrm")? == capabilities, "{program} has CapPrm {}", seen("CapPrm")?);
                ensure!(seen("CapBnd")? == capabilities, "{program} has CapBnd {}", seen("CapBnd")?);
                ensure!(seen("CapAmb")? == "0000000000000000", "{program} has ambient capabilities");
                ensure!(seen("NoNewPrivs")? == "1", "{program} can get new privileges");
                // 2: filtered, as RuntimeDefault does.
                ensure!(seen("Seccomp")? == "2", "{program} has Seccomp {}", seen("Seccomp")?);
                ensure!(seen("Uid")?.starts_with(user), "{program} is user {}", seen("Uid")?);
                ensure!(has_a_read_only_root(process)?, "{program} can write to its root");
            }
        }
        Ok(())
    })
}

/// One thing that can be done: `verb group/resource`, with the name if the right is for one object alone.
type Deed = String;

/// What the roles of an account allow, as single deeds.
async fn allowed(story: &Story<'_>, account: &str) -> anyhow::Result<BTreeSet<Deed>> {
    let ours = |binding: &&Value| {
        let subjects = binding["subjects"].as_array().cloned().unwrap_or_default();
        subjects.iter().any(|subject| subject["name"] == account && subject["namespace"] == NAMESPACE)
    };
    let bindings = story.get(&["clusterrolebindings,rolebindings", "-A"]).await?;
    let mut deeds = BTreeSet::new();
    for binding in bindings["items"].as_array().context("bindings")?.iter().filter(ours) {
        let role = binding["roleRef"]["name"].as_str().context("a role")?;
        let kind = binding["roleRef"]["kind"].as_str().context("a kind")?;
        let namespace = binding["metadata"]["namespace"].as_str().unwrap_or(NAMESPACE);
        let place = binding["metadata"]["namespace"].as_str().unwrap_or("*");
        let role = story.get(&[kind, role, "-n", namespace]).await?;
        for rule in role["rules"].as_array().into_iter().flatten() {
            deeds.extend(deeds_of(rule, place));
        }
    }
    Ok(deeds)
}

fn deeds_of(rule: &Value, place: &str) -> Vec<Deed> {
    let list = |field: &str| -> Vec<String> {
        let values = rule[field].as_array().into_iter().flatten();
        values.filter_map(|value| value.as_str().map(str::to_owned)).collect()
    };
    let mut deeds = Vec::new();
    for group in list("apiGroups") {
        for resource in list("resources") {
            for verb in list("verbs") {
                let names = list("resourceNames");
                let names = if names.is_empty() { vec!["*".to_owned()] } else { names };
                deeds.extend(names.iter().map(|name| format!("{verb} {group}/{resource} {place} {name}")));
            }
        }
    }
    deeds
}

/// What an account did since the audit log had `start` bytes, and what it was refused.
fn done(story: &Story<'_>, account: &str, start: usize) -> anyhow::Result<(BTreeSet<Deed>, Vec<Value>)> {
    let user = format!("system:serviceaccount:{NAMESPACE}:{account}");
    let log = fs::read_to_string(story.lab.control_plane().audit_log())?;
    let records = log.get(start..).unwrap_or_default().lines().filter(|line| line.contains(&user));
    let records = records.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let (mut deeds, mut refused) = (BTreeSet::new(), Vec::new());
    for record in records.filter(|record| record["user"]["username"] == user.as_str()) {
        let object = &record["objectRef"];
        if object.is_null() {
            // Discovery and versions are everybody's.
            continue;
        }
        if record["responseStatus"]["code"] == 403 {
            refused.push(record);
            continue;
        }
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let subresource = object["subresource"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
        let deed = format!(
            "{} {}/{}{subresource}",
            record["verb"].as_str().unwrap_or_default(),
            text("apiGroup"),
            text("resource")
        );
        // As each of the rules that could have allowed it.
        for place in ["*", text("namespace")] {
            for name in ["*", text("name")] {
                deeds.insert(format!("{deed} {place} {name}"));
            }
        }
    }
    Ok((deeds, refused))
}

/// Does what the programs do seldom: every right has an occasion.
async fn provoke(story: &Story<'_>) -> anyhow::Result<()> {
    let address = story.reach().await?;
    let kubectl = async |args: &[&str]| story.lab.kubectl(args).await.map(drop);
    // A policy of our own kind gets a status.
    let policy = json!({ "apiVersion": "gateherald.io/v1alpha1", "kind": "L2AnnouncementPolicy",
        "metadata": { "name": "ours" }, "spec": { "loadBalancerIPs": true, "interfaces": ["^none$"] } });
    story.lab.apply(&policy.to_string()).await?;
    // Endpoints are looked at while somebody asks where they are.
    let traffic = |policy: &str| json!({ "spec": { "externalTrafficPolicy": policy } }).to_string();
    kubectl(&["patch", "service", "-n", &story.namespace, SERVICE, "-p", &traffic("Local")]).await?;
    // Labels that no controller carries over: the reconciler patches, and tells of it; what is told again in a series.
    let shop = Shop { lab: story.lab, namespace: story.namespace.clone() };
    let gateway = shop.gateway("by-hand", &json!({ "labels": { "a": "1" } })).await?;
    shop.create("by-hand", &owned_by(&gateway)?).await?;
    for value in ["2", "3", "2", "3"] {
        shop.relabel("by-hand", &json!({ "a": value })).await?;
        shop.until_labels("by-hand", &json!({ "a": value })).await?;
    }
    // An address that is given up and taken again by the same node: what is told then was told before.
    let announce = async |value: &str| {
        kubectl(&["annotate", "service", "-n", &story.namespace, SERVICE, value, "--overwrite"]).await
    };
    announce("gateherald.io/announce=false").await?;
    until("nobody has the address", LONG, async || {
        let holder =
            ["get", "lease", "-n", NAMESPACE, "-o=jsonpath={.spec.holderIdentity}", "--ignore-not-found"];
        let name = format!("gateherald-vip-{address}");
        let left = story.lab.kubectl(&[&holder[..], &[name.as_str()]].concat()).await?;
        Ok(if left.is_empty() { Look::Found(()) } else { Look::NotYet(left) })
    })
    .await?;
    kubectl(&["patch", "service", "-n", &story.namespace, SERVICE, "-p", &traffic("Cluster")]).await?;
    announce("gateherald.io/announce-").await?;
    story.reach().await?;
    // A label that a controller writes for: it comes with the review.
    kubectl(&["label", "gateway", "-n", &story.namespace, "cd-arp-gw", "later=yes"]).await?;
    until("the label follows", LONG, async || {
        let labels = story.service().await?.0.metadata.labels.unwrap_or_default();
        Ok(if labels.contains_key("later") { Look::Found(()) } else { Look::NotYet(format!("{labels:?}")) })
    })
    .await?;
    // A CA that is gone is written again, by an update or by a create.
    kubectl(&["annotate", "secret", "-n", NAMESPACE, "gateherald-webhook-ca", "touched=yes", "--overwrite"])
        .await?;
    kubectl(&[
        "patch",
        "secret",
        "-n",
        NAMESPACE,
        "gateherald-webhook-ca",
        "--type=merge",
        "-p",
        r#"{"data":null}"#,
    ])
    .await?;
    // A registration without its bundle is completed.
    kubectl(&[
        "patch",
        "mutatingwebhookconfiguration",
        "gateherald-webhook",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]"#,
    ])
    .await?;
    // An address that nobody wants any more: its claim is deleted.
    kubectl(&["label", "gateway", "-n", &story.namespace, "cd-arp-gw", &format!("{}-", LABEL.0)]).await?;
    kubectl(&["delete", "service", "-n", &story.namespace, SERVICE]).await?;
    until("the claim goes", 2 * LONG, async || {
        let claim = [
            "get",
            "lease",
            "-n",
            NAMESPACE,
            &format!("gateherald-vip-{address}"),
            "-o",
            "name",
            "--ignore-not-found",
        ];
        let left = story.lab.kubectl(&claim).await?;
        Ok(if left.trim().is_empty() { Look::Found(()) } else { Look::NotYet(left) })
    })
    .await
}

#[test]
fn every_call_of_the_programs_is_allowed_and_every_right_is_used() -> anyhow::Result<()> {
    tell_from_the_start(async |story| {
        story.uninstall(Helm::Four).await?;
        for component in ["webhook", "announcer"] {
            let selector = format!("--selector=app.kubernetes.io/component={component}");
            story
                .lab
                .kubectl(&["wait", "--for=delete", "pods", "-n", NAMESPACE, &selector, "--timeout=60s"])
                .await?;
        }
        let start = usize::try_from(story.lab.control_plane().audit_log().metadata()?.len())?;
        // As most people have it: the announcers look out for Cilium.
        story.deploy(Helm::Four, &chart::directory(), &[]).await?;
        provoke(story).await?;
        for account in ["gateherald-webhook", "gateherald-announcer"] {
            let allowed = allowed(story, account).await?;
            ensure!(!allowed.is_empty(), "{account} has no rights at all");
            let unused = until(&format!("{account} uses every right"), LONG, async || {
                let (done, _) = done(story, account, start)?;
                let unused: Vec<&Deed> = allowed.difference(&done).collect();
                Ok(if unused.is_empty() { Look::Found(()) } else { Look::NotYet(format!("{unused:#?}")) })
            })
            .await;
            let (_, refused) = done(story, account, start)?;
            let refusals: BTreeMap<String, usize> =
                refused.iter().fold(BTreeMap::new(), |mut counts, record| {
                    *counts.entry(format!("{} {}", record["verb"], record["objectRef"])).or_default() += 1;
                    counts
                });
            ensure!(refusals.is_empty(), "{account} was refused {refusals:#?}");
            unused?;
        }
        Ok(())
    })
}
