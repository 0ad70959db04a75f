// SPDX-License-Identifier: Apache-2.0
//! The administrator's rules in a running webhook: a file that changes, label pairs of controllers, namespaces in scope.

use std::path::Path;

use anyhow::Context;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::{Lab, Options, Webhook, chart, run_alone};
use gateherald_tests::gateways::{Shop, labels, owned_by, service};
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

const HEAD: &str = "apiVersion: config.gateherald.io/v1alpha1\nkind: LabelRules\n";

/// Starts a webhook with this rules file.
async fn webhook_with(lab: &Lab, file: &Path) -> anyhow::Result<Webhook> {
    let path = file.to_string_lossy();
    lab.run_webhook(&["--label-rules", &path]).await
}

/// What the chart puts into the file.
async fn rules_of_the_chart(lab: &Lab) -> anyhow::Result<String> {
    let path = "jsonpath={.data.rules\\.yaml}";
    let map = ["get", "configmap", "-n", chart::NAMESPACE, "gateherald-label-rules", "-o", path];
    lab.kubectl(&map).await
}

async fn config(webhook: &Webhook) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&webhook.get("/config").await?.body)?)
}

async fn until_config(
    webhook: &Webhook,
    what: &str,
    holds: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    until(what, LONG, async || {
        let config = config(webhook).await?;
        Ok(if holds(&config) { Look::Found(config) } else { Look::NotYet(config.to_string()) })
    })
    .await
}

#[test]
fn rules_change_while_the_webhook_runs_and_a_broken_file_keeps_the_last_good_ones() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("rules.yaml");
        std::fs::write(&file, format!("{HEAD}labels: {{exclude: [internal/*]}}"))?;
        let webhook = webhook_with(lab, &file).await?;
        let shop = Shop::open(lab, "rules").await?;
        let gateway = shop
            .gateway(
                "gw",
                &json!({
                    "labels": { "a": "1", "internal/x": "2" },
                    "annotations": { "example.com/cost": "7", "lbipam.cilium.io/ips": "192.0.2.1" },
                }),
            )
            .await?;
        let created = shop.create("before", &owned_by(&gateway)?).await?;
        assert_eq!(labels(&created), json!({ "a": "1" }));
        assert_eq!(created.annotations().get("example.com/cost"), None);
        assert_eq!(config(&webhook).await?["labelRules"]["labels"]["exclude"], json!(["internal/*"]));

        std::fs::write(&file, format!("{HEAD}labels: {{inclde: [x]}}"))?;
        let told = until_config(&webhook, "/config tells of the broken file", |config| {
            !config["labelRulesProblem"].is_null()
        })
        .await?;
        let problem = told["labelRulesProblem"].as_str().context("text")?;
        assert!(problem.contains("labels.inclde") && problem.contains("last good"), "{problem}");
        assert_eq!(told["labelRules"]["labels"]["exclude"], json!(["internal/*"]));
        let metrics = webhook.get("/metrics").await?.body;
        assert!(metrics.contains("gateherald_webhook_config_last_reload_successful 0"), "{metrics}");
        assert!(metrics.contains("gateherald_webhook_config_reload_failures_total 1"), "{metrics}");
        assert_eq!(labels(&shop.create("meanwhile", &owned_by(&gateway)?).await?), json!({ "a": "1" }));
        assert_eq!(webhook.get("/ready").await?.status, 200);

        // New annotations need another list of Gateways; when /config shows the rules, they decide.
        std::fs::write(&file, format!("{HEAD}annotations: {{include: ['*']}}"))?;
        until_config(&webhook, "the new rules are in force", |config| {
            config["labelRules"]["annotations"]["include"] == json!(["*"])
        })
        .await?;
        let created = shop.create("after", &owned_by(&gateway)?).await?;
        assert_eq!(labels(&created), json!({ "a": "1", "internal/x": "2" }));
        assert_eq!(created.annotations()["example.com/cost"], "7");
        assert_eq!(created.annotations().get("lbipam.cilium.io/ips"), None);
        Ok(())
    })
}

#[test]
fn a_broken_file_at_the_start_is_named_with_its_field() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("rules.yaml");
        std::fs::write(&file, format!("{HEAD}extractors: [{{preset: istio}}]"))?;
        let webhook = lab.start_webhook(&["--label-rules", &file.to_string_lossy()]).await?;
        let status = webhook.process().exited(LONG).await?;
        assert_eq!(status.code(), Some(1));
        let log = webhook.process().log();
        assert!(log.contains("extractors[0].preset: there is no preset"), "{log}");
        Ok(())
    })
}

#[test]
fn services_in_a_controllers_namespace_follow_the_gateway_that_their_labels_name() -> anyhow::Result<()> {
    let values = ["envoy-gateway", "contour"].into_iter().enumerate();
    let values =
        values.map(|(n, preset)| format!("webhook.labelRules.extractors[{n}].preset={preset}")).collect();
    let options = Options { chart: Some(values), ..Options::default() };
    run_alone(&options, async |lab| {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("rules.yaml");
        std::fs::write(&file, rules_of_the_chart(lab).await?)?;
        let _webhook = webhook_with(lab, &file).await?;
        let shop = Shop::open(lab, "prod").await?;
        shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        let envoy = json!({ "labels": {
            "gateway.envoyproxy.io/owning-gateway-name": "gw",
            "gateway.envoyproxy.io/owning-gateway-namespace": shop.namespace,
        } });
        lab.kubectl(&["create", "namespace", "envoy-gateway-system"]).await?;
        lab.kubectl(&["create", "namespace", "stranger"]).await?;
        for (namespace, expected) in [("envoy-gateway-system", Some("1")), ("stranger", None)] {
            let services: Api<k8s_openapi::api::core::v1::Service> = Api::namespaced(lab.client(), namespace);
            let created = services.create(&PostParams::default(), &service("envoy-gw", &envoy)?).await?;
            assert_eq!(created.labels().get("a").map(String::as_str), expected, "{namespace}");
        }
        let contour = json!({ "labels": { "gateway.networking.k8s.io/gateway-name": "gw" } });
        let created = shop.create("envoy-gw", &contour).await?;
        assert_eq!(created.labels().get("a").map(String::as_str), Some("1"));
        Ok(())
    })
}

#[test]
fn only_namespaces_in_scope_reach_the_webhook() -> anyhow::Result<()> {
    let values = vec![
        "webhook.namespaceSelector.matchLabels.shop=yes".to_owned(),
        "webhook.excludedNamespaces={kube-system,left-out}".to_owned(),
    ];
    let options = Options { chart: Some(values), ..Options::default() };
    run_alone(&options, async |lab| {
        let _webhook = lab.run_webhook(&[]).await?;
        let inside = Shop::unattended(lab, "inside").await?;
        lab.kubectl(&["label", "namespace", &inside.namespace, "shop=yes"]).await?;
        inside.until_labelled().await?;
        let outside = Shop::unattended(lab, "outside").await?;
        lab.kubectl(&["create", "namespace", "left-out"]).await?;
        lab.kubectl(&["label", "namespace", "left-out", chart::NAMESPACE, "shop=yes"]).await?;
        let shop = |namespace: &str| Shop { lab, namespace: namespace.to_owned() };
        for shop in [outside, shop("left-out"), shop(chart::NAMESPACE)] {
            let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
            let created = shop.create("gw", &owned_by(&gateway)?).await?;
            assert_eq!(labels(&created), json!({}), "{}", shop.namespace);
        }
        Ok(())
    })
}
