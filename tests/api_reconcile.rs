// SPDX-License-Identifier: Apache-2.0
//! What reviews missed is repaired by one replica, the leader, and told on the Services.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::{Lab, Options, Webhook, chart, run_alone};
use gateherald_tests::gateways::{MEMORY, Shop, labels, memory, owned_by};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::time::Instant;

const MANAGER: &str = "gateherald-webhook-reconciler";
const LEASE: &str = "gateherald-webhook-leader";
/// Takeovers within seconds.
const QUICK: [&str; 4] = ["--leader-lease-duration", "3", "--leader-renew-period", "1"];

/// Waits until a Service has exactly these labels.
async fn until_labels(shop: &Shop<'_>, name: &str, expected: &Value) -> anyhow::Result<()> {
    until(&format!("{name} has the labels {expected}"), LONG, async || {
        let found = labels(&shop.services().get(name).await?);
        Ok(if found == *expected { Look::Found(()) } else { Look::NotYet(found.to_string()) })
    })
    .await
}

/// One value of the exposition, without its fraction; zero when it is not there.
async fn metric(webhook: &Webhook, series: &str) -> anyhow::Result<i64> {
    let body = webhook.get("/metrics").await?.body;
    let line = body.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let whole = line.map(|line| line.split('.').next().unwrap_or_default());
    Ok(whole.map_or(Ok(0), str::parse)?)
}

async fn until_metric(webhook: &Webhook, series: &str, wanted: impl Fn(i64) -> bool) -> anyhow::Result<()> {
    until(series, LONG, async || {
        let value = metric(webhook, series).await?;
        Ok(if wanted(value) { Look::Found(()) } else { Look::NotYet(value.to_string()) })
    })
    .await
}

async fn until_leader(webhook: &Webhook) -> anyhow::Result<()> {
    until_metric(webhook, "gateherald_webhook_leader", |leader| leader > 0).await
}

async fn until_settled(webhook: &Webhook) -> anyhow::Result<()> {
    webhook.process().log_line(LONG, |line| line.contains("everything is known that decides")).await?;
    until_metric(webhook, "gateherald_webhook_reconciler_queue_length", |queued| queued == 0).await
}

/// The reconciler's writes to Services as the API server recorded them: (address of the replica, Service, status).
fn patches(lab: &Lab, namespace: &str) -> anyhow::Result<Vec<(String, String, i64)>> {
    let log = std::fs::read_to_string(lab.control_plane().audit_log())?;
    let parse = |line: &str| serde_json::from_str::<Value>(line).ok();
    let ours = log.lines().filter_map(parse).filter(|record| {
        let uri = record["requestURI"].as_str().unwrap_or_default();
        record["verb"] == "patch"
            && uri.contains(&format!("fieldManager={MANAGER}"))
            && record["objectRef"]["namespace"] == namespace
    });
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(ours
        .map(|record| {
            let status = record["responseStatus"]["code"].as_i64().unwrap_or_default();
            (text(&record["sourceIPs"][0]), text(&record["objectRef"]["name"]), status)
        })
        .collect())
}

/// The Events about a Service: reason, message and how often.
async fn events(shop: &Shop<'_>, service: &str) -> anyhow::Result<Vec<(String, String, i32)>> {
    let api: Api<Event> = Api::namespaced(shop.lab.client(), &shop.namespace);
    let all = api.list(&ListParams::default()).await?.items.into_iter();
    let about = |event: &Event| event.regarding.as_ref().is_some_and(|r| r.name.as_deref() == Some(service));
    let mut found: Vec<_> = all.filter(about).collect();
    found.sort_by_key(|event| event.event_time.clone());
    for event in &found {
        anyhow::ensure!(event.reporting_controller.as_deref() == Some("gateherald.io/webhook"), "{event:?}");
    }
    let count = |event: &Event| event.series.as_ref().map_or(1, |series| series.count);
    let line = |event: Event| {
        let count = count(&event);
        (event.reason.unwrap_or_default(), event.note.unwrap_or_default(), count)
    };
    Ok(found.into_iter().map(line).collect())
}

async fn until_event(shop: &Shop<'_>, service: &str, reason: &str) -> anyhow::Result<String> {
    until(&format!("an Event {reason} on {service}"), LONG, async || {
        let all = events(shop, service).await?;
        let found = all.iter().find(|(found, ..)| found == reason).map(|(_, message, _)| message.clone());
        Ok(found.map_or(Look::NotYet(format!("{all:?}")), Look::Found))
    })
    .await
}

async fn relabel(shop: &Shop<'_>, gateway: &str, labels: &Value) -> anyhow::Result<()> {
    let patch = json!({ "metadata": { "labels": labels } });
    shop.gateways().patch(gateway, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}

async fn patch_registration(lab: &Lab, entry: &Value) -> anyhow::Result<()> {
    let operations: Vec<Value> = entry
        .as_object()
        .context("an object")?
        .iter()
        .map(|(key, value)| json!({ "op": "add", "path": format!("/webhooks/0/{key}"), "value": value }))
        .collect();
    let patch = serde_json::to_string(&operations)?;
    let args = ["patch", "mutatingwebhookconfiguration", "gateherald-webhook", "--type=json", "-p", &patch];
    lab.kubectl(&args).await.map(drop)
}

async fn holder(lab: &Lab) -> anyhow::Result<Option<String>> {
    let lease = Api::<Lease>::namespaced(lab.client(), chart::NAMESPACE).get_opt(LEASE).await?;
    Ok(lease.and_then(|lease| lease.spec?.holder_identity).filter(|holder| !holder.is_empty()))
}

#[test]
fn what_was_made_while_no_replica_ran_is_repaired_and_the_rest_is_left_alone() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let shop = Shop::unattended(lab, "before").await?;
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1", "helm.sh/chart": "x" } })).await?;
        let owned = owned_by(&gateway)?;
        shop.create("early", &owned).await?;
        shop.create("foreign", &json!({ "labels": { "x": "9" } })).await?;
        let mut own = owned.clone();
        own["annotations"] = json!({ "gateherald.io/inject": "false" });
        shop.create("opted-out", &own).await?;
        // The garbage collector would take a Service whose owner does not exist.
        lab.control_plane().controller_manager().kill().await?;
        let mut stale = owned.clone();
        stale["ownerReferences"][0]["uid"] = json!("another");
        stale["labels"] = json!({ "a": "0" });
        stale["annotations"] = json!({ MEMORY: r#"{"a":"0"}"# });
        shop.create("stale", &stale).await?;
        // The registration excludes this namespace.
        let system = Shop { lab, namespace: "kube-system".into() };
        let excluded = system.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        system.create("excluded", &owned_by(&excluded)?).await?;

        let webhook = lab.run_webhook(&[]).await?;
        until_labels(&shop, "early", &json!({ "a": "1" })).await?;
        let early = shop.services().get("early").await?;
        assert_eq!(memory(&early)?, json!({ "a": "1" }));
        let managers: BTreeSet<_> =
            early.managed_fields().iter().filter_map(|entry| entry.manager.as_deref()).collect();
        assert!(managers.contains(MANAGER), "{managers:?}");
        until_settled(&webhook).await?;
        for (name, expected) in
            [("foreign", json!({ "x": "9" })), ("opted-out", json!({})), ("stale", json!({ "a": "0" }))]
        {
            assert_eq!(labels(&shop.services().get(name).await?), expected, "{name}");
        }
        assert_eq!(labels(&system.services().get("excluded").await?), json!({}));
        let patched = patches(lab, &shop.namespace)?;
        assert_eq!(patched.iter().map(|(_, name, _)| name.as_str()).collect::<Vec<_>>(), ["early"]);
        assert_eq!(
            metric(&webhook, "gateherald_webhook_reconciler_patches_total{reason=\"injected\"}").await?,
            1
        );

        // Its only replica dies; what is made and changed meanwhile is repaired when it is back.
        webhook.process().kill().await?;
        shop.create("meanwhile", &owned).await?;
        relabel(&shop, "gw", &json!({ "a": "2" })).await?;
        webhook.process().restart().await?;
        for name in ["meanwhile", "early"] {
            until_labels(&shop, name, &json!({ "a": "2" })).await?;
        }
        // The Lease goes with the release.
        let lease = Api::<Lease>::namespaced(lab.client(), chart::NAMESPACE).get(LEASE).await?;
        let release =
            Api::<ConfigMap>::namespaced(lab.client(), chart::NAMESPACE).get("gateherald-owner").await?;
        assert_eq!(lease.owner_references()[0].uid, release.uid().context("uid")?);
        Ok(())
    })
}

#[test]
fn a_label_that_changes_on_a_gateway_reaches_its_services_and_is_told() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let webhook = lab.run_webhook(&[]).await?;
        let shop = Shop::open(lab, "changes").await?;
        until_settled(&webhook).await?;
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1", "b": "1" } })).await?;
        shop.create("web", &owned_by(&gateway)?).await?;
        let injected = until_event(&shop, "web", "LabelsInjected").await?;
        assert!(injected.contains(&format!("Gateway {}/gw", shop.namespace)), "{injected}");
        assert!(injected.contains("a=1, b=1"), "{injected}");

        let mut took = Vec::new();
        for round in 2..12 {
            let start = Instant::now();
            relabel(&shop, "gw", &json!({ "a": round.to_string() })).await?;
            until_labels(&shop, "web", &json!({ "a": round.to_string(), "b": "1" })).await?;
            took.push(start.elapsed());
        }
        took.sort();
        println!(
            "label change → Service: median {:?}, longest {:?}",
            took[took.len() / 2],
            took[took.len() - 1]
        );
        let updated = until_event(&shop, "web", "LabelsUpdated").await?;
        assert!(updated.contains("a=2"), "{updated}");

        relabel(&shop, "gw", &json!({ "b": null })).await?;
        until_labels(&shop, "web", &json!({ "a": "11" })).await?;
        assert!(until_event(&shop, "web", "LabelsRemoved").await?.ends_with(": b"));
        // The user's own value and the user's opt-out count here too.
        let own = json!({ "metadata": { "labels": { "a": "mine" } } });
        shop.services().patch("web", &PatchParams::default(), &Patch::Merge(&own)).await?;
        relabel(&shop, "gw", &json!({ "a": "12", "c": "1" })).await?;
        until_labels(&shop, "web", &json!({ "a": "mine", "c": "1" })).await?;
        let gateway_opts_out = json!({ "metadata": { "annotations": { "gateherald.io/inject": "false" } } });
        shop.gateways().patch("gw", &PatchParams::default(), &Patch::Merge(&gateway_opts_out)).await?;
        until_labels(&shop, "web", &json!({ "a": "mine" })).await?;

        // A Gateway that goes takes nothing along, and that is told.
        shop.gateway("gone", &json!({ "labels": { "a": "1" } })).await?;
        let gone = shop.gateways().get("gone").await?;
        shop.create("orphan", &owned_by(&gone)?).await?;
        let orphan = DeleteParams {
            propagation_policy: Some(kube::api::PropagationPolicy::Orphan),
            ..Default::default()
        };
        shop.gateways().delete("gone", &orphan).await?;
        // The garbage collector takes the ownerReference away, or the Gateway is missing: either way the label stays.
        until("the Gateway is gone", LONG, async || {
            let there = shop.gateways().get_opt("gone").await?.is_some();
            Ok(if there { Look::NotYet("there".into()) } else { Look::Found(()) })
        })
        .await?;
        assert_eq!(labels(&shop.services().get("orphan").await?), json!({ "a": "1" }));
        let mut dangling = owned_by(&gone)?;
        dangling["ownerReferences"][0]["name"] = json!("never");
        lab.control_plane().controller_manager().kill().await?;
        shop.create("dangling", &dangling).await?;
        let missing = until_event(&shop, "dangling", "GatewayMissing").await?;
        assert!(missing.contains(&format!("Gateway {}/never does not exist", shop.namespace)), "{missing}");
        let replaced = shop.gateway("again", &json!({ "labels": { "a": "1" } })).await?;
        let mut other = owned_by(&replaced)?;
        other["ownerReferences"][0]["uid"] = json!("another");
        shop.create("replaced", &other).await?;
        until_event(&shop, "replaced", "GatewayReplaced").await?;
        Ok(())
    })
}

#[test]
fn a_thousand_services_follow_one_label_change_in_seconds() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let webhook = lab.run_webhook(&[]).await?;
        let shop = Shop::open(lab, "many").await?;
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        let owned = owned_by(&gateway)?;
        let (shop, owned) = (&shop, &owned);
        stream::iter(0..1000)
            .map(async |number| shop.create(&format!("web-{number}"), owned).await.map(drop))
            .buffer_unordered(8)
            .try_collect::<Vec<()>>()
            .await?;
        until_settled(&webhook).await?;
        until_metric(&webhook, "gateherald_webhook_service_cache_objects", |n| n >= 1000).await?;
        let start = Instant::now();
        relabel(shop, "gw", &json!({ "a": "2" })).await?;
        until_metric(&webhook, "gateherald_webhook_reconciler_patches_total{reason=\"updated\"}", |n| {
            n >= 1000
        })
        .await?;
        println!("1,000 Services after one label change: {:?}", start.elapsed());
        let all = shop.services().list(&ListParams::default().labels("a=2")).await?;
        assert_eq!(all.items.len(), 1000);
        // One question about the Gateway, or one per patch that was under way, is enough for all of them.
        let log = std::fs::read_to_string(lab.control_plane().audit_log())?;
        let asked = log
            .lines()
            .filter(|line| line.contains(r#""verb":"get""#) && line.contains("gateways/gw"))
            .count();
        assert!(asked <= 16, "{asked} look-ups");
        Ok(())
    })
}

/// Gives a namespace work until its Service has the label.
async fn work(shop: &Shop<'_>, round: u32) -> anyhow::Result<()> {
    relabel(shop, "gw", &json!({ "round": round.to_string() })).await?;
    until_labels(shop, "web", &json!({ "round": round.to_string() })).await
}

#[test]
fn of_two_replicas_one_writes_and_the_other_takes_over() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let one = lab.run_webhook(&QUICK).await?;
        until_leader(&one).await?;
        let two = lab.run_webhook(&QUICK).await?;
        let shop = Shop::open(lab, "pair").await?;
        let gateway = shop.gateway("gw", &json!({ "labels": { "round": "0" } })).await?;
        shop.create("web", &owned_by(&gateway)?).await?;
        let by = async || -> anyhow::Result<BTreeMap<String, usize>> {
            let mut count = BTreeMap::new();
            for (address, ..) in patches(lab, &shop.namespace)? {
                *count.entry(address).or_default() += 1;
            }
            Ok(count)
        };
        let (first, second) = (one.address().to_string(), two.address().to_string());
        for round in 1..6 {
            work(&shop, round).await?;
        }
        assert_eq!(by().await?, BTreeMap::from([(first.clone(), 5)]));
        assert_eq!(metric(&two, "gateherald_webhook_leader").await?, 0);

        // Frozen: the other one takes over, and what the frozen one had begun is not finished later.
        one.process().freeze()?;
        until_leader(&two).await?;
        for round in 6..9 {
            work(&shop, round).await?;
        }
        let before = by().await?;
        assert_eq!(before.get(&first), Some(&5));
        one.process().thaw()?;
        one.process().log_line(LONG, |line| line.contains("leads no longer")).await?;
        for round in 9..12 {
            work(&shop, round).await?;
        }
        assert_eq!(by().await?, BTreeMap::from([(first.clone(), 5), (second.clone(), 6)]));
        assert_eq!(metric(&one, "gateherald_webhook_leader").await?, 0);

        // Terminated: it releases the Lease, so nobody waits for it to run out.
        let transitions = metric(&one, "gateherald_webhook_leader_transitions_total").await?;
        let start = Instant::now();
        tokio::try_join!(two.process().terminate(), async {
            until_leader(&one).await?;
            println!("leadership after SIGTERM: {:?}", start.elapsed());
            // It still drains.
            anyhow::ensure!(two.process().is_running());
            Ok(())
        })?;
        assert!(two.process().log().contains("released"));
        assert_eq!(metric(&one, "gateherald_webhook_leader_transitions_total").await?, transitions + 1);
        work(&shop, 12).await?;

        // Killed: the Lease runs out.
        two.process().restart().await?;
        two.wait_ready().await?;
        let start = Instant::now();
        one.process().kill().await?;
        until_leader(&two).await?;
        println!("leadership after SIGKILL, with a lease of 3 s: {:?}", start.elapsed());
        work(&shop, 13).await?;
        Ok(())
    })
}

#[test]
fn a_new_leader_repeats_no_event() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let webhook = lab.run_webhook(&QUICK).await?;
        let shop = Shop::open(lab, "silent").await?;
        until_settled(&webhook).await?;
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        shop.create("web", &owned_by(&gateway)?).await?;
        until_event(&shop, "web", "LabelsInjected").await?;
        // Writes that change nothing for us are no news.
        for round in 0..5 {
            let note = json!({ "metadata": { "annotations": { "example.com/round": round.to_string() } } });
            shop.services().patch("web", &PatchParams::default(), &Patch::Merge(&note)).await?;
        }
        webhook.process().kill().await?;
        webhook.process().restart().await?;
        webhook.wait_ready().await?;
        let known = async || webhook.process().log().matches("everything is known that decides").count();
        until("the new leader knows everything", LONG, async || {
            Ok(if known().await == 2 { Look::Found(()) } else { Look::NotYet(webhook.process().log_tail(3)) })
        })
        .await?;
        // Something that is told, so that whatever came before it has been told too.
        relabel(&shop, "gw", &json!({ "a": "2" })).await?;
        until_event(&shop, "web", "LabelsUpdated").await?;
        let all = events(&shop, "web").await?;
        let told: Vec<_> = all.iter().map(|(reason, _, count)| (reason.as_str(), *count)).collect();
        assert_eq!(told, [("LabelsInjected", 1), ("LabelsUpdated", 1)]);
        Ok(())
    })
}

#[test]
fn report_mode_tells_and_writes_nothing_and_off_does_not_look() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let off = lab.run_webhook(&["--reconcile", "off"]).await?;
        let shop = Shop::open(lab, "report").await?;
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        shop.create("web", &owned_by(&gateway)?).await?;
        assert_eq!(holder(lab).await?, None);
        off.stop().await?;

        let webhook = lab.run_webhook(&["--reconcile", "report"]).await?;
        until_settled(&webhook).await?;
        relabel(&shop, "gw", &json!({ "a": "2" })).await?;
        let message = until_event(&shop, "web", "LabelsDrifted").await?;
        assert!(message.contains("--reconcile=report"), "{message}");
        until_metric(&webhook, "gateherald_webhook_reconciler_drifted", |drifted| drifted == 1).await?;
        assert_eq!(labels(&shop.services().get("web").await?), json!({ "a": "1" }));
        assert_eq!(patches(lab, &shop.namespace)?, []);
        // The Service's next update repairs it, and the drift is over.
        let touch = json!({ "metadata": { "annotations": { "example.com/touched": "yes" } } });
        shop.services().patch("web", &PatchParams::default(), &Patch::Merge(&touch)).await?;
        until_labels(&shop, "web", &json!({ "a": "2" })).await?;
        until_metric(&webhook, "gateherald_webhook_reconciler_drifted", |drifted| drifted == 0).await
    })
}

#[test]
fn the_registration_says_which_services_are_reconciled() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let webhook = lab.run_webhook(&[]).await?;
        let shop = Shop::open(lab, "scope").await?;
        until_settled(&webhook).await?;
        // From now on only namespaces with a label, and Services without one.
        patch_registration(
            lab,
            &json!({
                "namespaceSelector": { "matchLabels": { "gateherald": "yes" } },
                "objectSelector": { "matchExpressions": [{ "key": "hands-off", "operator": "DoesNotExist" }] },
            }),
        )
        .await?;
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        let until_ignored = async || {
            until("the API server calls no more", LONG, async || {
                let dry_run = kube::api::PostParams { dry_run: true, ..Default::default() };
                let service = gateherald_tests::gateways::service("probe", &owned_by(&gateway)?)?;
                let found = labels(&shop.services().create(&dry_run, &service).await?);
                Ok(if found == json!({}) { Look::Found(()) } else { Look::NotYet(found.to_string()) })
            })
            .await
        };
        until_ignored().await?;
        let mut marked = owned_by(&gateway)?;
        marked["labels"] = json!({ "hands-off": "please" });
        shop.create("marked", &marked).await?;
        shop.create("web", &owned_by(&gateway)?).await?;
        relabel(&shop, "gw", &json!({ "a": "2" })).await?;
        // Another namespace shows that the reconciler saw all of that.
        let other = Shop::unattended(lab, "other").await?;
        lab.kubectl(&["label", "namespace", &other.namespace, "gateherald=yes"]).await?;
        let theirs = other.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        other.create("web", &owned_by(&theirs)?).await?;
        relabel(&other, "gw", &json!({ "a": "2" })).await?;
        until_labels(&other, "web", &json!({ "a": "2" })).await?;
        assert_eq!(labels(&shop.services().get("web").await?), json!({}));
        // The namespace comes in.
        lab.kubectl(&["label", "namespace", &shop.namespace, "gateherald=yes"]).await?;
        until_labels(&shop, "web", &json!({ "a": "2" })).await?;
        until_settled(&webhook).await?;
        assert_eq!(labels(&shop.services().get("marked").await?), json!({ "hands-off": "please" }));

        // Without a registration nothing is anybody's business.
        lab.kubectl(&["delete", "mutatingwebhookconfiguration", "gateherald-webhook"]).await?;
        webhook.process().log_line(LONG, |line| line.contains("nothing is reconciled")).await?;
        let before = patches(lab, &shop.namespace)?.len();
        relabel(&shop, "gw", &json!({ "a": "3" })).await?;
        until_metric(&webhook, "gateherald_webhook_reconciler_queue_length", |queued| queued == 0).await?;
        assert_eq!(patches(lab, &shop.namespace)?.len(), before);
        chart::install(lab.control_plane(), &[]).await?;
        until_labels(&shop, "web", &json!({ "a": "3" })).await
    })
}

#[test]
fn nobody_is_fought_with() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let webhook = lab.run_webhook(&[]).await?;
        let shop = Shop::open(lab, "fight").await?;
        until_settled(&webhook).await?;
        // The API server calls for nothing any more, so that nothing but the reconciler injects.
        patch_registration(lab, &json!({ "rules": [] })).await?;
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        until("the API server calls no more", LONG, async || {
            let dry_run = kube::api::PostParams { dry_run: true, ..Default::default() };
            let service = gateherald_tests::gateways::service("probe", &owned_by(&gateway)?)?;
            let found = labels(&shop.services().create(&dry_run, &service).await?);
            Ok(if found == json!({}) { Look::Found(()) } else { Look::NotYet(found.to_string()) })
        })
        .await?;
        shop.create("web", &owned_by(&gateway)?).await?;
        // Another controller that wants the Service as it was.
        let undo = json!({ "metadata": { "labels": { "a": null }, "annotations": { MEMORY: null } } });
        for _ in 0..2 {
            until_labels(&shop, "web", &json!({ "a": "1" })).await?;
            shop.services().patch("web", &PatchParams::default(), &Patch::Merge(&undo)).await?;
        }
        let message = until_event(&shop, "web", "LabelsNotKept").await?;
        assert!(message.contains("undoes") && message.contains("gateherald.io/inject=false"), "{message}");
        until_metric(&webhook, "gateherald_webhook_reconciler_backed_off", |n| n == 1).await?;
        assert_eq!(metric(&webhook, "gateherald_webhook_reconciler_fights_total").await?, 1);
        // Whatever else happens to the Service meanwhile is no reason to start again.
        for round in 0..5 {
            let note = json!({ "metadata": { "annotations": { "example.com/round": round.to_string() } } });
            shop.services().patch("web", &PatchParams::default(), &Patch::Merge(&note)).await?;
        }
        // Others are served, so all of that has been seen.
        shop.create("other", &owned_by(&gateway)?).await?;
        until_labels(&shop, "other", &json!({ "a": "1" })).await?;
        let all = patches(lab, &shop.namespace)?;
        assert_eq!(all.iter().filter(|(_, name, _)| name == "web").count(), 2, "{all:?}");
        let lines = webhook.process().log().matches("somebody undoes what is written").count();
        assert_eq!(lines, 1);
        // A new value is another matter.
        relabel(&shop, "gw", &json!({ "a": "2" })).await?;
        until_labels(&shop, "web", &json!({ "a": "2" })).await?;
        until_metric(&webhook, "gateherald_webhook_reconciler_backed_off", |n| n == 0).await
    })
}

#[test]
fn missing_rights_and_an_api_server_that_is_away_are_waited_out() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let role = lab.kubectl(&["get", "clusterrole", "gateherald-webhook", "-o", "json"]).await?;
        let role: Value = serde_json::from_str(&role)?;
        let all = role["rules"].as_array().context("rules")?.clone();
        let mut less = all.clone();
        less.retain(|rule| rule["resources"] != json!(["services"]));
        assert_eq!(less.len() + 1, all.len());
        let set = async |rules: &[Value]| {
            let patch = json!({ "rules": rules }).to_string();
            lab.kubectl(&["patch", "clusterrole", "gateherald-webhook", "--type=merge", "-p", &patch]).await
        };
        set(&less).await?;
        // Reviews need no such right: it is ready all the same, and says what it cannot do.
        let webhook = lab.run_webhook(&QUICK).await?;
        webhook
            .process()
            .log_line(LONG, |line| line.contains("RBAC does not allow to list services"))
            .await?;
        let failures = "gateherald_webhook_reconciler_failures_total{part=\"services\"}";
        until_metric(&webhook, failures, |failures| failures > 0).await?;
        let shop = Shop::open(lab, "rights").await?;
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        shop.create("web", &owned_by(&gateway)?).await?;
        relabel(&shop, "gw", &json!({ "a": "2" })).await?;
        set(&all).await?;
        until_labels(&shop, "web", &json!({ "a": "2" })).await?;

        // Nobody can renew: it steps down in time, and leads again afterwards.
        let api_server = lab.control_plane().api_server();
        api_server.kill().await?;
        until_metric(&webhook, "gateherald_webhook_leader", |leader| leader == 0).await?;
        api_server.restart().await?;
        lab.control_plane().wait_ready().await?;
        let shop = Shop { lab, namespace: shop.namespace.clone() };
        relabel(&shop, "gw", &json!({ "a": "3" })).await?;
        until_labels(&shop, "web", &json!({ "a": "3" })).await?;
        until_leader(&webhook).await?;
        // The Lease is deleted by hand: its leader puts it back.
        lab.kubectl(&["delete", "lease", "-n", chart::NAMESPACE, LEASE]).await?;
        until("the Lease is back", LONG, async || {
            Ok(holder(lab).await?.map_or(Look::NotYet("none".into()), Look::Found))
        })
        .await?;
        let age = metric(&webhook, "gateherald_webhook_cache_age_seconds{cache=\"services\"}").await?;
        assert!(age < 300, "{age} s");
        Ok(())
    })
}
