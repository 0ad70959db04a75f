// SPDX-License-Identifier: Apache-2.0
//! Every way in which a Service or its Gateway changes, through a real API server.

use std::collections::BTreeMap;

use anyhow::Context;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_tests::gateways::{MEMORY, Shop, labels, memory, owned_by, service, with_webhook};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{DeleteParams, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};

async fn patch(shop: &Shop<'_>, name: &str, patch: Value) -> anyhow::Result<Service> {
    Ok(shop.services().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?)
}

/// Touches a Service until it has these labels: the webhook's cache follows a Gateway's change a moment later.
async fn until_labels(shop: &Shop<'_>, name: &str, expected: &Value) -> anyhow::Result<Service> {
    until(&format!("{name} has {expected}"), LONG, async || {
        let touch = json!({ "metadata": { "annotations": { "touched": "yes" } } });
        let after = patch(shop, name, touch).await?;
        let now = labels(&after);
        Ok(if now == *expected { Look::Found(after) } else { Look::NotYet(now.to_string()) })
    })
    .await
}

fn references(gateways: &[&DynamicObject]) -> anyhow::Result<Value> {
    let mut references = Vec::new();
    for gateway in gateways {
        references.push(owned_by(gateway)?["ownerReferences"][0].clone());
    }
    Ok(json!({ "metadata": { "ownerReferences": references } }))
}

#[test]
fn a_dry_run_shows_the_labels_and_keeps_nothing() -> anyhow::Result<()> {
    with_webhook("dry-run", async |shop| {
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let shown = shop.services().create(&dry_run, &service("gw", &owned_by(&gateway)?)?).await?;
        assert_eq!(labels(&shown), json!({ "a": "1" }));
        assert!(shop.services().get_opt("gw").await?.is_none());
        let name = format!("{}/gw", shop.namespace);
        let webhook = shop.lab.shared_webhook().await?;
        let line = until("the audit line", LONG, async || {
            let line = webhook.audit().into_iter().find(|line| line["service"] == name.as_str());
            Ok(line.map_or(Look::NotYet("none".to_owned()), Look::Found))
        })
        .await?;
        assert_eq!((&line["dryRun"], &line["outcome"]), (&json!(true), &json!("injected")));
        Ok(())
    })
}

#[test]
fn a_service_that_changes_its_type_keeps_its_labels() -> anyhow::Result<()> {
    with_webhook("type", async |shop| {
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        shop.create("gw", &owned_by(&gateway)?).await?;
        for kind in ["LoadBalancer", "NodePort", "ClusterIP"] {
            let after = patch(shop, "gw", json!({ "spec": { "type": kind } })).await?;
            assert_eq!(
                (labels(&after), memory(&after)?),
                (json!({ "a": "1" }), json!({ "a": "1" })),
                "{kind}"
            );
        }
        Ok(())
    })
}

#[test]
fn an_owner_that_arrives_later_or_is_replaced_gives_its_labels() -> anyhow::Result<()> {
    with_webhook("owner", async |shop| {
        let one = shop.gateway("one", &json!({ "labels": { "a": "1", "both": "one" } })).await?;
        let two = shop.gateway("two", &json!({ "labels": { "b": "2", "both": "two" } })).await?;
        assert_eq!(labels(&shop.create("web", &json!({})).await?), json!({}));
        let after = patch(shop, "web", references(&[&one])?).await?;
        assert_eq!(labels(&after), json!({ "a": "1", "both": "one" }));
        let after = patch(shop, "web", references(&[&two])?).await?;
        assert_eq!(labels(&after), json!({ "b": "2", "both": "two" }));
        assert_eq!(memory(&after)?, json!({ "b": "2", "both": "two" }));
        // An owner that goes is no knowledge about its labels.
        let after = patch(shop, "web", references(&[])?).await?;
        assert_eq!(labels(&after), json!({ "b": "2", "both": "two" }));
        Ok(())
    })
}

#[test]
fn a_gateway_recreated_with_another_uid_changes_nothing_until_it_is_the_owner() -> anyhow::Result<()> {
    with_webhook("uid", async |shop| {
        let first = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        // Another owner, so that the garbage collector leaves the Service when the first one goes. It is no Gateway: once the
        // collector has taken the dangling reference away, another Gateway would be the owner, and have no such label.
        let other = ConfigMap {
            metadata: ObjectMeta { name: Some("other".to_owned()), ..ObjectMeta::default() },
            ..ConfigMap::default()
        };
        let maps: Api<ConfigMap> = Api::namespaced(shop.lab.client(), &shop.namespace);
        let other = maps.create(&PostParams::default(), &other).await?;
        let mut both = references(&[&first])?;
        let owners = both["metadata"]["ownerReferences"].as_array_mut().context("no references")?;
        owners.push(serde_json::to_value(other.owner_ref(&()))?);
        shop.create("web", &both["metadata"]).await?;
        shop.gateways().delete("gw", &DeleteParams::default()).await?;
        let second = shop.gateway("gw", &json!({ "labels": { "b": "2" } })).await?;
        assert_ne!(first.uid(), second.uid());
        let after =
            patch(shop, "web", json!({ "metadata": { "annotations": { "touched": "yes" } } })).await?;
        assert_eq!(labels(&after), json!({ "a": "1" }));
        let after = patch(shop, "web", references(&[&second])?).await?;
        assert_eq!((labels(&after), memory(&after)?), (json!({ "b": "2" }), json!({ "b": "2" })));
        Ok(())
    })
}

#[test]
fn a_gateway_under_deletion_takes_no_label_away() -> anyhow::Result<()> {
    with_webhook("deleting", async |shop| {
        let held = json!({ "labels": { "a": "1", "b": "2" }, "finalizers": ["tests.example.com/held"] });
        let gateway = shop.gateway("gw", &held).await?;
        shop.create("gw", &owned_by(&gateway)?).await?;
        let write = async |patch: Value| {
            shop.gateways().patch("gw", &PatchParams::default(), &Patch::Merge(&patch)).await
        };
        // First a change that shows when the webhook's cache has caught up.
        write(json!({ "metadata": { "labels": { "c": "3" } } })).await?;
        let all = json!({ "a": "1", "b": "2", "c": "3" });
        until_labels(shop, "gw", &all).await?;
        shop.gateways().delete("gw", &DeleteParams::default()).await?;
        write(json!({ "metadata": { "labels": { "a": null, "d": "4" } } })).await?;
        let expected = json!({ "a": "1", "b": "2", "c": "3", "d": "4" });
        let after = until_labels(shop, "gw", &expected).await?;
        assert_eq!(memory(&after)?, expected);
        write(json!({ "metadata": { "finalizers": null } })).await?;
        Ok(())
    })
}

#[test]
fn what_a_gateway_no_longer_offers_goes_at_the_next_update() -> anyhow::Result<()> {
    with_webhook("offers", async |shop| {
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1", "b/x": "2", "c": "3" } })).await?;
        shop.create("gw", &owned_by(&gateway)?).await?;
        let offer = async |labels: Value, annotations: Value| {
            shop.gateway("gw", &json!({ "labels": labels, "annotations": annotations })).await
        };
        offer(json!({ "a": "1", "b/x": "2" }), json!({})).await?;
        until_labels(shop, "gw", &json!({ "a": "1", "b/x": "2" })).await?;
        offer(json!({ "a": "1", "b/x": "2" }), json!({ "gateherald.io/inject-labels": "b/*" })).await?;
        until_labels(shop, "gw", &json!({ "b/x": "2" })).await?;
        offer(json!({ "a": "1", "b/x": "2" }), json!({ "gateherald.io/inject": "false" })).await?;
        let after = until_labels(shop, "gw", &json!({})).await?;
        assert!(!after.annotations().contains_key(MEMORY));
        offer(json!({ "a": "1" }), json!({})).await?;
        until_labels(shop, "gw", &json!({ "a": "1" })).await?;
        Ok(())
    })
}

#[test]
fn a_user_who_removes_an_injected_label_is_told_how_to_opt_out() -> anyhow::Result<()> {
    with_webhook("warning", async |shop| {
        let gateway = shop.gateway("gw", &json!({ "labels": { "mdhlabs-arp": "enable" } })).await?;
        shop.create("gw", &owned_by(&gateway)?).await?;
        let told = shop
            .lab
            .control_plane()
            .kubectl_warnings(&["label", "service", "-n", &shop.namespace, "gw", "mdhlabs-arp-"])
            .await?;
        let warning = "Warning: Gateherald put back mdhlabs-arp of the Gateway; opt out: annotation gateherald.io/inject=false";
        assert!(told.contains(warning), "{told}");
        assert_eq!(labels(&shop.services().get("gw").await?), json!({ "mdhlabs-arp": "enable" }));
        Ok(())
    })
}

#[test]
fn annotations_without_room_for_the_memory_cost_labels_but_not_the_service() -> anyhow::Result<()> {
    with_webhook("full", async |shop| {
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        let mut metadata = owned_by(&gateway)?;
        metadata["annotations"] = json!({ "k": "v".repeat(262_144 - 1) });
        let service = shop.create("full", &metadata).await?;
        assert_eq!(labels(&service), json!({}));
        // One byte more is what the API server itself refuses.
        metadata["annotations"] = json!({ "k": "v".repeat(262_144) });
        assert!(shop.create("fuller", &metadata).await.is_err());
        Ok(())
    })
}

#[test]
fn the_status_subresource_never_reaches_the_webhook() -> anyhow::Result<()> {
    with_webhook("status", async |shop| {
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        let mut metadata = owned_by(&gateway)?;
        // Without its label, so that a call would show.
        metadata["annotations"] = json!({ "gateherald.io/inject": "false" });
        shop.create("status", &metadata).await?;
        let address = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } } });
        patch(shop, "status", json!({ "spec": { "type": "LoadBalancer" } })).await?;
        shop.services().patch_status("status", &PatchParams::default(), &Patch::Merge(&address)).await?;
        let annotations = async |subresource: Value| -> anyhow::Result<BTreeMap<String, String>> {
            let record = shop
                .audit_record(|record| {
                    record["verb"] == "patch"
                        && record["objectRef"]["name"] == "status"
                        && record["objectRef"]["subresource"] == subresource
                })
                .await?;
            serde_json::from_value(record["annotations"].clone()).context("annotations")
        };
        let ours =
            |annotations: &BTreeMap<String, String>| annotations.keys().any(|key| key.contains("gateherald"));
        assert!(ours(&annotations(Value::Null).await?));
        assert!(!ours(&annotations(json!("status")).await?));
        Ok(())
    })
}
