// SPDX-License-Identifier: Apache-2.0
//! The webhook when something is missing, dies or is taken away: Services are created all the same, and it heals.

use anyhow::Context;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::{Options, Webhook, chart, run_alone};
use gateherald_tests::certificates::{live_bundle, not_ready, secret, write_bundle};
use gateherald_tests::gateways::{Shop, labels, owned_by};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use nix::sys::signal::Signal;
use serde_json::json;

const OWNER: &str = "gateherald-owner";

async fn logged(webhook: &Webhook, text: &str) -> anyhow::Result<()> {
    webhook.process().log_line(LONG, |line| line.contains(text)).await.map(drop)
}

#[test]
fn a_killed_webhook_costs_labels_but_no_service_and_comes_back_with_its_ca() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let webhook = lab.run_webhook(&[]).await?;
        let shop = Shop::open(lab, "killed").await?;
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        assert_eq!(labels(&shop.create("before", &owned_by(&gateway)?).await?), json!({ "a": "1" }));

        let first = secret(lab).await?;
        webhook.process().kill().await?;
        // Its endpoint is still there: the API server calls, and finds nobody.
        assert_eq!(labels(&shop.create("meanwhile", &owned_by(&gateway)?).await?), json!({}));
        lab.kubectl(&["delete", "service", "-n", &shop.namespace, "before"]).await?;

        webhook.process().restart().await?;
        webhook.wait_ready().await?;
        shop.until_labelled().await?;
        assert_eq!(labels(&shop.create("after", &owned_by(&gateway)?).await?), json!({ "a": "1" }));
        let again = secret(lab).await?;
        assert_eq!((again.uid(), again.resource_version()), (first.uid(), first.resource_version()));
        Ok(())
    })
}

#[test]
fn two_replicas_share_one_ca_that_goes_with_the_release() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let (one, two) = tokio::try_join!(lab.start_webhook(&[]), lab.start_webhook(&[]))?;
        tokio::try_join!(one.wait_ready(), two.wait_ready())?;
        let secret = secret(lab).await?;
        let certificate = String::from_utf8(secret.data.as_ref().context("data")?["ca.crt"].0.clone())?;
        assert_eq!(live_bundle(lab).await?.trim(), certificate.trim());
        let owner = Api::<ConfigMap>::namespaced(lab.client(), chart::NAMESPACE).get(OWNER).await?;
        let references = secret.owner_references();
        assert_eq!(references.len(), 1);
        assert_eq!(
            (references[0].kind.as_str(), Some(&references[0].uid)),
            ("ConfigMap", owner.uid().as_ref())
        );
        Ok(())
    })
}

#[test]
fn a_wiped_ca_bundle_heals_and_anothers_ca_is_kept() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let _webhook = lab.run_webhook(&[]).await?;
        let shop = Shop::open(lab, "wiped").await?;
        let ours = live_bundle(lab).await?;
        let theirs = std::fs::read_to_string(lab.control_plane().ca())?;
        for left in ["", theirs.as_str()] {
            write_bundle(lab, left).await?;
            until("the CA bundle is back", LONG, async || {
                let live = live_bundle(lab).await?;
                let whole = live.contains(ours.trim()) && live.contains(left.trim());
                Ok(if whole { Look::Found(()) } else { Look::NotYet(live) })
            })
            .await?;
        }
        shop.until_labelled().await
    })
}

#[test]
fn missing_gateway_crds_are_waited_for() -> anyhow::Result<()> {
    let options = Options { gateway_api: false, ..Options::default() };
    run_alone(&options, async |lab| {
        let webhook = lab.start_webhook(&[]).await?;
        not_ready(&webhook, "waiting for the Gateway API CRDs (gateways.gateway.networking.k8s.io)").await?;
        lab.install_gateway_api().await?;
        webhook.wait_ready().await?;
        Shop::open(lab, "late").await?;
        Ok(())
    })
}

#[test]
fn missing_rights_are_named_by_verb_and_resource() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        for kind in ["clusterrolebinding", "rolebinding"] {
            lab.kubectl(&["delete", kind, "-n", chart::NAMESPACE, "gateherald-webhook"]).await?;
        }
        let webhook = lab.start_webhook(&[]).await?;
        not_ready(&webhook, "RBAC does not allow to list gateways.gateway.networking.k8s.io").await?;
        not_ready(&webhook, "RBAC does not allow to list secrets gateherald-system/gateherald-webhook-ca")
            .await?;
        logged(&webhook, "RBAC does not allow to list gateways.gateway.networking.k8s.io").await?;
        // The next upgrade repairs it, and that is noticed without a restart.
        chart::install(lab.control_plane(), &[]).await?;
        webhook.wait_ready().await
    })
}

#[test]
fn a_missing_release_is_named_and_noticed_when_it_comes() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        lab.kubectl(&["delete", "-n", chart::NAMESPACE, "configmap", OWNER]).await?;
        let webhook = lab.start_webhook(&[]).await?;
        not_ready(&webhook, "ConfigMap gateherald-system/gateherald-owner is missing").await?;
        chart::install(lab.control_plane(), &[]).await?;
        webhook.wait_ready().await
    })
}

#[test]
fn an_api_server_that_is_away_is_waited_for() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let webhook = lab.run_webhook(&[]).await?;
        let shop = Shop::open(lab, "away").await?;
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        let api_server = lab.control_plane().api_server();

        // Known Gateways stay known: it is ready all the time.
        api_server.kill().await?;
        logged(&webhook, "API server unreachable, cannot").await?;
        assert_eq!(webhook.get("/ready").await?.status, 200);
        // And one that starts now waits.
        webhook.process().kill().await?;
        webhook.process().restart().await?;
        not_ready(&webhook, "API server unreachable, cannot list gateways.gateway.networking.k8s.io").await?;
        assert_eq!(webhook.get("/live").await?.status, 200);
        api_server.restart().await?;
        lab.control_plane().wait_ready().await?;
        webhook.wait_ready().await?;
        shop.until_labelled().await?;
        assert_eq!(labels(&shop.create("gw", &owned_by(&gateway)?).await?), json!({ "a": "1" }));
        Ok(())
    })
}

#[test]
fn a_terminated_webhook_goes_in_order() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let webhook = lab.run_webhook(&["--drain-seconds", "300"]).await?;
        let shop = Shop::open(lab, "terminated").await?;
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        webhook.process().signal(Signal::SIGTERM)?;
        not_ready(&webhook, "shutting down").await?;
        // Still serving, for those who have not heard.
        assert_eq!(labels(&shop.create("late", &owned_by(&gateway)?).await?), json!({ "a": "1" }));
        // A second signal skips the rest of the drain.
        let status = webhook.process().terminate().await?;
        assert_eq!(status.code(), Some(0));
        let records = webhook.audit();
        assert!(records.iter().any(|record| record["service"] == format!("{}/late", shop.namespace)));
        Ok(())
    })
}
