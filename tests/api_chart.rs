// SPDX-License-Identifier: Apache-2.0
//! The chart as it is rendered: accepted by a real API server whatever the values, and strict about them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use gateherald_lab::chart::{self, files, readme};
use gateherald_lab::helm3::Extras;
use gateherald_lab::{ControlPlane, Options};
use serde_json::{Value, json};

const ELSEWHERE: &str = "elsewhere";

/// The value sets of `tests/values`, by name; together they use every switch.
fn value_sets() -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let directory = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/values"))?;
    directory
        .map(|entry| {
            let path = entry?.path();
            let name = path.file_stem().context("a file without a name")?.to_string_lossy().into_owned();
            Ok((name, path))
        })
        .collect()
}

/// `helm template` by either Helm.
async fn render(
    plane: &ControlPlane,
    three: bool,
    namespace: &str,
    values: &Path,
    more: &[&str],
) -> anyhow::Result<String> {
    let (directory, values) = (chart::directory(), values.to_string_lossy());
    let directory = directory.to_string_lossy();
    let usual = ["template", chart::RELEASE, &*directory, "--namespace", namespace, "--values", &*values];
    let args = [&usual[..], more].concat();
    if three { plane.helm3(&args).await } else { plane.helm(&args).await }
}

fn documents(text: &str) -> BTreeSet<&str> {
    text.split("\n---\n")
        .map(|part| part.trim().trim_start_matches("---\n"))
        .filter(|part| !part.is_empty())
        .collect()
}

#[test]
fn whatever_the_values_both_helms_render_alike_and_the_api_server_accepts_it_strictly() -> anyhow::Result<()>
{
    gateherald_lab::run_alone(&Options { chart: None, ..Options::default() }, async |lab| {
        let plane = lab.control_plane();
        let extras = tokio::task::spawn_blocking(Extras::prepare).await??;
        for definition in &extras.crds {
            plane.kubectl(&["apply", "--server-side", "-f", &definition.to_string_lossy()]).await?;
        }
        plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).await?;
        for namespace in [chart::NAMESPACE, ELSEWHERE] {
            plane.kubectl(&["create", "namespace", namespace]).await?;
            // A Pod is admitted only if its ServiceAccount is there, and a dry run makes none.
            for account in ["gateherald-self-test", "lan-self-test"] {
                plane.kubectl(&["create", "serviceaccount", "-n", namespace, account]).await?;
            }
        }
        let key = rcgen::KeyPair::generate()?;
        let ca = tempfile::NamedTempFile::new()?;
        fs::write(ca.path(), rcgen::CertificateParams::default().self_signed(&key)?.pem())?;
        let bundle = format!("webhook.certificates.provided.caBundle={}", ca.path().display());
        for (number, (name, values)) in value_sets()?.into_iter().enumerate() {
            let namespace = if number % 2 == 0 { chart::NAMESPACE } else { ELSEWHERE };
            let more = if name == "provided" { &["--set-file", &bundle][..] } else { &[] };
            let text = render(plane, false, namespace, &values, more).await.with_context(|| name.clone())?;
            let by_three =
                render(plane, true, namespace, &values, more).await.with_context(|| name.clone())?;
            assert_eq!(documents(&text), documents(&by_three), "{name}: Helm 3 and 4 differ");
            if documents(&text).is_empty() {
                assert_eq!(name, "neither");
                continue;
            }
            let dry = [
                "apply",
                "--server-side",
                "--force-conflicts",
                "--dry-run=server",
                "--validate=strict",
                "-f",
                "-",
            ];
            plane.kubectl_with_input(&dry, text).await.context(name)?;
        }
        Ok(())
    })
}

/// Values that are refused, and what the message must name.
fn nonsense_about_the_webhook() -> Vec<(Value, &'static str)> {
    vec![
        (json!({ "webhok": {} }), "'webhok' not allowed"),
        (json!({ "webhook": { "replica": 3 } }), "'replica' not allowed"),
        (json!({ "webhook": { "replicas": 0 } }), "/webhook/replicas"),
        (json!({ "webhook": { "replicas": "2" } }), "/webhook/replicas"),
        (json!({ "webhook": { "failurePolicy": "Fail" } }), "'failurePolicy' not allowed"),
        (json!({ "webhook": { "timeoutSeconds": 30 } }), "/webhook/timeoutSeconds"),
        (json!({ "webhook": { "reconcile": { "mode": "sometimes" } } }), "/webhook/reconcile/mode"),
        (json!({ "webhook": { "certificates": { "mode": "cert-manager" } } }), "/webhook/certificates/mode"),
        (
            json!({ "webhook": { "certificates": { "mode": "provided" } } }),
            "/webhook/certificates/provided/secretName",
        ),
        (
            json!({ "webhook": { "certificates": { "provided": { "caBundle": "LS0tLS1" } } } }),
            "/webhook/certificates/provided/caBundle",
        ),
        (
            json!({ "webhook": { "certificates": { "auto": { "caLifetime": "1 year" } } } }),
            "/webhook/certificates/auto/caLifetime",
        ),
        (
            json!({ "webhook": { "labelRules": { "labels": { "includes": ["*"] } } } }),
            "'includes' not allowed",
        ),
        (
            json!({ "webhook": { "labelRules": { "extractors": [{ "preset": "istio" }] } } }),
            "/webhook/labelRules/extractors/0",
        ),
        (
            json!({ "webhook": { "networkPolicy": { "apiServerCIDRs": ["10.0.0.1"] } } }),
            "/webhook/networkPolicy/apiServerCIDRs/0",
        ),
        (json!({ "webhook": { "podLabels": { "a": "not a label" } } }), "/webhook/podLabels/a"),
        (json!({ "webhook": { "extraArgs": ["log-level=debug"] } }), "/webhook/extraArgs/0"),
        (json!({ "webhook": { "resources": { "limit": {} } } }), "'limit' not allowed"),
    ]
}

fn nonsense_about_the_rest() -> Vec<(Value, &'static str)> {
    vec![
        (json!({ "image": { "webhook": { "digest": "latest" } } }), "/image/webhook/digest"),
        // What YAML makes of a bare `off`.
        (json!({ "announcer": { "duplicateAddressProbe": false } }), "/announcer/duplicateAddressProbe"),
        (json!({ "announcer": { "leaderRenewPeriod": "5s" } }), "/announcer/leaderRenewPeriod"),
        (json!({ "image": { "pullSecrets": ["pull"] } }), "/image/pullSecrets/0"),
        (json!({ "announcer": { "policies": { "Bad_Name": { "loadBalancerIPs": true } } } }), "Bad_Name"),
        (json!({ "announcer": { "policies": { "p": {} } } }), "/announcer/policies/p"),
        (json!({ "announcer": { "policies": { "p": { "externalIPs": true } } } }), "addresses"),
        (
            json!({ "announcer": { "policies": { "p": { "loadBalancerIPs": true, "interface": "eth0" } } } }),
            "'interface' not allowed",
        ),
        (json!({ "announcer": { "rebalance": false } }), "/announcer/rebalance"),
        (json!({ "announcer": { "renewPeriod": "1m" } }), "/announcer/renewPeriod"),
        (json!({ "announcer": { "externalIpCidrs": "10.0.0.0/8" } }), "/announcer/externalIpCidrs"),
        (json!({ "announcer": { "maxUnavailable": 0 } }), "/announcer/maxUnavailable"),
        (
            json!({ "metrics": { "podMonitor": { "components": ["cli"] } } }),
            "/metrics/podMonitor/components/0",
        ),
        (json!({ "fullnameOverride": "Has_Capitals" }), "/fullnameOverride"),
        (json!({ "extraObjects": [{ "kind": "ConfigMap" }] }), "/extraObjects/0"),
    ]
}

#[test]
fn values_that_make_no_sense_are_refused_by_name() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        for (values, part) in [nonsense_about_the_webhook(), nonsense_about_the_rest()].concat() {
            let file = tempfile::NamedTempFile::new()?;
            fs::write(file.path(), values.to_string())?;
            for three in [false, true] {
                let refused = render(lab.control_plane(), three, chart::NAMESPACE, file.path(), &[]).await;
                let error = refused.err().with_context(|| format!("{values} was taken"))?.to_string();
                assert!(error.contains(part), "{values}: {error}");
            }
        }
        Ok(())
    })
}

#[test]
fn an_old_kubernetes_is_refused_and_a_distributions_version_is_not() -> anyhow::Result<()> {
    let defaults = value_sets()?.remove("defaults").context("no value set `defaults`")?;
    gateherald_lab::run(async |lab| {
        for three in [false, true] {
            let with = async |version: &str| {
                let version = ["--kube-version", version];
                render(lab.control_plane(), three, chart::NAMESPACE, &defaults, &version).await
            };
            let error = with("v1.30.14").await.err().context("1.30 was taken")?.to_string();
            assert!(error.contains("requires kubeVersion: >=1.31.0-0"), "{error}");
            for version in ["v1.31.0", "v1.31.4+k3s1", "v1.33.5-gke.1080000"] {
                with(version).await.context(version)?;
            }
        }
        Ok(())
    })
}

#[test]
fn the_entry_of_the_registration_keeps_its_name_for_ever() -> anyhow::Result<()> {
    // Helm applies a renamed entry beside the one whose caBundle the program owns, and fails.
    let golden = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/chart-defaults.yaml"))?;
    let registration =
        golden.split("\n---\n").find(|part| part.contains("kind: MutatingWebhookConfiguration"));
    let registration = registration.context("no registration")?;
    assert_eq!(registration.matches("\n  - name: services.gateherald.io\n").count(), 1);
    assert_eq!(registration.matches("\n    clientConfig:").count(), 1, "one entry");
    assert!(registration.contains("\n  name: gateherald-webhook\n"));
    assert!(
        !registration.contains("caBundle:"),
        "an empty caBundle fights with the program at every upgrade"
    );
    Ok(())
}

#[test]
fn the_images_are_named_in_the_values_and_artifact_hub_is_told_the_same() -> anyhow::Result<()> {
    let golden = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/chart-defaults.yaml"))?;
    let about = fs::read_to_string(chart::directory().join("Chart.yaml"))?;
    let images = |text: &str| {
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix("image: ").map(str::to_owned));
        lines.collect::<BTreeSet<String>>()
    };
    assert_eq!(images(&golden).len(), 2);
    assert_eq!(images(&golden), images(&about));
    Ok(())
}

#[test]
fn readme_and_rendered_defaults_are_those_of_the_chart() -> anyhow::Result<()> {
    for files::Made { path, text } in files::made()? {
        let present = fs::read_to_string(&path).unwrap_or_default();
        assert!(present == text, "{} is not what the chart makes of it: run `make chart`", path.display());
    }
    Ok(())
}

#[test]
fn every_value_has_a_comment_and_a_described_place_in_the_schema() -> anyhow::Result<()> {
    let directory = chart::directory();
    let schema: Value = serde_json::from_str(&fs::read_to_string(directory.join("values.schema.json"))?)?;
    let place = |path: &str| {
        let keys = path.split('.').map(|key| format!("/properties/{key}"));
        schema.pointer(&keys.collect::<String>()).cloned()
    };
    for value in readme::parse(&fs::read_to_string(directory.join("values.yaml"))?) {
        let entry = place(&value.path).with_context(|| format!("{} is not in the schema", value.path))?;
        assert!(entry["description"].as_str().is_some_and(|text| !text.is_empty()), "{}", value.path);
        assert!(value.group || !value.comment.is_empty(), "{} has no comment", value.path);
    }
    let mut open = Vec::new();
    strict(&schema, "", &mut open);
    assert!(open.is_empty(), "objects that take any key: {open:?}");
    Ok(())
}

/// Collects objects with properties that would swallow a key by another name.
fn strict(schema: &Value, path: &str, open: &mut Vec<String>) {
    let conditional = path.contains("/then") || path.contains("/if");
    if schema.get("properties").is_some() && schema["additionalProperties"] != json!(false) && !conditional {
        open.push(path.to_owned());
    }
    match schema {
        Value::Object(map) => {
            for (key, child) in map {
                strict(child, &format!("{path}/{key}"), open);
            }
        }
        Value::Array(list) => {
            for (index, child) in list.iter().enumerate() {
                strict(child, &format!("{path}/{index}"), open);
            }
        }
        _ => {}
    }
}

#[test]
fn every_alert_has_a_chapter_and_every_metric_asked_for_exists() -> anyhow::Result<()> {
    let directory = chart::directory();
    let alerts = fs::read_to_string(directory.join("files/alerts.yaml"))?;
    let docs = |name: &str| fs::read_to_string(directory.join("../../docs").join(name));
    let (chapters, metrics) = (docs("alerts.md")?, docs("metrics.md")?);
    let named: BTreeSet<&str> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let told: BTreeSet<&str> = chapters.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(named, told);
    let dashboard = fs::read_to_string(directory.join("files/dashboard.json"))?;
    serde_json::from_str::<Value>(&dashboard)?;
    let words = |text: &str| {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(str::to_owned);
        words
            .filter(|word| word.starts_with("gateherald_") || word.starts_with("process_"))
            .collect::<BTreeSet<_>>()
    };
    for asked in words(&alerts).union(&words(&dashboard)) {
        let name = asked.strip_suffix("_bucket").unwrap_or(asked);
        assert!(metrics.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
    }
    Ok(())
}
