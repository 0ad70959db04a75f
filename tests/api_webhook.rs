// SPDX-License-Identifier: Apache-2.0
//! What the webhook does to Services, through a real API server that reaches it as in production.

use std::collections::BTreeMap;

use anyhow::Context;
use futures::future::try_join_all;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::standin::gateway_controller::{GatewayController, UpdateStyle};
use gateherald_tests::gateways::{MEMORY, Shop, labels, memory, owned_by, with_webhook};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

#[test]
fn labels_are_in_the_object_that_create_returned() -> anyhow::Result<()> {
    with_webhook("create", async |shop| {
        let long = "v".repeat(63);
        let gateway = shop
            .gateway(
                "gw",
                &json!({ "labels": {
            "mdhlabs-arp": "enable",
            "example.com/team": "a_b.c-D",
            "app.kubernetes.io/name": "shop",
            "empty": "",
            "longest": long,
            "argocd.argoproj.io/instance": "apps",
            "app.kubernetes.io/managed-by": "Helm",
            "helm.sh/chart": "shop-1.2.3",
        } }),
            )
            .await?;
        let expected = json!({
            "mdhlabs-arp": "enable", "example.com/team": "a_b.c-D", "app.kubernetes.io/name": "shop",
            "empty": "", "longest": long,
        });
        // Without a map of labels, and with an empty one.
        for (name, empty) in [("none", Value::Null), ("empty", json!({}))] {
            let mut metadata = owned_by(&gateway)?;
            metadata["labels"] = empty;
            let service = shop.create(name, &metadata).await?;
            assert_eq!(labels(&service), expected);
            assert_eq!(memory(&service)?, expected);
        }
        // With a map, and keys that the controller set itself.
        let mut metadata = owned_by(&gateway)?;
        metadata["labels"] = json!({ "mdhlabs-arp": "mine", "io.cilium.gateway/owning-gateway": "gw" });
        metadata["annotations"] = json!({ "example.com/note": "kept" });
        let service = shop.create("some", &metadata).await?;
        let mut with_own = expected.clone();
        with_own["mdhlabs-arp"] = json!("mine");
        with_own["io.cilium.gateway/owning-gateway"] = json!("gw");
        assert_eq!(labels(&service), with_own);
        assert_eq!(memory(&service)?.get("mdhlabs-arp"), None);
        assert_eq!(service.annotations()["example.com/note"], "kept");
        // A generated name.
        let mut metadata = owned_by(&gateway)?;
        metadata["generateName"] = json!("web-");
        let generated = shop.create("", &metadata).await?;
        assert_eq!(labels(&generated), expected);
        Ok(())
    })
}

#[test]
fn services_that_no_known_gateway_owns_are_untouched() -> anyhow::Result<()> {
    with_webhook("untouched", async |shop| {
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        let silent = json!({ "labels": { "a": "1" }, "annotations": { "gateherald.io/inject": "false" } });
        let silent = shop.gateway("silent", &silent).await?;
        let owned = || owned_by(&gateway);
        let changed = |field: &str, value: &str| -> anyhow::Result<Value> {
            let mut metadata = owned()?;
            metadata["ownerReferences"][0][field] = value.into();
            Ok(metadata)
        };
        let mut opted_out = owned()?;
        opted_out["annotations"] = json!({ "gateherald.io/inject": "false" });
        for (name, metadata) in [
            ("no-owner", json!({})),
            ("other-group", changed("apiVersion", "networking.istio.io/v1")?),
            ("other-kind", changed("kind", "GatewayClass")?),
            ("wrong-uid", changed("uid", "00000000-0000-0000-0000-000000000000")?),
            ("no-such-gateway", changed("name", "another")?),
            ("opted-out", opted_out),
            ("gateway-opted-out", owned_by(&silent)?),
        ] {
            let service = shop.create(name, &metadata).await?;
            assert_eq!(labels(&service), json!({}), "{name}");
            assert!(!service.annotations().contains_key(MEMORY), "{name}");
        }
        // The same, but for one of the reasons above.
        assert_eq!(labels(&shop.create("owned", &owned()?).await?), json!({ "a": "1" }));
        Ok(())
    })
}

#[test]
fn labels_survive_every_way_a_controller_updates_its_service() -> anyhow::Result<()> {
    with_webhook("update", async |shop| {
        for style in
            [UpdateStyle::MergeLabels, UpdateStyle::ReplaceLabels, UpdateStyle::Apply, UpdateStyle::Put]
        {
            let name = format!("{style:?}").to_lowercase();
            let gateway = shop.gateway(&name, &json!({ "labels": { "a": "1", "b": "2" } })).await?;
            let controller = GatewayController::new(shop.lab.client(), style);
            let created = controller.reconcile(&gateway).await?;
            let injected = |service: &_| -> Value {
                let all = labels(service);
                json!({ "a": all["a"], "b": all["b"] })
            };
            assert_eq!(injected(&created), json!({ "a": "1", "b": "2" }), "{style:?}");
            let again = controller.reconcile(&gateway).await?;
            assert_eq!(injected(&again), json!({ "a": "1", "b": "2" }), "{style:?}");
            assert_eq!(labels(&again), labels(&created), "{style:?}");
            assert_eq!(memory(&again)?, json!({ "a": "1", "b": "2" }), "{style:?}");
            // What came back in the same request is no change, and starts no loop.
            if style == UpdateStyle::Put {
                assert_eq!(again.resource_version(), created.resource_version());
            }
        }
        Ok(())
    })
}

#[test]
fn an_update_brings_the_gateways_changes_and_respects_the_users() -> anyhow::Result<()> {
    with_webhook("change", async |shop| {
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1", "b": "2", "c": "3" } })).await?;
        let service = shop.create("gw", &owned_by(&gateway)?).await?;
        assert_eq!(labels(&service), json!({ "a": "1", "b": "2", "c": "3" }));
        let write = async |patch: Value| -> anyhow::Result<_> {
            Ok(shop.services().patch("gw", &PatchParams::default(), &Patch::Merge(&patch)).await?)
        };
        // The user takes one label over, and removes another, which comes back.
        let after = write(json!({ "metadata": { "labels": { "b": "mine", "c": null } } })).await?;
        assert_eq!(labels(&after), json!({ "a": "1", "b": "mine", "c": "3" }));
        assert_eq!(memory(&after)?, json!({ "a": "1", "c": "3" }));
        // The Gateway changes one, drops two, adds one; the next update of the Service shows it.
        shop.gateway("gw", &json!({ "labels": { "a": "new", "d": "4" } })).await?;
        let expected = json!({ "a": "new", "b": "mine", "d": "4" });
        until("the Gateway's labels on its Service", LONG, async || {
            let after = labels(&write(json!({ "metadata": { "annotations": { "touched": "yes" } } })).await?);
            Ok(if after == expected { Look::Found(()) } else { Look::NotYet(after.to_string()) })
        })
        .await?;
        // The Service opts out: it keeps what it has and is left alone.
        let out =
            write(json!({ "metadata": { "annotations": { "gateherald.io/inject": "false" } } })).await?;
        assert_eq!((labels(&out), memory(&out)?), (expected, Value::Null));
        let after = write(json!({ "metadata": { "labels": { "a": null } } })).await?;
        assert_eq!(labels(&after), json!({ "b": "mine", "d": "4" }));
        Ok(())
    })
}

/// Eight workers create `count` Gateways in all, each followed at once by its Service; the result names the Services
/// without their labels.
async fn burst(shop: &Shop<'_>, count: usize, round: &str) -> anyhow::Result<Vec<String>> {
    let worker = async |worker: usize| -> anyhow::Result<Vec<String>> {
        let mut unlabelled = Vec::new();
        for number in 0..count / 8 {
            let (name, label) = (format!("gw-{worker}-{number}"), json!({ "round": round }));
            let gateway = shop.gateway(&name, &json!({ "labels": label })).await?;
            let service = shop.create(&format!("{name}-{round}"), &owned_by(&gateway)?).await?;
            if labels(&service) != label {
                unlabelled.push(name.clone());
            }
            shop.gateways().delete(&name, &DeleteParams::default()).await?;
        }
        Ok(unlabelled)
    };
    Ok(try_join_all((0..8).map(worker)).await?.concat())
}

#[test]
fn no_service_created_right_after_its_gateway_lacks_its_labels() -> anyhow::Result<()> {
    with_webhook("burst", async |shop| {
        // The second time, each Gateway's name is known with another uid.
        for round in ["first", "second"] {
            assert_eq!(burst(shop, 2_000, round).await?, Vec::<String>::new(), "{round}");
        }
        Ok(())
    })
}

#[test]
fn both_audit_logs_tell_what_was_injected_and_what_was_not() -> anyhow::Result<()> {
    with_webhook("audit", async |shop| {
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1", "helm.sh/chart": "x" } })).await?;
        shop.create("audited", &owned_by(&gateway)?).await?;
        let record = shop
            .audit_record(|record| {
                record["verb"] == "create"
                    && record["objectRef"]["name"] == "audited"
                    && record["responseStatus"]["code"] == 201
            })
            .await?;
        let annotations: BTreeMap<String, String> = serde_json::from_value(record["annotations"].clone())?;
        let ours = |key: &str| annotations.get(&format!("services.gateherald.io/{key}")).map(String::as_str);
        assert_eq!(ours("outcome"), Some("injected"), "{annotations:?}");
        assert_eq!(ours("gateway"), Some(&*format!("{}/gw", shop.namespace)));
        assert_eq!(ours("injected"), Some("a"));
        assert_eq!(ours("skipped"), Some("helm.sh/chart=denied"));

        let webhook = shop.lab.shared_webhook().await?;
        let name = format!("{}/audited", shop.namespace);
        let line = until("the webhook's audit line", LONG, async || {
            let line = webhook.audit().into_iter().find(|line| line["service"] == name.as_str());
            Ok(line.map_or(Look::NotYet("none".to_owned()), Look::Found))
        })
        .await?;
        assert_eq!(line["outcome"], "injected");
        assert_eq!(line["injected"], json!({ "a": "1" }));
        assert_eq!(line["gateway"], format!("{}/gw", shop.namespace));
        assert_eq!(line["skipped"], json!([{ "key": "helm.sh/chart", "reason": "denied" }]));
        assert!(line["microseconds"].as_u64().context("microseconds")? < 1_000_000);
        Ok(())
    })
}

#[test]
fn metrics_and_readiness_are_served_on_the_admin_port() -> anyhow::Result<()> {
    with_webhook("metrics", async |shop| {
        let webhook = shop.lab.shared_webhook().await?;
        let ready = webhook.get("/ready").await?;
        assert_eq!(ready.body, "[+] certificate: ok\n[+] registration: ok\n[+] gateways: ok\nready\n");
        assert_eq!(webhook.get("/live").await?.status, 200);
        let metrics = webhook.get("/metrics").await?.body;
        for name in [
            "gateherald_webhook_build_info{",
            "gateherald_webhook_reviews_total{outcome=\"injected\"} ",
            "gateherald_webhook_labels_skipped_total{reason=\"denied\"} ",
            "gateherald_webhook_review_duration_seconds_bucket{le=\"0.000005\"} ",
            "gateherald_webhook_reviews_in_flight ",
            "gateherald_webhook_gateway_cache_objects ",
            "gateherald_webhook_certificate_not_after_timestamp_seconds{certificate=\"ca\"} ",
            "gateherald_webhook_certificate_not_after_timestamp_seconds{certificate=\"leaf\"} ",
            "gateherald_webhook_ca_bundle_synced 1",
            "process_cpu_seconds_total ",
        ] {
            assert!(metrics.lines().any(|line| line.starts_with(name)), "{name} missing in\n{metrics}");
        }
        Ok(())
    })
}
