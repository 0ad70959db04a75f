// SPDX-License-Identifier: Apache-2.0
//! The announcer with exactly what the chart gives it: one capability, and the rights of its roles. A whole story must
//! need no more, and must use all of it.

use std::collections::BTreeSet;

use gateherald_lab::chart::NAMESPACE;
use gateherald_lab::frame::{Arp, Membership, solicited_node};
use gateherald_lab::node::ANNOUNCER_ACCOUNT;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::standin::endpoints;
use gateherald_lab::{Frame, Options};
use gateherald_tests::audit::requests_from;
use gateherald_tests::vips::Site;
use serde_json::{Value, json};

/// `CAP_NET_RAW`, bit 13.
const NET_RAW: &str = "0000000000002000";
const NONE: &str = "0000000000000000";

/// A field of `/proc/PID/status`.
fn status(pid: u32, field: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Ok(line.unwrap_or_default().trim().to_owned())
}

/// `verb group/resource namespace`, one per right of the announcer's roles.
async fn granted(site: &Site<'_>) -> anyhow::Result<BTreeSet<String>> {
    let mut rights = BTreeSet::new();
    let read = async |args: &[&str]| -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&site.lab.kubectl(args).await?)?)
    };
    let all = read(&["get", "roles,clusterroles", "-A", "-o", "json"]).await?;
    let ours =
        |role: &&Value| role["metadata"]["name"].as_str().unwrap_or_default().starts_with(ANNOUNCER_ACCOUNT);
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    for role in all["items"].as_array().into_iter().flatten().filter(ours) {
        let namespace = role["metadata"]["namespace"].as_str().unwrap_or_default();
        for rule in role["rules"].as_array().into_iter().flatten() {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    for verb in texts(&rule["verbs"]) {
                        rights.insert(format!("{verb} {group}/{resource} {namespace}"));
                    }
                }
            }
        }
    }
    Ok(rights)
}

#[test]
fn one_capability_and_the_roles_of_the_chart_are_enough_and_none_of_them_is_idle() -> anyhow::Result<()> {
    gateherald_lab::run_alone(&Options::default(), async |lab| {
        let site = Site::new(lab, "least", 2).await?;
        for announcer in &site.announcers {
            let pid = announcer.process().pid().unwrap_or_default();
            for (field, value) in [
                ("CapEff", NET_RAW),
                ("CapPrm", NET_RAW),
                ("CapBnd", NET_RAW),
                ("CapInh", NONE),
                ("CapAmb", NONE),
            ] {
                assert_eq!(status(pid, field)?, value, "{field}");
            }
            assert_eq!(status(pid, "NoNewPrivs")?, "1");
        }
        tell_the_story(&site).await?;
        let from: Vec<String> = site.nodes.iter().map(|node| node.management_ip().to_string()).collect();
        let rights = granted(&site).await?;
        assert!(rights.len() >= 20, "{rights:?}");
        until("every right is used", LONG, async || {
            let requests = requests_from(lab.control_plane(), &from)?;
            let refused: Vec<_> =
                requests.iter().filter(|request| matches!(request.code, 401 | 403)).collect();
            anyhow::ensure!(refused.is_empty(), "refused: {refused:#?}");
            let mut idle = rights.clone();
            for request in &requests {
                // A cluster role's right has no namespace, whatever the object's is.
                for namespace in [request.namespace.as_str(), ""] {
                    idle.remove(&format!(
                        "{} {}/{} {namespace}",
                        request.verb, request.group, request.resource
                    ));
                }
            }
            Ok(if idle.is_empty() { Look::Found(()) } else { Look::NotYet(format!("unused: {idle:#?}")) })
        })
        .await
    })
}

/// Claims, answers in both protocols, a move, a conflict, an address that goes, and the end.
async fn tell_the_story(site: &Site<'_>) -> anyhow::Result<()> {
    let (vip, vip6, local) = (site.lan.address(200), site.lan.address6(0x200), site.lan.address(201));
    let elsewhere = json!({
        "apiVersion": "cilium.io/v2alpha1", "kind": "CiliumL2AnnouncementPolicy", "metadata": { "name": "elsewhere" },
        "spec": { "nodeSelector": { "matchLabels": { "on": "no-node" } }, "loadBalancerIPs": true },
    });
    site.lab.apply(&elsewhere.to_string()).await?;
    let wire = site.lan.sniff()?;
    site.service_of_families("web", &[vip.into(), vip6.into()]).await?;
    let (first, first6) = (site.owner(vip).await?, site.owner6(vip6).await?);
    let joined = Membership::Joined(solicited_node(vip6));
    let by_owner =
        |frame: &Frame| frame.source() == site.nodes[first6].mac() && frame.memberships().contains(&joined);
    wire.wait_for(LONG, by_owner).await?;
    // A Service with endpoints of its own, which goes again, and its claim with it.
    let here = json!([{ "addresses": ["10.244.0.7"], "nodeName": site.nodes[1].name() }]);
    endpoints::write(site.lab.client(), &site.namespace, "local", ("local-1", "IPv4"), &here).await?;
    site.service_with("local", json!({ "externalTrafficPolicy": "Local" }), &[local]).await?;
    assert_eq!(site.owner(local).await?, 1);
    site.delete("local").await?;
    let claim = format!("gateherald-vip-{local}");
    until("the claim is deleted by its last holder", LONG, async || {
        let args = ["get", "lease", &claim, "-n", NAMESPACE, "--ignore-not-found", "-o", "name"];
        let left = site.lab.kubectl(&args).await?;
        Ok(if left.is_empty() { Look::Found(()) } else { Look::NotYet(left) })
    })
    .await?;
    let prefer = json!({ "gateherald.io/preferred-node": site.nodes[1 - first].name() });
    site.patch("web", json!({ "metadata": { "annotations": prefer } })).await?;
    site.claimed_by(vip, Some(site.nodes[1 - first].name())).await?;
    assert_eq!(site.owner(vip).await?, 1 - first);
    let stranger = site.lan.add_host("stranger")?;
    stranger.send(&Arp { sender_ip: vip, ..stranger.request(vip) }.bytes())?;
    until("the conflict is noticed", LONG, async || {
        let conflicts = site.metric(1 - first, "conflicts_total", "").await?;
        Ok(if conflicts >= 1.0 { Look::Found(()) } else { Look::NotYet(conflicts.to_string()) })
    })
    .await?;
    assert!(site.announcers[1 - first].process().terminate().await?.success());
    assert_eq!((site.owner(vip).await?, site.owner6(vip6).await?), (first, first));
    Ok(())
}
