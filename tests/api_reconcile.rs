// SPDX-License-Identifier: Apache-2.0
//! What reviews missed is repaired by one replica, the leader, and told on the Services.

use std::collections::BTreeSet;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::{Lab, Options, chart, run_alone};
use gateherald_tests::gateways::{MEMORY, Shop, labels, memory, owned_by};
use gateherald_tests::metrics::{count, until_count};
use gateherald_tests::reconciling::{LEASE, MANAGER, holder, patches, until_event, until_settled};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::time::Instant;

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
        shop.until_labels("early", &json!({ "a": "1" })).await?;
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
        let patched = patches(&shop)?;
        assert_eq!(
            patched.iter().map(|patched| patched.service.as_str()).collect::<BTreeSet<_>>(),
            BTreeSet::from(["early"])
        );
        assert_eq!(count(&webhook, "reconciler_patches_total{reason=\"injected\"}").await?, 1);

        // Its only replica dies; what is made and changed meanwhile is repaired when it is back.
        webhook.process().kill().await?;
        shop.create("meanwhile", &owned).await?;
        shop.relabel("gw", &json!({ "a": "2" })).await?;
        webhook.process().restart().await?;
        for name in ["meanwhile", "early"] {
            shop.until_labels(name, &json!({ "a": "2" })).await?;
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
            shop.relabel("gw", &json!({ "a": round.to_string() })).await?;
            shop.until_labels("web", &json!({ "a": round.to_string(), "b": "1" })).await?;
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

        shop.relabel("gw", &json!({ "b": null })).await?;
        shop.until_labels("web", &json!({ "a": "11" })).await?;
        assert!(until_event(&shop, "web", "LabelsRemoved").await?.ends_with(": b"));
        // The user's own value and the user's opt-out count here too.
        shop.edit("web", &json!({ "labels": { "a": "mine" } })).await?;
        shop.relabel("gw", &json!({ "a": "12", "c": "1" })).await?;
        shop.until_labels("web", &json!({ "a": "mine", "c": "1" })).await?;
        let gateway_opts_out = json!({ "metadata": { "annotations": { "gateherald.io/inject": "false" } } });
        shop.gateways().patch("gw", &PatchParams::default(), &Patch::Merge(&gateway_opts_out)).await?;
        shop.until_labels("web", &json!({ "a": "mine" })).await?;
        Ok(())
    })
}

#[test]
fn a_gateway_that_goes_takes_nothing_along_and_that_is_told() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let webhook = lab.run_webhook(&[]).await?;
        let shop = Shop::open(lab, "gone").await?;
        until_settled(&webhook).await?;
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

/// How often the API server was asked for a Gateway `gw`.
fn lookups(lab: &Lab) -> anyhow::Result<usize> {
    let log = std::fs::read_to_string(lab.control_plane().audit_log())?;
    let asks = |line: &&str| line.contains(r#""verb":"get""#) && line.contains("gateways/gw");
    Ok(log.lines().filter(asks).count())
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
        until_count(&webhook, "service_cache_objects", |n| n >= 1000).await?;
        let start = Instant::now();
        let before = lookups(lab)?;
        shop.relabel("gw", &json!({ "a": "2" })).await?;
        until_count(&webhook, "reconciler_patches_total{reason=\"updated\"}", |n| n >= 1000).await?;
        println!("1,000 Services after one label change: {:?}", start.elapsed());
        let all = shop.services().list(&ListParams::default().labels("a=2")).await?;
        assert_eq!(all.items.len(), 1000);
        // One question about the Gateway, or one per patch that was under way, is enough for all of them.
        let asked = lookups(lab)? - before;
        assert!(asked <= 16, "{asked} look-ups");
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
        shop.relabel("gw", &json!({ "a": "2" })).await?;
        let message = until_event(&shop, "web", "LabelsDrifted").await?;
        assert!(message.contains("--reconcile=report"), "{message}");
        until_count(&webhook, "reconciler_drifted", |drifted| drifted == 1).await?;
        assert_eq!(labels(&shop.services().get("web").await?), json!({ "a": "1" }));
        assert_eq!(patches(&shop)?, []);
        // The Service's next update repairs it, and the drift is over.
        shop.edit("web", &json!({ "annotations": { "example.com/touched": "yes" } })).await?;
        shop.until_labels("web", &json!({ "a": "2" })).await?;
        until_count(&webhook, "reconciler_drifted", |drifted| drifted == 0).await
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
        shop.until_unlabelled(&gateway).await?;
        let mut marked = owned_by(&gateway)?;
        marked["labels"] = json!({ "hands-off": "please" });
        shop.create("marked", &marked).await?;
        shop.create("web", &owned_by(&gateway)?).await?;
        shop.relabel("gw", &json!({ "a": "2" })).await?;
        // Another namespace shows that the reconciler saw all of that.
        let other = Shop::unattended(lab, "other").await?;
        lab.kubectl(&["label", "namespace", &other.namespace, "gateherald=yes"]).await?;
        let theirs = other.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        other.create("web", &owned_by(&theirs)?).await?;
        other.relabel("gw", &json!({ "a": "2" })).await?;
        other.until_labels("web", &json!({ "a": "2" })).await?;
        assert_eq!(labels(&shop.services().get("web").await?), json!({}));
        // The namespace comes in.
        lab.kubectl(&["label", "namespace", &shop.namespace, "gateherald=yes"]).await?;
        shop.until_labels("web", &json!({ "a": "2" })).await?;
        until_settled(&webhook).await?;
        assert_eq!(labels(&shop.services().get("marked").await?), json!({ "hands-off": "please" }));

        // Without a registration nothing is anybody's business.
        lab.kubectl(&["delete", "mutatingwebhookconfiguration", "gateherald-webhook"]).await?;
        webhook.process().log_line(LONG, |line| line.contains("nothing is reconciled")).await?;
        let before = patches(&shop)?.len();
        shop.relabel("gw", &json!({ "a": "3" })).await?;
        until_count(&webhook, "reconciler_queue_length", |queued| queued == 0).await?;
        assert_eq!(patches(&shop)?.len(), before);
        chart::install(lab.control_plane(), &[]).await?;
        shop.until_labels("web", &json!({ "a": "3" })).await
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
        shop.until_unlabelled(&gateway).await?;
        shop.create("web", &owned_by(&gateway)?).await?;
        // Another controller that wants the Service as it was.
        let undo = json!({ "labels": { "a": null }, "annotations": { MEMORY: null } });
        for _ in 0..2 {
            shop.until_labels("web", &json!({ "a": "1" })).await?;
            shop.edit("web", &undo).await?;
        }
        let message = until_event(&shop, "web", "LabelsNotKept").await?;
        assert!(message.contains("undoes") && message.contains("gateherald.io/inject=false"), "{message}");
        until_count(&webhook, "reconciler_backed_off", |n| n == 1).await?;
        assert_eq!(count(&webhook, "reconciler_fights_total").await?, 1);
        // Whatever else happens to the Service meanwhile is no reason to start again.
        for round in 0..5 {
            shop.edit("web", &json!({ "annotations": { "example.com/round": round.to_string() } })).await?;
        }
        // Others are served, so all of that has been seen.
        shop.create("other", &owned_by(&gateway)?).await?;
        shop.until_labels("other", &json!({ "a": "1" })).await?;
        let all = patches(&shop)?;
        assert_eq!(all.iter().filter(|patched| patched.service == "web").count(), 2, "{all:?}");
        let lines = webhook.process().log().matches("somebody undoes what is written").count();
        assert_eq!(lines, 1);
        // A new value is another matter.
        shop.relabel("gw", &json!({ "a": "2" })).await?;
        shop.until_labels("web", &json!({ "a": "2" })).await?;
        until_count(&webhook, "reconciler_backed_off", |n| n == 0).await
    })
}
