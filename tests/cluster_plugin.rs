// SPDX-License-Identifier: Apache-2.0
//! `kubectl gateherald` on a cluster with pods: what it reads from logs and through port-forwards, and what it follows.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateherald_lab::chart::NAMESPACE;
use gateherald_lab::lan::LAN_LABEL;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_tests::clusters::{Helm, LABEL, SERVICE, Story, tell};
use gateherald_tests::plugin::{Run, going_on, plugin, plugin_in};
use serde_json::{Value, json};

/// A Service that came with `Gateway` `late`.
const LATE: &str = "cilium-gateway-late";

fn gateway(story: &Story<'_>, name: &str) -> String {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": { "name": name, "namespace": story.namespace, "labels": { LABEL.0: LABEL.1 } },
        "spec": { "gatewayClassName": "cilium", "listeners": [{ "name": "http", "protocol": "HTTP", "port": 80 }] },
    })
    .to_string()
}

/// Runs the plugin until it ends as it should and shows what it should.
async fn shows(
    story: &Story<'_>,
    args: &[&str],
    is_so: impl Fn(&Run) -> anyhow::Result<bool>,
) -> anyhow::Result<Run> {
    until(&format!("what `{}` shows", args.join(" ")), LONG, async || {
        let run = plugin(story.lab, args).await?;
        Ok(if is_so(&run)? { Look::Found(run) } else { Look::NotYet(format!("{run:#?}")) })
    })
    .await
}

/// One of the checks of `check -o json`.
fn check<'r>(report: &'r Value, code: &str) -> anyhow::Result<&'r Value> {
    let checks = report["checks"].as_array().context("no checks")?;
    checks.iter().find(|check| check["code"] == code).with_context(|| format!("no {code}"))
}

#[test]
fn the_audit_trail_of_all_replicas_is_read_filtered_and_followed() -> anyhow::Result<()> {
    tell(async |story| {
        story.reach().await?;
        let key = format!("{}/{SERVICE}", story.namespace);
        let created = |run: &Run| run.out.lines().any(|line| line.contains("CREATE"));
        let table = shows(story, &["audit", "--service", &key], |run| Ok(created(run))).await?;
        let mut lines = table.out.lines();
        ensure!(lines.next().is_some_and(|line| line.starts_with("TIME ") && line.contains("OUTCOME")));
        let line = lines.find(|line| line.contains("CREATE")).unwrap_or_default();
        for part in [&key, "injected", &format!("+{}={}", LABEL.0, LABEL.1), "/cd-arp-gw"] {
            ensure!(line.contains(part), "no {part} in {line}");
        }
        every_replica_was_read(story).await?;
        filtered(story, &key).await?;
        one_without_a_log(story, &key).await?;
        followed(story).await
    })
}

/// Of each pod the API server was asked for its log.
async fn every_replica_was_read(story: &Story<'_>) -> anyhow::Result<()> {
    let log = std::fs::read_to_string(story.lab.control_plane().audit_log())?;
    for pod in story.pods("webhook").await? {
        let path = format!("/pods/{}/log", pod.metadata.name.unwrap_or_default());
        let read = |line: &str| line.contains("kubectl-gateherald/") && line.contains(&path);
        ensure!(log.lines().any(read), "nobody asked for {path}");
    }
    Ok(())
}

async fn filtered(story: &Story<'_>, key: &str) -> anyhow::Result<()> {
    let namespace = story.namespace.as_str();
    let records = async |args: &[&str]| {
        let run = plugin(story.lab, &[&["audit", "-o", "json"], args].concat()).await?;
        ensure!(run.code == 0, "{run:#?}");
        let lines = run.out.lines().map(serde_json::from_str);
        Ok(lines.collect::<Result<Vec<Value>, _>>()?)
    };
    let ours = records(&["-n", namespace]).await?;
    let injected = ours.iter().find(|record| record["operation"] == "CREATE").context("no CREATE")?;
    ensure!(
        injected["target"] == "audit" && injected["service"] == key && injected["outcome"] == "injected",
        "{injected}"
    );
    ensure!(injected["injected"] == json!({ LABEL.0: LABEL.1 }), "{injected}");
    ensure!(ours.iter().all(|record| record["dryRun"] != true), "dry runs, unasked");
    let times: Vec<&str> = ours.iter().filter_map(|record| record["time"].as_str()).collect();
    ensure!(times.is_sorted(), "{times:?}");
    ensure!(story.labels_a_service().await?, "a dry run gets no label");
    until("the dry run is told", LONG, async || {
        let all = records(&["-n", namespace, "--dry-runs"]).await?;
        let told = all.iter().any(|record| record["dryRun"] == true);
        Ok(if told { Look::Found(()) } else { Look::NotYet(format!("{all:?}")) })
    })
    .await?;
    let of = async |outcome: &str| records(&["--service", key, "--outcome", outcome]).await;
    ensure!(of("injected").await?.iter().all(|record| record["outcome"] == "injected"));
    ensure!(!of("injected").await?.is_empty());
    ensure!(of("lookup-failed").await?.is_empty());
    ensure!(!records(&["--gateway", "cd-arp-gw", "-n", namespace]).await?.is_empty());
    ensure!(records(&["--gateway", "another", "-n", namespace]).await?.is_empty());
    ensure!(records(&["-n", "default"]).await?.is_empty());
    ensure!(records(&["-n", namespace, "--tail", "1"]).await? == ours[ours.len() - 1..]);
    let none = plugin(story.lab, &["audit", "-n", "default"]).await?;
    ensure!(none.code == 0 && none.out == "No reviews.\n", "{none:#?}");
    let bad = plugin(story.lab, &["audit", "--outcome", "denied"]).await?;
    ensure!(bad.code == 2 && bad.err.contains("injected, unchanged"), "{bad:#?}");
    Ok(())
}

/// A replica whose image is missing has no log, and hides nobody else's.
async fn one_without_a_log(story: &Story<'_>, key: &str) -> anyhow::Result<()> {
    let pod = json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "stuck", "namespace": NAMESPACE,
                      "labels": { "app.kubernetes.io/name": "gateherald", "app.kubernetes.io/component": "webhook" } },
        "spec": { "terminationGracePeriodSeconds": 0,
                  "containers": [{ "name": "webhook", "image": "gateherald-webhook:missing", "imagePullPolicy": "Never" }] } });
    story.lab.apply(&pod.to_string()).await?;
    let told = |run: &Run| run.err.contains(&format!("Pod {NAMESPACE}/stuck"));
    let run = shows(story, &["audit", "--service", key], |run| Ok(told(run))).await?;
    ensure!(run.code == 0 && run.out.contains("injected"), "{run:#?}");
    story.lab.kubectl(&["delete", "pod", "-n", NAMESPACE, "stuck"]).await.map(drop)
}

/// A line comes as it is written, also after a silence that is longer than a request may take, and by a replica that was
/// not there before.
async fn followed(story: &Story<'_>) -> anyhow::Result<()> {
    let args = ["audit", "--follow", "-n", &story.namespace, "--request-timeout", "1"];
    let follower = going_on(story.lab, &args)?;
    follower.log_line(LONG, |line| line.contains(SERVICE) && line.contains("injected")).await?;
    story.lab.kubectl(&["rollout", "restart", "deployment/gateherald-webhook", "-n", NAMESPACE]).await?;
    let status = ["rollout", "status", "deployment/gateherald-webhook", "-n", NAMESPACE, "--timeout=180s"];
    story.lab.kubectl(&status).await?;
    ensure!(follower.is_running(), "{}", follower.log());
    ensure!(!follower.log().contains(LATE), "{}", follower.log());
    story.lab.apply(&gateway(story, "late")).await?;
    let line = follower.log_line(LONG, |line| line.contains(LATE)).await?;
    ensure!(line.contains("injected") && line.contains(&format!("{}/late", story.namespace)), "{line}");
    let headings = follower.log().lines().filter(|line| line.starts_with("TIME ")).count();
    ensure!(headings == 1, "{headings} headings: {}", follower.log());
    follower.terminate().await.map(drop)
}

#[test]
fn a_node_asks_for_us_and_checks_look_through_port_forwards() -> anyhow::Result<()> {
    tell(async |story| {
        let address = story.reach().await?;
        let vip = address.to_string();
        let holder = story.answered(address).await?;
        let (name, mac) = (holder.name(), holder.mac().to_string());
        for machine in story.cluster.machines() {
            let run =
                plugin(story.lab, &["probe", &vip, "--from", &format!("node/{}", machine.name())]).await?;
            ensure!(run.code == 0, "{run:#?}");
            if machine.name() == name {
                ensure!(run.out.contains(&format!("node {name} itself has it")), "{run:#?}");
                continue;
            }
            ensure!(run.out.contains(&format!("{vip} is at {mac} (node {name}) on ens18, ")), "{run:#?}");
            ensure!(run.out.contains("one host answers") && run.out.lines().count() == 2, "{run:#?}");
        }
        let nobodys = story.cluster.lan().address(250).to_string();
        let run = plugin(story.lab, &["probe", &nobodys, "--from", name]).await?;
        ensure!(run.code == 2 && run.err.contains("no Service"), "{run:#?}");
        let run = plugin(story.lab, &["probe", &vip, "--from", "node/worker-9"]).await?;
        ensure!(run.code == 2 && run.err.contains("node worker-9"), "{run:#?}");
        nothing_is_wrong(story).await?;
        wrong_interfaces(story).await?;
        out_of_the_subnet(story).await?;
        another_bundle(story).await
    })
}

async fn nothing_is_wrong(story: &Story<'_>) -> anyhow::Result<()> {
    let whole = |run: &Run| Ok(run.code == 0 && run.json()?["errors"] == 0);
    let report = shows(story, &["check", "-o", "json"], whole).await?.json()?;
    let checks = report["checks"].as_array().context("no checks")?;
    for check in checks {
        ensure!(check["outcome"] != "skipped", "{check:#}");
    }
    for code in ["GH010", "GH011", "GH012", "GH013", "GH015", "GH040", "GH041", "GH045", "GH046"] {
        ensure!(check(&report, code)?["outcome"] == "passed", "{:#}", check(&report, code)?);
    }
    Ok(())
}

/// The policy of the story, with a change.
async fn policy(story: &Story<'_>, changes: &Value) -> anyhow::Result<()> {
    let patch = json!({ "spec": changes }).to_string();
    let policy = ["ciliuml2announcementpolicy", "mdhlabs-layer2-policy"];
    story.lab.kubectl(&[&["patch"][..], &policy, &["--type=merge", "-p", &patch]].concat()).await.map(drop)
}

/// Only announcers know the names of their nodes' interfaces.
async fn wrong_interfaces(story: &Story<'_>) -> anyhow::Result<()> {
    policy(story, &json!({ "interfaces": ["enp1s0"] })).await?;
    let named = |run: &Run| Ok(run.code == 1 && run.out.contains("GH045") && run.out.contains("there is "));
    let run = shows(story, &["flow", "gateway/cd-arp-gw", "-n", &story.namespace], named).await?;
    ensure!(run.out.contains("ens18") && run.out.contains("spec.interfaces"), "{}", run.out);
    policy(story, &json!({ "interfaces": ["ens18"] })).await?;
    shows(story, &["check", "-o", "short"], |run| Ok(run.code == 0)).await.map(drop)
}

/// An address that neighbours would not ask for.
async fn out_of_the_subnet(story: &Story<'_>) -> anyhow::Result<()> {
    let own = json!({ "apiVersion": "gateherald.io/v1alpha1", "kind": "L2AnnouncementPolicy",
        "metadata": { "name": "elsewhere" },
        "spec": { "serviceSelector": { "matchLabels": { "elsewhere": "yes" } },
                  "nodeSelector": { "matchLabels": { LAN_LABEL: story.cluster.lan().name() } },
                  "interfaces": ["ens18"], "externalIPs": true, "loadBalancerIPs": false,
                  "addresses": ["203.0.113.0/24"] } });
    let service = json!({ "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "elsewhere", "namespace": story.namespace, "labels": { "elsewhere": "yes" } },
        "spec": { "ports": [{ "port": 80 }], "externalIPs": ["203.0.113.7"] } });
    story.lab.apply(&own.to_string()).await?;
    story.lab.apply(&service.to_string()).await?;
    let found = |run: &Run| Ok(check(&run.json()?, "GH046")?["findings"].to_string().contains("203.0.113.7"));
    let run = shows(story, &["check", "-o", "json"], found).await?;
    ensure!(run.code == 0, "a warning is no error: {run:#?}");
    story.lab.kubectl(&["delete", "service", "-n", &story.namespace, "elsewhere"]).await?;
    story.lab.kubectl(&["delete", "ghl2", "elsewhere"]).await.map(drop)
}

/// A bundle of somebody else fails GH012 of every replica, until the webhook has mended it.
async fn another_bundle(story: &Story<'_>) -> anyhow::Result<()> {
    let kubectl = async |args: &[&str]| story.lab.kubectl(args).await;
    // The webhook would put its own back at once: it loses the right to it meanwhile.
    let binding = story.get(&["clusterrolebinding", "gateherald-webhook"]).await?;
    kubectl(&["delete", "clusterrolebinding", "gateherald-webhook"]).await?;
    let stranger = rcgen::generate_simple_self_signed(vec!["stranger".to_owned()])?.cert.pem();
    let patch = json!([{ "op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": STANDARD.encode(stranger) }]);
    let registration = ["mutatingwebhookconfiguration", "gateherald-webhook"];
    kubectl(&[&["patch"][..], &registration, &["--type=json", "-p", &patch.to_string()]].concat()).await?;
    let failed = |run: &Run| Ok(check(&run.json()?, "GH012")?["outcome"] == "failed");
    let run = shows(story, &["check", "-o", "json"], failed).await?;
    let report = run.json()?;
    let findings = check(&report, "GH012")?["findings"].to_string();
    ensure!(run.code == 1, "{run:#?}");
    for pod in story.pods("webhook").await? {
        let pod = format!("Pod {NAMESPACE}/{}", pod.metadata.name.unwrap_or_default());
        ensure!(findings.contains(&pod), "{pod} is not named: {findings}");
    }
    let restored = json!({ "apiVersion": binding["apiVersion"], "kind": binding["kind"],
        "metadata": { "name": "gateherald-webhook", "labels": binding["metadata"]["labels"],
                      "annotations": binding["metadata"]["annotations"] },
        "roleRef": binding["roleRef"], "subjects": binding["subjects"] });
    story.lab.apply(&restored.to_string()).await?;
    let passed = |run: &Run| Ok(check(&run.json()?, "GH012")?["outcome"] == "passed");
    shows(story, &["check", "-o", "json"], passed).await.map(drop)
}

/// What docs/cli.md says of lists.
fn lists() -> Value {
    let rule = |groups: &[&str], resources: &[&str]| json!({ "apiGroups": groups, "resources": resources, "verbs": ["list"] });
    json!([
        rule(&[""], &["services", "nodes", "configmaps", "pods", "events"]),
        rule(&["discovery.k8s.io"], &["endpointslices"]),
        rule(&["gateway.networking.k8s.io"], &["gateways", "gatewayclasses"]),
        rule(&["gateherald.io"], &["l2announcementpolicies"]),
        rule(&["cilium.io"], &["ciliuml2announcementpolicies", "ciliumloadbalancerippools"]),
        rule(&["metallb.io"], &["ipaddresspools"]),
        rule(&["coordination.k8s.io"], &["leases"]),
        rule(&["apps"], &["daemonsets"]),
        rule(&["admissionregistration.k8s.io"], &["mutatingwebhookconfigurations"]),
    ])
}

/// What docs/cli.md says `check`, `audit` and `probe` need more.
fn more() -> Value {
    json!([
        { "apiGroups": [""], "resources": ["services"], "verbs": ["create"] },
        { "apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["get", "create"] },
        { "apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"] },
        { "nonResourceURLs": ["/metrics"], "verbs": ["get"] },
    ])
}

/// A ServiceAccount with these rules everywhere: its kubeconfig.
async fn account(story: &Story<'_>, name: &str, rules: &Value) -> anyhow::Result<PathBuf> {
    let role = format!("{}-{name}", story.namespace);
    story.lab.kubectl(&["create", "serviceaccount", name, "-n", &story.namespace]).await?;
    let made = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": role }, "rules": rules });
    story.lab.apply(&made.to_string()).await?;
    let subject = format!("--serviceaccount={}:{name}", story.namespace);
    let bind = ["create", "clusterrolebinding", &role, &format!("--clusterrole={role}"), &subject];
    story.lab.kubectl(&bind).await?;
    story.lab.control_plane().kubeconfig_of(&story.namespace, name).await
}

#[test]
fn the_documented_rights_suffice_and_each_that_is_missing_is_named() -> anyhow::Result<()> {
    tell(async |story| {
        let vip = story.reach().await?.to_string();
        let netns = story.lab.control_plane().netns();
        let all = [lists().as_array().cloned(), more().as_array().cloned()].into_iter().flatten().flatten();
        let reader = account(story, "reader", &lists()).await?;
        let operator = account(story, "operator", &all.collect()).await?;
        let run = plugin_in(netns, &operator, &["check", "-o", "json", "--wait", "60s"]).await?;
        let report = run.json()?;
        ensure!(run.code == 0 && report["skipped"].as_u64() == Some(0), "{report:#}");
        let run = plugin_in(netns, &reader, &["check", "-o", "json"]).await?;
        let report = run.json()?;
        let create = format!("create services in namespace {} (dry run)", story.namespace);
        let forward = format!("get and create pods/portforward in namespace {NAMESPACE}");
        for (code, right) in [("GH012", forward.as_str()), ("GH015", &create), ("GH016", "get /metrics")] {
            let check = check(&report, code)?;
            let named = check.to_string().contains(&format!("needs the right to {right}"));
            ensure!(check["outcome"] == "skipped" && named, "{check:#}");
        }
        ensure!(run.code == 0 && report["skipped"].as_u64() == Some(3), "{report:#}");
        for (args, right) in [
            (&["audit"][..], "\"pods/log\""),
            (&["audit", "--follow"], "\"pods/log\""),
            (&["probe", &vip, "--from", "worker-1"], "\"pods/portforward\""),
        ] {
            let run = plugin_in(netns, &operator, if args[1..] == ["--follow"] { &["audit"] } else { args })
                .await?;
            ensure!(run.code == 0, "{run:#?}");
            let run = plugin_in(netns, &reader, args).await?;
            ensure!(run.code == 2 && run.out.is_empty() && run.err.matches(right).count() == 1, "{run:#?}");
        }
        let run = plugin_in(netns, &reader, &["flow", &vip]).await?;
        ensure!(run.code == 0 && run.err.is_empty() && !run.out.contains("unknown"), "{run:#?}");
        let run = plugin_in(netns, &reader, &["cleanup", "--dry-run"]).await?;
        ensure!(run.code == 0, "{run:#?}");
        Ok(())
    })
}

#[test]
fn cleanup_shows_what_is_left_and_removes_nothing_else() -> anyhow::Result<()> {
    tell(async |story| {
        story.reach().await?;
        let namespace = story.namespace.as_str();
        let kubectl = async |args: &[&str]| story.lab.kubectl(args).await;
        story.lab.apply(&gateway(story, "late")).await?;
        until("the second Service is labelled", LONG, async || {
            let args = ["get", "service", "-n", namespace, LATE, "-o", "name", "--ignore-not-found"];
            let there = kubectl(&args).await?;
            Ok(if there.contains(LATE) { Look::Found(()) } else { Look::NotYet(there) })
        })
        .await?;
        // One Service has the label without us.
        let own = json!({ "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "own", "namespace": namespace, "labels": { LABEL.0: LABEL.1 } },
            "spec": { "ports": [{ "port": 80 }] } });
        story.lab.apply(&own.to_string()).await?;
        let run = plugin(story.lab, &["cleanup", "--yes"]).await?;
        ensure!(run.code == 2 && run.err.contains("the webhook is registered"), "{run:#?}");
        let run = plugin(story.lab, &["cleanup", "--dry-run"]).await?;
        ensure!(run.code == 0 && !run.out.contains("Lease "), "Leases are in use: {run:#?}");
        let claims = story.get(&["leases", "-n", NAMESPACE, "-l", "gateherald.io/lease"]).await?;
        story.uninstall(Helm::Four).await?;
        // What a user changes when nobody looks any more is the user's.
        kubectl(&["label", "service", "-n", namespace, LATE, "mdhlabs-arp=mine", "--overwrite"]).await?;
        lost_leases(story, &claims).await?;
        cleaned(story).await?;
        story.lab.kubectl(&["delete", "lease", "-n", NAMESPACE, "somebodys"]).await.map(drop)
    })
}

/// Leases without an owner stay after the uninstallation, as after a restore of a backup; and one that is not ours.
async fn lost_leases(story: &Story<'_>, claims: &Value) -> anyhow::Result<()> {
    let claims = claims["items"].as_array().context("no Leases")?;
    ensure!(claims.len() >= 3, "two sessions and a claim at the least: {claims:?}");
    until("the Leases go with their owner", LONG, async || {
        let left = ["get", "leases", "-n", NAMESPACE, "-l", "gateherald.io/lease", "-o", "name"];
        let left = story.lab.kubectl(&left).await?;
        Ok(if left.is_empty() { Look::Found(()) } else { Look::NotYet(left) })
    })
    .await?;
    for claim in claims {
        let lost = json!({ "apiVersion": claim["apiVersion"], "kind": "Lease",
            "metadata": { "name": claim["metadata"]["name"], "namespace": NAMESPACE, "labels": claim["metadata"]["labels"] },
            "spec": claim["spec"] });
        story.lab.apply(&lost.to_string()).await?;
    }
    let other = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "somebodys", "namespace": NAMESPACE }, "spec": { "holderIdentity": "somebody" } });
    story.lab.apply(&other.to_string()).await
}

async fn cleaned(story: &Story<'_>) -> anyhow::Result<()> {
    let namespace = story.namespace.as_str();
    let state = async || {
        let services = story.get(&["services", "-n", namespace]).await?;
        let leases = story.get(&["leases", "-n", NAMESPACE, "-o", "json"]).await?;
        let items = [services["items"].as_array().cloned(), leases["items"].as_array().cloned()];
        let metadata = items.into_iter().flatten().flatten().map(|mut item| {
            item["metadata"]["managedFields"] = Value::Null;
            item["metadata"].take()
        });
        anyhow::Ok(metadata.collect::<Vec<Value>>())
    };
    let before = state().await?;
    let run = plugin(story.lab, &["cleanup", "--dry-run"]).await?;
    let memory = "annotation gateherald.io/injected-labels";
    for line in [
        format!("Service {namespace}/{SERVICE}: {memory}, label {}={}", LABEL.0, LABEL.1),
        format!("Service {namespace}/{LATE}: {memory}"),
    ] {
        ensure!(run.out.lines().any(|shown| shown == line), "no line {line:?}: {run:#?}");
    }
    ensure!(run.code == 0 && !run.out.contains("/own") && !run.out.contains("somebodys"), "{run:#?}");
    ensure!(state().await? == before, "a dry run wrote");
    let unasked = plugin(story.lab, &["cleanup"]).await?;
    ensure!(unasked.code == 2 && unasked.err.contains("--yes"), "{unasked:#?}");
    ensure!(state().await? == before, "nobody said yes");
    let run = plugin(story.lab, &["cleanup", "--yes"]).await?;
    ensure!(run.code == 0 && run.out.contains("cleaned 2 Services, deleted "), "{run:#?}");
    let labels = async |name: &str| {
        let service = story.get(&["service", "-n", namespace, name]).await?;
        let memory = service["metadata"]["annotations"]["gateherald.io/injected-labels"].clone();
        ensure!(memory.is_null(), "{name} still has {memory}");
        Ok(service["metadata"]["labels"][LABEL.0].clone())
    };
    ensure!(labels(SERVICE).await?.is_null(), "the injected label is still there");
    ensure!(labels(LATE).await? == "mine", "what the user set is gone");
    ensure!(labels("own").await? == LABEL.1, "what was never ours is gone");
    let left = story.lab.kubectl(&["get", "leases", "-n", NAMESPACE, "-o", "name"]).await?;
    ensure!(left.trim() == "lease.coordination.k8s.io/somebodys", "{left}");
    let run = plugin(story.lab, &["cleanup", "--yes"]).await?;
    ensure!(run.code == 0 && run.out == "Nothing is left.\n", "{run:#?}");
    Ok(())
}

#[test]
fn watches_show_a_move() -> anyhow::Result<()> {
    tell(async |story| {
        let address = story.reach().await?;
        let vip = address.to_string();
        let from = story.answered(address).await?.name();
        let others = story.cluster.machines().iter().map(gateherald_lab::Machine::name);
        let to =
            others.clone().find(|name| name.starts_with("worker") && *name != from).context("no other")?;
        shows(story, &["vips", &vip], |run| Ok(run.out.contains("announced"))).await?;
        let scope = ["-n", story.namespace.as_str()];
        let vips = going_on(story.lab, &[&["vips", "--watch"][..], &scope].concat())?;
        let flow = going_on(story.lab, &[&["flow", "--watch"][..], &scope].concat())?;
        let wide = going_on(story.lab, &["flow", &vip, "--watch", "-o", "json"])?;
        vips.log_line(LONG, |line| line.starts_with(&vip) && line.contains(&format!(" {from} "))).await?;
        flow.log_line(LONG, |line| line.contains("node ") && line.contains(from)).await?;
        wide.log_line(LONG, |line| line.contains(&format!("node:{from}"))).await?;
        for (number, node) in [to, from].into_iter().enumerate() {
            let seen = vips.log().lines().count();
            let shown = flow.log().len();
            let told = wide.log().len();
            let run = plugin(story.lab, &["move", &vip, "--to", node, "--yes"]).await?;
            ensure!(run.code == 0, "{run:#?}");
            until(&format!("move {number} is shown"), LONG, async || {
                let rows = vips.log();
                let row = rows.lines().skip(seen).any(|line| {
                    line.starts_with(&vip)
                        && line.contains(&format!(" {node} "))
                        && line.ends_with("announced")
                });
                let (tree, graph) = (flow.log()[shown..].to_owned(), wide.log()[told..].to_owned());
                let tree = tree.lines().any(|line| line.contains("node ") && line.contains(node));
                let graph = graph.contains(&format!("node:{node}"));
                Ok(if row && tree && graph {
                    Look::Found(())
                } else {
                    Look::NotYet(format!("{row} {tree} {graph} {rows}"))
                })
            })
            .await?;
        }
        // The Service goes, and its address with it.
        story.lab.kubectl(&["delete", "gateway", "-n", &story.namespace, "cd-arp-gw"]).await?;
        let gone = ["delete", "service", "-n", &story.namespace, SERVICE, "--ignore-not-found"];
        story.lab.kubectl(&gone).await?;
        vips.log_line(LONG, |line| line.starts_with(&vip) && line.ends_with("gone")).await?;
        flow.log_line(LONG, |line| line.starts_with("Nothing: ")).await?;
        for watcher in [vips, flow, wide] {
            ensure!(watcher.is_running(), "{}", watcher.log());
            watcher.terminate().await?;
        }
        Ok(())
    })
}
