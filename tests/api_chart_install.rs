// SPDX-License-Identifier: Apache-2.0
//! The chart as it is installed, upgraded and removed by Helm 3, Helm 4 and kubectl.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, ensure};
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::programs::program;
use gateherald_lab::{Lab, Options, chart, run_alone};
use gateherald_tests::certificates::live_bundle;
use serde_json::{Value, json};
use tempfile::TempDir;

const BARE: Options =
    Options { gateway_api: true, cilium_policies: true, machines: false, chart: None, fsync: false };
const POLICIES: &str = "gateherald-policies";

/// A chart that can be changed, and the Helm to install it with.
struct Helm<'a> {
    lab: &'a Lab,
    three: bool,
    chart: TempDir,
}

impl<'a> Helm<'a> {
    /// Without what a kubelet would have to run.
    fn new(lab: &'a Lab, three: bool) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        chart::without_workloads(directory.path())?;
        Ok(Self { lab, three, chart: directory })
    }

    async fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let plane = self.lab.control_plane();
        if self.three { plane.helm3(args).await } else { plane.helm(args).await }
    }

    /// Installs or upgrades a release in a namespace of the same name.
    async fn upgrade(&self, release: &str, values: &Value, more: &[&str]) -> anyhow::Result<String> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), values.to_string())?;
        let (path, file) = (self.chart.path().to_string_lossy(), file.path().to_string_lossy());
        let usual =
            ["upgrade", "--install", release, &*path, "-n", release, "--create-namespace", "-f", &*file];
        self.run(&[&usual[..], more].concat()).await
    }

    async fn uninstall(&self, release: &str) -> anyhow::Result<()> {
        self.run(&["uninstall", release, "-n", release, "--wait"]).await.map(drop)
    }

    fn change(&self, template: &str, edit: impl FnOnce(String) -> String) -> anyhow::Result<()> {
        let path = self.chart.path().join("templates").join(template);
        let text = fs::read_to_string(&path)?;
        let changed = edit(text.clone());
        ensure!(changed != text, "{template} did not change");
        fs::write(path, changed)?;
        Ok(())
    }
}

/// Runs one of our programs beside the API server, as a ServiceAccount of the release.
async fn ours(lab: &Lab, name: &str, account: &str, args: &[&str]) -> anyhow::Result<Output> {
    let plane = lab.control_plane();
    let kubeconfig = plane.kubeconfig_of(chart::NAMESPACE, account).await?;
    let mut command = Command::new(program(name)?);
    command
        .args(["--namespace", chart::NAMESPACE, "--log-format", "text", "--kubeconfig"])
        .arg(kubeconfig)
        .args(args);
    let netns = plane.netns().clone();
    tokio::task::spawn_blocking(move || netns.output(command)).await?
}

fn log(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn excluded(lab: &Lab) -> anyhow::Result<String> {
    let path = "jsonpath={.webhooks[0].namespaceSelector.matchExpressions[0].values}";
    lab.kubectl(&["get", "mutatingwebhookconfiguration", "gateherald-webhook", "-o", path]).await
}

#[test]
fn an_upgrade_keeps_the_bundle_even_of_a_chart_that_orders_the_fields_otherwise() -> anyhow::Result<()> {
    run_alone(&BARE, async |lab| {
        for three in [false, true] {
            let helm = Helm::new(lab, three)?;
            helm.upgrade(chart::NAMESPACE, &json!({}), &[]).await?;
            let webhook = lab.run_webhook(&[]).await?;
            let bundle = live_bundle(lab).await?;
            assert!(bundle.contains("BEGIN CERTIFICATE"));

            helm.upgrade(chart::NAMESPACE, &json!({ "webhook": { "excludedNamespaces": ["one"] } }), &[])
                .await?;
            assert_eq!(excluded(lab).await?, format!(r#"["{}","one"]"#, chart::NAMESPACE));
            assert_eq!(live_bundle(lab).await?, bundle, "Helm 3: {three}");

            helm.change("webhook/registration.yaml", |text| {
                let text = text.replace("    failurePolicy: Ignore\n    sideEffects: None\n", "    sideEffects: None\n");
                let name = "  - name: services.gateherald.io\n    admissionReviewVersions: [v1]\n";
                text.replace(name, "  - failurePolicy: Ignore\n    admissionReviewVersions: [v1]\n    name: services.gateherald.io\n")
            })?;
            helm.upgrade(chart::NAMESPACE, &json!({ "webhook": { "excludedNamespaces": ["two"] } }), &[])
                .await?;
            assert_eq!(excluded(lab).await?, format!(r#"["{}","two"]"#, chart::NAMESPACE));
            assert_eq!(live_bundle(lab).await?, bundle, "Helm 3: {three}");
            webhook.stop().await?;
            helm.uninstall(chart::NAMESPACE).await?;
        }
        Ok(())
    })
}

#[test]
fn policies_come_with_the_first_installation_change_with_the_values_and_go_with_the_release()
-> anyhow::Result<()> {
    run_alone(&BARE, async |lab| {
        for three in [false, true] {
            let helm = Helm::new(lab, three)?;
            let with = |policies: Value| json!({ "webhook": { "enabled": false }, "announcer": { "policies": policies } });
            let first = json!({ "kept": { "loadBalancerIPs": true }, "dropped": { "loadBalancerIPs": true, "interfaces": ["ens18"] } });
            helm.upgrade(chart::NAMESPACE, &with(first), &[]).await?;
            apply_policies(lab).await?;
            assert_eq!(policies(lab).await?, "dropped kept");
            let spec = ["get", "ghl2", "dropped", "-o", "jsonpath={.spec.interfaces}"];
            assert_eq!(lab.kubectl(&spec).await?, r#"["ens18"]"#);

            let second = json!({ "kept": { "loadBalancerIPs": true, "interfaces": ["eth0"] } });
            helm.upgrade(chart::NAMESPACE, &with(second), &[]).await?;
            apply_policies(lab).await?;
            assert_eq!(policies(lab).await?, "kept");
            let spec = ["get", "ghl2", "kept", "-o", "jsonpath={.spec.interfaces}"];
            assert_eq!(lab.kubectl(&spec).await?, r#"["eth0"]"#);

            // Without policies in the values their ClusterRole goes, and with it they do; as they do with the release.
            helm.upgrade(chart::NAMESPACE, &with(json!({})), &[]).await?;
            until_policies(lab, "").await?;
            helm.upgrade(chart::NAMESPACE, &with(json!({ "again": { "loadBalancerIPs": true } })), &[])
                .await?;
            apply_policies(lab).await?;
            assert_eq!(policies(lab).await?, "again");
            helm.uninstall(chart::NAMESPACE).await?;
            until_policies(lab, "").await?;
            let left = [
                "get",
                "clusterrole,clusterrolebinding,crd,flowschema,mutatingwebhookconfiguration",
                "-o",
                "name",
                "-l",
                "app.kubernetes.io/part-of=gateherald",
            ];
            assert_eq!(
                lab.kubectl(&left).await?.trim(),
                "customresourcedefinition.apiextensions.k8s.io/l2announcementpolicies.gateherald.io"
            );
        }
        Ok(())
    })
}

async fn apply_policies(lab: &Lab) -> anyhow::Result<()> {
    let output = try_policies(lab).await?;
    ensure!(output.status.success(), "{}", log(&output));
    Ok(())
}

/// What the chart's Job does.
async fn try_policies(lab: &Lab) -> anyhow::Result<Output> {
    let path = "jsonpath={.data.policies\\.json}";
    let text = lab.kubectl(&["get", "configmap", "-n", chart::NAMESPACE, POLICIES, "-o", path]).await?;
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), text)?;
    let file = file.path().to_string_lossy();
    let args =
        ["--node-name", "any", "apply-policies", "--owner", POLICIES, "--timeout", "20", "--file", &*file];
    ours(lab, "gateherald-announcer", POLICIES, &args).await
}

async fn policies(lab: &Lab) -> anyhow::Result<String> {
    lab.kubectl(&["get", "ghl2", "-o", "jsonpath={.items[*].metadata.name}"]).await
}

async fn until_policies(lab: &Lab, expected: &str) -> anyhow::Result<()> {
    until("the garbage collector", LONG, async || {
        let found = policies(lab).await?;
        Ok(if found == expected { Look::Found(()) } else { Look::NotYet(found) })
    })
    .await
}

#[test]
fn a_policy_that_cannot_be_taken_and_one_of_somebody_else_are_named() -> anyhow::Result<()> {
    run_alone(&BARE, async |lab| {
        let helm = Helm::new(lab, false)?;
        let with = |policies: Value| json!({ "announcer": { "policies": policies } });
        let bad = json!({ "wrong": { "externalIPs": true, "addresses": [] } });
        helm.upgrade(chart::NAMESPACE, &with(bad), &[]).await?;
        let output = try_policies(lab).await?;
        assert_eq!(output.status.code(), Some(1));
        let told = log(&output);
        assert!(
            told.contains("announcer.policies.wrong") && told.contains("externalIPs needs addresses"),
            "{told}"
        );

        lab.apply("{apiVersion: gateherald.io/v1alpha1, kind: L2AnnouncementPolicy, metadata: {name: theirs}, spec: {loadBalancerIPs: true}}")
            .await?;
        helm.upgrade(chart::NAMESPACE, &with(json!({ "theirs": { "loadBalancerIPs": true } })), &[]).await?;
        let output = try_policies(lab).await?;
        assert_eq!(output.status.code(), Some(1));
        let told = log(&output);
        assert!(
            told.contains("theirs is there already") && told.contains("kubectl label ghl2 theirs"),
            "{told}"
        );

        lab.kubectl(&["label", "ghl2", "theirs", "gateherald.io/applied-by=gateherald-policies"]).await?;
        apply_policies(lab).await?;
        Ok(())
    })
}

#[test]
fn one_apply_by_kubectl_installs_everything_on_an_empty_cluster_and_a_second_changes_nothing()
-> anyhow::Result<()> {
    run_alone(&BARE, async |lab| {
        let plane = lab.control_plane();
        let directory = chart::directory();
        let directory = directory.to_string_lossy();
        let policies = "announcer.policies.first.loadBalancerIPs=true";
        let args = [
            "template",
            chart::RELEASE,
            &*directory,
            "-n",
            chart::NAMESPACE,
            "--set",
            policies,
            "--skip-tests",
        ];
        let text = plane.helm(&args).await?;
        lab.kubectl(&["create", "namespace", chart::NAMESPACE]).await?;
        plane.kubectl_with_input(&["apply", "-f", "-"], text.clone()).await?;
        let again = plane.kubectl_with_input(&["apply", "-f", "-"], text).await?;
        let changed: Vec<&str> = again.lines().filter(|line| !line.ends_with(" unchanged")).collect();
        // kubectl replaces a PodDisruptionBudget's selector, and so says "configured" each time, whatever it is.
        assert_eq!(changed, ["poddisruptionbudget.policy/gateherald-webhook configured"]);
        apply_policies(lab).await?;
        assert_eq!(
            lab.kubectl(&["get", "ghl2", "-o", "name"]).await?.trim(),
            "l2announcementpolicy.gateherald.io/first"
        );
        Ok(())
    })
}

#[test]
fn a_second_installation_fails_by_name_while_the_components_may_be_two_releases() -> anyhow::Result<()> {
    run_alone(&BARE, async |lab| {
        for three in [false, true] {
            let helm = Helm::new(lab, three)?;
            let only = |on: &str, off: &str| json!({ on: { "enabled": true }, off: { "enabled": false } });
            helm.upgrade("labels", &only("webhook", "announcer"), &[]).await?;
            helm.upgrade("addresses", &only("announcer", "webhook"), &[]).await?;
            for (values, role, release) in [
                (only("webhook", "announcer"), "gateherald-webhook", "labels"),
                (only("announcer", "webhook"), "gateherald-announcer", "addresses"),
            ] {
                let refused = helm.upgrade("again", &values, &["--set", "crds.enabled=false"]).await;
                let error = refused.err().context("a second installation was taken")?.to_string();
                for part in [role, "invalid ownership metadata", release] {
                    assert!(error.contains(part), "{error}");
                }
            }
            for release in ["labels", "addresses"] {
                helm.uninstall(release).await?;
            }
            // What stays of a release is the definition: one of another name takes it over, if told so.
            let values = only("announcer", "webhook");
            let refused = helm.upgrade("renamed", &values, &[]).await;
            let error = refused.err().context("a stranger's definition was taken over")?.to_string();
            assert!(error.contains("l2announcementpolicies.gateherald.io"), "{error}");
            helm.upgrade("renamed", &values, &["--take-ownership"]).await?;
            helm.uninstall("renamed").await?;
            helm.upgrade("addresses", &values, &["--take-ownership"]).await?;
            helm.uninstall("addresses").await?;
        }
        Ok(())
    })
}

#[test]
fn who_may_not_make_cluster_roles_is_told_so_and_nothing_is_left() -> anyhow::Result<()> {
    run_alone(&BARE, async |lab| {
        lab.kubectl(&["create", "namespace", chart::NAMESPACE]).await?;
        let bind = [
            "create",
            "rolebinding",
            "tenant",
            "-n",
            chart::NAMESPACE,
            "--clusterrole=admin",
            "--user=tenant",
        ];
        lab.kubectl(&bind).await?;
        for three in [false, true] {
            let helm = Helm::new(lab, three)?;
            let path = helm.chart.path().to_string_lossy().into_owned();
            let args = ["install", "gateherald", &path, "-n", chart::NAMESPACE, "--kube-as-user", "tenant"];
            let error = helm.run(&args).await.err().context("a tenant installed it")?.to_string();
            assert!(error.contains("forbidden") && error.contains("\"tenant\""), "{error}");
        }
        let roles = ["get", "clusterroles", "-o", "name", "-l", "app.kubernetes.io/part-of=gateherald"];
        assert_eq!(lab.kubectl(&roles).await?, "");
        Ok(())
    })
}

#[test]
fn without_gateway_api_it_installs_says_so_and_services_can_be_made() -> anyhow::Result<()> {
    let options = Options { gateway_api: false, cilium_policies: false, ..BARE };
    run_alone(&options, async |lab| {
        let notes = Helm::new(lab, false)?.upgrade(chart::NAMESPACE, &json!({}), &[]).await?;
        assert!(notes.contains("does not serve Gateway API"), "{notes}");
        assert!(
            notes.contains(&format!("kubectl label namespace {} pod-security", chart::NAMESPACE)),
            "{notes}"
        );
        lab.kubectl(&["create", "service", "clusterip", "free", "--tcp=80"]).await?;
        let webhook = lab.start_webhook(&[]).await?;
        until("the reason", LONG, async || {
            Ok(match webhook.get("/ready").await {
                Ok(answer) if answer.body.contains("waiting for the Gateway API CRDs") => Look::Found(()),
                Ok(answer) => Look::NotYet(answer.body),
                Err(error) => Look::NotYet(format!("{error:#}")),
            })
        })
        .await?;
        lab.kubectl(&["create", "service", "clusterip", "still-free", "--tcp=80"]).await.map(drop)
    })
}

#[test]
fn pod_security_restricted_takes_every_pod_but_the_announcers() -> anyhow::Result<()> {
    run_alone(&BARE, async |lab| {
        let label = "pod-security.kubernetes.io/enforce=restricted";
        lab.kubectl(&["create", "namespace", chart::NAMESPACE]).await?;
        lab.kubectl(&["label", "namespace", chart::NAMESPACE, label]).await?;
        let values = json!({ "announcer": { "policies": { "p": { "loadBalancerIPs": true } } } });
        Helm::new(lab, false)?.upgrade(chart::NAMESPACE, &values, &[]).await?;
        lab.kubectl(&["create", "serviceaccount", "-n", chart::NAMESPACE, "gateherald-self-test"]).await?;
        for (template, restricted) in [
            ("webhook/deployment.yaml", true),
            ("announcer/policies-job.yaml", true),
            ("tests/self-test-pod.yaml", true),
            ("announcer/daemonset.yaml", false),
        ] {
            let pod = pod_of(lab, template).await?;
            let create = ["create", "--dry-run=server", "-f", "-"];
            match lab.control_plane().kubectl_with_input(&create, pod).await {
                Ok(_) => assert!(restricted, "{template} was admitted: does the label work?"),
                Err(error) => {
                    assert!(
                        !restricted && error.to_string().contains("violates PodSecurity"),
                        "{template}: {error}"
                    );
                }
            }
        }
        Ok(())
    })
}

/// The pod that a controller would make from the template.
async fn pod_of(lab: &Lab, template: &str) -> anyhow::Result<String> {
    let directory = chart::directory();
    let (directory, show) = (directory.to_string_lossy(), format!("templates/{template}"));
    let set = ["--set", "announcer.policies.p.loadBalancerIPs=true"];
    let args = ["template", chart::RELEASE, &*directory, "-n", chart::NAMESPACE, "--show-only", &show];
    let text = lab.control_plane().helm(&[&args[..], &set].concat()).await?;
    let dry = ["create", "--dry-run=client", "-o", "json", "-f", "-"];
    let object: Value = serde_json::from_str(&lab.control_plane().kubectl_with_input(&dry, text).await?)?;
    let spec = if object["kind"] == "Pod" { &object["spec"] } else { &object["spec"]["template"]["spec"] };
    let metadata = json!({ "name": "as-made", "namespace": chart::NAMESPACE });
    Ok(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec }).to_string())
}

#[test]
fn the_self_test_passes_with_a_webhook_and_says_what_is_missing_without() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let plane = lab.control_plane();
        let directory = chart::directory();
        let template = show(&directory, "templates/tests/self-test.yaml");
        let template: Vec<&str> = template.iter().map(String::as_str).collect();
        let rights = plane.helm(&template).await?;
        plane.kubectl_with_input(&["apply", "-f", "-"], rights).await?;
        let test = async |args: &[&str]| {
            ours(lab, "gateherald-webhook", "gateherald-self-test", &[&["self-test"], args].concat()).await
        };
        let gateways = ["get", "gateways", "-A", "-o", "name"];

        let output = test(&["--gateway-namespace=default", "--timeout=3"]).await?;
        assert_eq!(output.status.code(), Some(1));
        assert!(log(&output).contains("did not call the webhook"), "{}", log(&output));
        assert_eq!(lab.kubectl(&gateways).await?, "", "it cleans up");

        let webhook = lab.run_webhook(&[]).await?;
        // One that a killed test left.
        lab.apply(
            "{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: gateherald-self-test, namespace: default}, \
             spec: {gatewayClassName: none, listeners: [{name: http, port: 80, protocol: HTTP}]}}",
        )
        .await?;
        let output = test(&["--gateway-namespace=default", "--timeout=60"]).await?;
        assert!(output.status.success(), "{}", log(&output));
        assert!(log(&output).contains("the Service of a Gateway gets its labels"));
        assert_eq!(lab.kubectl(&gateways).await?, "");
        let services = ["get", "services", "-n", "default", "-o", "jsonpath={.items[*].metadata.name}"];
        assert_eq!(lab.kubectl(&services).await?, "kubernetes");

        for (args, part) in [
            (&["--gateway-namespace=nowhere", "--timeout=1"][..], "RBAC does not allow to create gateways"),
            (&["--announcer=gateherald-announcer", "--timeout=1"], "daemonsets.apps"),
            (
                &["--gateway-namespace=default", "--label=helm.sh/chart", "--timeout=1"],
                "webhook.labelRules leave helm.sh/chart out",
            ),
            (&[], "nothing to test"),
        ] {
            let output = test(args).await?;
            assert_eq!(output.status.code(), Some(1), "{args:?}");
            assert!(log(&output).contains(part), "{args:?}: {}", log(&output));
        }
        webhook.stop().await
    })
}

fn show(directory: &Path, template: &str) -> Vec<String> {
    let path = directory.to_string_lossy().into_owned();
    let args = ["template", chart::RELEASE, &path, "-n", chart::NAMESPACE, "--show-only", template];
    args.map(str::to_owned).into()
}
