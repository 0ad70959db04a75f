// SPDX-License-Identifier: Apache-2.0
//! The lab itself: the control plane, what the chart grants, and the stand-ins against a real API server.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gateherald_lab::patience::{self, LONG, Look};
use gateherald_lab::programs::program;
use gateherald_lab::standin::address_allocator::{self, Pool};
use gateherald_lab::standin::gateway_controller::{GatewayController, UpdateStyle, gateway_resource};
use gateherald_lab::{ControlPlane, Lab, Options};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::json;
use tokio::time::Instant;

async fn gateway(lab: &Lab, namespace: &str, name: &str) -> anyhow::Result<DynamicObject> {
    let api: Api<DynamicObject> = Api::namespaced_with(lab.client(), namespace, &gateway_resource());
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": { "name": name },
        "spec": {
            // No controller of this test watches the class.
            "gatewayClassName": "by-hand",
            "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP" }],
        },
    });
    Ok(api.patch(name, &PatchParams::apply("test"), &Patch::Apply(&gateway)).await?)
}

async fn can(plane: &ControlPlane, account: &str, what: &str) -> anyhow::Result<bool> {
    let user = format!("--as=system:serviceaccount:gateherald-system:{account}");
    let mut args = vec!["auth", "can-i", &user];
    args.extend(what.split_ascii_whitespace());
    Ok(plane.kubectl(&args).await.is_ok_and(|answer| answer.trim() == "yes"))
}

#[test]
fn the_chart_grants_what_the_programs_do_and_nothing_near_it() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let plane = lab.control_plane();
        let system = "-n gateherald-system";
        let table = [
            ("gateherald-webhook", "list gateways.gateway.networking.k8s.io -A".to_owned(), true),
            ("gateherald-webhook", "patch mutatingwebhookconfigurations/gateherald-webhook".to_owned(), true),
            ("gateherald-webhook", "patch mutatingwebhookconfigurations/other".to_owned(), false),
            ("gateherald-webhook", format!("update secrets/gateherald-webhook-ca {system}"), true),
            ("gateherald-webhook", format!("update secrets/other {system}"), false),
            ("gateherald-webhook", format!("watch secrets/gateherald-webhook-ca {system}"), true),
            ("gateherald-webhook", format!("watch secrets/other {system}"), false),
            ("gateherald-webhook", "create secrets -n default".to_owned(), false),
            ("gateherald-webhook", "patch services -A".to_owned(), true),
            ("gateherald-webhook", "update services -A".to_owned(), false),
            ("gateherald-webhook", "patch services --subresource=status -A".to_owned(), false),
            ("gateherald-webhook", "patch gateways.gateway.networking.k8s.io -A".to_owned(), false),
            ("gateherald-announcer", "watch services -A".to_owned(), true),
            ("gateherald-announcer", "get services -A".to_owned(), false),
            ("gateherald-announcer", "patch services -A".to_owned(), false),
            ("gateherald-announcer", "list endpointslices.discovery.k8s.io -A".to_owned(), true),
            ("gateherald-announcer", "watch endpointslices.discovery.k8s.io -A".to_owned(), true),
            ("gateherald-announcer", "get endpointslices.discovery.k8s.io -A".to_owned(), false),
            ("gateherald-announcer", "update endpointslices.discovery.k8s.io -A".to_owned(), false),
            ("gateherald-announcer", "list endpoints -A".to_owned(), false),
            ("gateherald-announcer", "list pods -A".to_owned(), false),
            ("gateherald-announcer", "watch l2announcementpolicies.gateherald.io".to_owned(), true),
            ("gateherald-announcer", "watch ciliuml2announcementpolicies.cilium.io".to_owned(), true),
            ("gateherald-announcer", format!("update leases.coordination.k8s.io {system}"), true),
            ("gateherald-announcer", format!("get leases.coordination.k8s.io {system}"), false),
            ("gateherald-announcer", "update leases.coordination.k8s.io -n kube-system".to_owned(), false),
            (
                "gateherald-announcer",
                format!("get leases.coordination.k8s.io/gateherald-announcer-leader {system}"),
                true,
            ),
            (
                "gateherald-announcer",
                "patch l2announcementpolicies.gateherald.io --subresource=status".to_owned(),
                true,
            ),
            (
                "gateherald-announcer",
                "update l2announcementpolicies.gateherald.io --subresource=status".to_owned(),
                false,
            ),
            ("gateherald-announcer", "patch l2announcementpolicies.gateherald.io".to_owned(), false),
            (
                "gateherald-announcer",
                "patch ciliuml2announcementpolicies.cilium.io --subresource=status".to_owned(),
                false,
            ),
            ("gateherald-announcer", "create events.events.k8s.io -A".to_owned(), true),
            ("gateherald-announcer", "patch events.events.k8s.io -A".to_owned(), true),
            ("gateherald-announcer", "list events.events.k8s.io -A".to_owned(), false),
            ("gateherald-announcer", "patch nodes".to_owned(), false),
            ("gateherald-announcer", "get secrets -A".to_owned(), false),
        ];
        for (account, what, expected) in &table {
            assert_eq!(can(plane, account, what).await?, *expected, "{account}: {what}");
        }
        Ok(())
    })
}

#[test]
fn the_registration_carries_no_ca_bundle_and_another_install_leaves_a_live_one_alone() -> anyhow::Result<()> {
    gateherald_lab::run_alone(&Options::default(), async |lab| {
        let read = async || -> anyhow::Result<String> {
            let path = "jsonpath={.webhooks[0].clientConfig.caBundle}";
            lab.kubectl(&["get", "mutatingwebhookconfiguration", "gateherald-webhook", "-o", path]).await
        };
        assert_eq!(read().await?, "");
        let ca = std::fs::read(lab.control_plane().ca())?;
        let bundle = BASE64_STANDARD.encode(ca);
        lab.apply(&format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration\n\
             metadata: {{ name: gateherald-webhook }}\n\
             webhooks: [{{ name: services.gateherald.io, clientConfig: {{ caBundle: {bundle} }} }}]"
        ))
        .await?;
        gateherald_lab::chart::install(lab.control_plane(), &["webhook.excludedNamespaces={elsewhere}"])
            .await?;
        assert_eq!(read().await?, bundle);
        let path = "jsonpath={.webhooks[0].namespaceSelector.matchExpressions[0].values}";
        let excluded =
            lab.kubectl(&["get", "mutatingwebhookconfiguration", "gateherald-webhook", "-o", path]).await?;
        assert_eq!(excluded, r#"["gateherald-system","elsewhere"]"#);
        Ok(())
    })
}

#[test]
fn the_gateway_controller_stand_in_merges_labels_and_replaces_the_spec() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let namespace = lab.namespace("merge").await?;
        let gateway = gateway(lab, &namespace, "gw").await?;
        let controller = GatewayController::new(lab.client(), UpdateStyle::MergeLabels);
        let created = controller.reconcile(&gateway).await?;
        assert_eq!(created.metadata.name.as_deref(), Some("cilium-gateway-gw"));
        let services: Api<Service> = Api::namespaced(lab.client(), &namespace);
        let change = json!({
            "metadata": { "labels": { "kept": "yes", "io.cilium.gateway/owning-gateway": "mangled" } },
            "spec": { "externalIPs": ["203.0.113.1"] },
        });
        services.patch("cilium-gateway-gw", &PatchParams::default(), &Patch::Merge(&change)).await?;
        let labels = controller.reconcile(&gateway).await?;
        let spec = labels.spec.clone().context("spec")?;
        let labels = labels.metadata.labels.context("labels")?;
        assert_eq!(labels["kept"], "yes");
        assert_eq!(labels["io.cilium.gateway/owning-gateway"], "gw");
        assert_eq!(spec.external_ips, None);
        assert_eq!(
            spec.cluster_ip,
            created.spec.context("spec")?.cluster_ip,
            "a cluster IP is kept by the API server"
        );
        Ok(())
    })
}

#[test]
fn the_other_update_styles_drop_a_label_that_is_not_theirs_or_leave_it_as_documented() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let table = [
            (UpdateStyle::MergeLabels, true),
            (UpdateStyle::ReplaceLabels, false),
            (UpdateStyle::Apply, true),
            (UpdateStyle::Put, false),
        ];
        for (style, kept) in table {
            let namespace = lab.namespace("style").await?;
            let gateway = gateway(lab, &namespace, "gw").await?;
            let controller = GatewayController::new(lab.client(), style);
            controller.reconcile(&gateway).await?;
            let label = ["label", "service", "cilium-gateway-gw", "-n", &namespace, "by-hand=1"];
            lab.kubectl(&label).await?;
            let labels = controller.reconcile(&gateway).await?.metadata.labels.context("labels")?;
            assert_eq!(labels.contains_key("by-hand"), kept, "{style:?}");
            assert_eq!(labels["gateway.networking.k8s.io/gateway-name"], "gw", "{style:?}");
        }
        Ok(())
    })
}

#[test]
fn a_generated_service_is_made_again_and_goes_with_its_gateway() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let namespace = lab.namespace("again").await?;
        let class = format!("class-{namespace}");
        let _controller = GatewayController::new(lab.client(), UpdateStyle::MergeLabels).run(&class);
        let gateway = format!(
            "{{ apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{ name: gw, namespace: {namespace} }},\
             spec: {{ gatewayClassName: {class}, listeners: [{{ name: http, port: 80, protocol: HTTP }}] }} }}"
        );
        lab.apply(&gateway).await?;
        let accepted = ["wait", "--for=condition=Accepted", "gateway/gw", "-n", &namespace, "--timeout=60s"];
        lab.kubectl(&accepted).await?;
        let services: Api<Service> = Api::namespaced(lab.client(), &namespace);
        let uid = async |other_than: Option<String>| {
            patience::until("the generated Service", LONG, async || {
                let uid =
                    services.get_opt("cilium-gateway-gw").await?.and_then(|service| service.metadata.uid);
                Ok(match uid {
                    Some(uid) if Some(&uid) != other_than.as_ref() => Look::Found(uid),
                    uid => Look::NotYet(format!("{uid:?}")),
                })
            })
            .await
        };
        let first = uid(None).await?;
        lab.kubectl(&["delete", "service", "-n", &namespace, "cilium-gateway-gw"]).await?;
        uid(Some(first)).await?;
        lab.kubectl(&["delete", "gateway", "-n", &namespace, "gw"]).await?;
        patience::until("the garbage collector", LONG, async || {
            Ok(match services.get_opt("cilium-gateway-gw").await? {
                None => Look::Found(()),
                Some(_) => Look::NotYet("still there".to_owned()),
            })
        })
        .await
    })
}

#[test]
fn the_allocator_stand_in_writes_the_status_by_the_labels_at_creation() -> anyhow::Result<()> {
    gateherald_lab::run_alone(&Options { chart: None, ..Options::default() }, async |lab| {
        let (low, high) = ("192.168.99.100".parse()?, "192.168.99.128".parse()?);
        let pools = vec![
            Pool::new("default", low, low, None),
            Pool::new("arp", high, high, Some(("mdhlabs-arp", "enable"))),
        ];
        let _allocator = address_allocator::run(lab.client(), pools);
        let services: Api<Service> = Api::namespaced(lab.client(), "default");
        for (name, labels, expected) in [
            ("plain", BTreeMap::new(), "192.168.99.100"),
            ("labelled", BTreeMap::from([("mdhlabs-arp", "enable")]), "192.168.99.128"),
        ] {
            let service = json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": { "name": name, "labels": labels },
                "spec": { "type": "LoadBalancer", "ports": [{ "port": 80 }] },
            });
            services.patch(name, &PatchParams::apply("test"), &Patch::Apply(&service)).await?;
            let given = patience::until("an address", LONG, async || {
                let service = serde_json::to_value(services.get(name).await?)?;
                let ingress = service["status"]["loadBalancer"]["ingress"][0].clone();
                Ok(if ingress.is_null() { Look::NotYet("none".to_owned()) } else { Look::Found(ingress) })
            })
            .await?;
            assert_eq!(given, json!({ "ip": expected, "ipMode": "VIP" }), "{name}");
        }
        Ok(())
    })
}

#[test]
fn the_api_server_can_be_frozen_killed_and_started_again() -> anyhow::Result<()> {
    let options = Options { gateway_api: false, cilium_policies: false, chart: None, ..Options::default() };
    gateherald_lab::run_alone(&options, async |lab| {
        let plane = lab.control_plane();
        lab.namespace("kept").await?;
        plane.api_server().freeze()?;
        let get = ["get", "namespace", "kept-1", "--request-timeout=300ms"];
        assert!(lab.kubectl(&get).await.is_err());
        plane.api_server().thaw()?;
        lab.kubectl(&["get", "namespace", "kept-1"]).await?;
        plane.api_server().kill().await?;
        assert!(lab.kubectl(&["get", "namespace", "kept-1"]).await.is_err());
        plane.api_server().restart().await?;
        plane.wait_ready().await?;
        lab.kubectl(&["get", "namespace", "kept-1"]).await?;
        let audit = std::fs::read_to_string(plane.audit_log())?;
        assert!(audit.lines().any(|line| line.contains(r#""requestURI":"/api/v1/namespaces/kept-1"#)));
        Ok(())
    })
}

#[test]
fn nothing_outlives_a_killed_lab_and_the_next_one_removes_its_directory() -> anyhow::Result<()> {
    let temp = tempfile::tempdir()?;
    let lab = || {
        Command::new(program("gateherald-lab")?)
            .args(["up", "--nodes", "1", "--bare"])
            .env("TMPDIR", temp.path())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a lab")
    };
    let wait_ready = |child: &mut Child| -> anyhow::Result<String> {
        let mut lines = BufReader::new(child.stdout.take().context("standard output")?).lines();
        lines
            .find(|line| line.as_ref().is_ok_and(|line| line.starts_with("ready")))
            .context("the lab did not start")??;
        Ok(std::fs::read_dir(temp.path())?
            .flatten()
            .map(|entry| entry.path().display().to_string())
            .collect())
    };
    let mut first = lab()?;
    let directory = wait_ready(&mut first)?;
    let children = children_of(first.id());
    assert!(children.len() >= 3, "etcd, kube-apiserver and kube-controller-manager: {children:?}");
    first.kill()?;
    first.wait()?;
    // The kernel sends their SIGKILL at the death of the parent; reaping them is init's.
    let start = Instant::now();
    while children.iter().any(|&pid| is_alive(pid)) {
        assert!(
            start.elapsed() < LONG,
            "{:?} outlived the lab",
            children.iter().filter(|&&pid| is_alive(pid))
        );
        std::thread::yield_now();
    }
    assert!(Path::new(&directory).is_dir(), "nobody could remove {directory} yet");
    let mut second = lab()?;
    assert_ne!(wait_ready(&mut second)?, directory);
    // Ctrl-C: an orderly end.
    Command::new("kill").args(["-INT", &second.id().to_string()]).status()?;
    assert!(second.wait()?.success());
    assert_eq!(std::fs::read_dir(temp.path())?.count(), 0, "the second lab left something");
    Ok(())
}

fn children_of(parent: u32) -> Vec<u32> {
    let list =
        |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    tasks
        .map(list)
        .flat_map(|list| list.split_ascii_whitespace().flat_map(str::parse).collect::<Vec<u32>>())
        .collect()
}

/// Whether a process exists and is not a zombie.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}
