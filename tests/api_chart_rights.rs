// SPDX-License-Identifier: Apache-2.0
//! What the roles of the chart grant, against what the programs do, by the API server's own audit log.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::Context;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::{Lab, Options, chart, run_alone};
use gateherald_tests::gateways::{Shop, owned_by};
use gateherald_tests::reconciling::until_event;
use gateherald_tests::vips::Site;
use serde_json::{Value, json};

const USER: &str = "system:serviceaccount:gateherald-system:";

/// A request, or what a rule allows; names of objects are not in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    account: String,
    verb: String,
    group: String,
    resource: String,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {} {:?}", self.account, self.verb, self.resource, self.group)
    }
}

#[test]
fn every_right_is_used_and_none_is_missing() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        labels_come_change_and_are_repaired(lab).await?;
        addresses_come_and_go(lab).await?;
        let granted = granted(lab).await?;
        until("every right was used", LONG, async || {
            let (used, denied) = recorded(lab)?;
            assert!(denied.is_empty(), "denied: {denied:?}");
            let beyond: Vec<String> = used.difference(&granted).map(Right::to_string).collect();
            assert!(beyond.is_empty(), "by another role than the chart's: {beyond:?}");
            let unused: Vec<String> = granted.difference(&used).map(Right::to_string).collect();
            Ok(if unused.is_empty() { Look::Found(()) } else { Look::NotYet(unused.join("; ")) })
        })
        .await
    })
}

/// Reviews, repairs, Events told twice, a broken Secret, an elected leader that renews.
async fn labels_come_change_and_are_repaired(lab: &Lab) -> anyhow::Result<()> {
    let quick = ["--leader-lease-duration=6", "--leader-renew-period=1"];
    let webhook = lab.run_webhook(&quick).await?;
    let shop = Shop::open(lab, "rights").await?;
    let gateway = shop.gateway("gw", &json!({ "labels": { "team": "a" } })).await?;
    shop.create("made", &owned_by(&gateway)?).await?;
    // What is told twice is counted: each change comes again.
    for team in ["b", "c", "b", "c"] {
        shop.relabel("gw", &json!({ "team": team })).await?;
        shop.until_labels("made", &json!({ "team": team })).await?;
    }
    until_event(&shop, "made", "LabelsUpdated").await?;
    let broken = r#"{"data":{"ca.crt":"bm90aGluZw=="}}"#;
    let edit =
        ["patch", "secret", "-n", chart::NAMESPACE, "gateherald-webhook-ca", "--type=merge", "-p", broken];
    lab.kubectl(&edit).await?;
    until("the Secret is restored", LONG, async || {
        let path = "jsonpath={.data.ca\\.crt}";
        let get = ["get", "secret", "-n", chart::NAMESPACE, "gateherald-webhook-ca", "-o", path];
        let text = lab.kubectl(&get).await?;
        Ok(if text == "bm90aGluZw==" { Look::NotYet(text) } else { Look::Found(()) })
    })
    .await?;
    webhook.stop().await
}

/// Policies of both kinds, an elected announcer, a claim that moves and one that is deleted, Events told twice.
async fn addresses_come_and_go(lab: &Lab) -> anyhow::Result<()> {
    let mut site = Site::new(lab, "rights", 2).await?;
    let policy = json!({ "apiVersion": "cilium.io/v2alpha1", "kind": "CiliumL2AnnouncementPolicy",
        "metadata": { "name": "theirs" }, "spec": { "loadBalancerIPs": true, "interfaces": ["^none$"] } });
    lab.apply(&policy.to_string()).await?;
    let vip = site.lan.address(200);
    site.service("web", &[vip]).await?;
    let local = json!({ "externalTrafficPolicy": "Local" });
    site.service_with("local", local, &[site.lan.address(201)]).await?;
    let holder = until("a claim", LONG, async || {
        Ok(site
            .claim_holder(vip)
            .await?
            .filter(|holder| !holder.is_empty())
            .map_or_else(|| Look::NotYet("none".to_owned()), Look::Found))
    })
    .await?;
    let index = site.nodes.iter().position(|node| node.name() == holder).context("a stranger holds it")?;
    let other = site.nodes[1 - index].name().to_owned();
    site.announcers.remove(index).process().terminate().await?;
    site.claimed_by(vip, Some(&other)).await?;
    // Given up and taken again: what is told of it is what was told before.
    for (announce, holder) in [("false", None), ("true", Some(other.as_str()))] {
        site.patch("web", json!({ "metadata": { "annotations": { "gateherald.io/announce": announce } } }))
            .await?;
        site.claimed_by(vip, holder).await?;
    }
    // Before the Service goes: of an object that is not there nothing is told.
    until("an Event is counted", LONG, async || {
        let path = "jsonpath={.items[*].series.count}";
        let counts = lab.kubectl(&["get", "events.events.k8s.io", "-n", &site.namespace, "-o", path]).await?;
        Ok(if counts.is_empty() { Look::NotYet("none".to_owned()) } else { Look::Found(()) })
    })
    .await?;
    site.delete("web").await?;
    until("the claim is deleted", LONG, async || {
        let name = format!("gateherald-vip-{vip}");
        let get = ["get", "lease", "-n", chart::NAMESPACE, &name, "--ignore-not-found", "-o", "name"];
        let found = lab.kubectl(&get).await?;
        Ok(if found.trim().is_empty() { Look::Found(()) } else { Look::NotYet(found) })
    })
    .await
}

/// What the chart's roles allow its own accounts.
async fn granted(lab: &Lab) -> anyhow::Result<BTreeSet<Right>> {
    let mut rights = BTreeSet::new();
    let part = "app.kubernetes.io/part-of=gateherald";
    let list = ["get", "clusterroles,roles", "-A", "-l", part, "-o", "json"];
    let roles: Value = serde_json::from_str(&lab.kubectl(&list).await?)?;
    for role in roles["items"].as_array().context("no list")? {
        let component = &role["metadata"]["labels"]["app.kubernetes.io/component"];
        let account = format!("gateherald-{}", component.as_str().context("no component")?);
        for rule in role["rules"].as_array().into_iter().flatten() {
            for (group, resource, verb) in product(rule) {
                rights.insert(Right { account: account.clone(), verb, group, resource });
            }
        }
    }
    Ok(rights)
}

fn product(rule: &Value) -> Vec<(String, String, String)> {
    let texts = |key: &str| {
        let list = rule[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        list.map(str::to_owned).collect::<Vec<_>>()
    };
    let (groups, resources, verbs) = (texts("apiGroups"), texts("resources"), texts("verbs"));
    let mut all = Vec::new();
    for group in &groups {
        for resource in &resources {
            all.extend(verbs.iter().map(|verb| (group.clone(), resource.clone(), verb.clone())));
        }
    }
    all
}

/// What the accounts asked for, and the lines of what they were refused.
fn recorded(lab: &Lab) -> anyhow::Result<(BTreeSet<Right>, Vec<String>)> {
    let (mut used, mut denied) = (BTreeSet::new(), Vec::new());
    let log = std::fs::read_to_string(lab.control_plane().audit_log())?;
    // The last line may be half written.
    for line in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let Some(account) = line["user"]["username"].as_str().and_then(|user| user.strip_prefix(USER)) else {
            continue;
        };
        if line["responseStatus"]["code"] == 403 {
            denied.push(line.to_string());
        }
        let text = |key: &str| line["objectRef"][key].as_str().unwrap_or_default().to_owned();
        let resource = match line["objectRef"]["subresource"].as_str() {
            Some(part) => format!("{}/{part}", text("resource")),
            None => text("resource"),
        };
        if line["objectRef"].is_object() {
            let verb = line["verb"].as_str().unwrap_or_default().to_owned();
            let right = Right { account: account.to_owned(), verb, group: text("apiGroup"), resource };
            used.insert(right);
        }
    }
    Ok((used, denied))
}
