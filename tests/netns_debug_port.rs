// SPDX-License-Identifier: Apache-2.0
//! The pages of the announcer's port on the loopback.

use std::collections::BTreeSet;

use anyhow::Context;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::{Announcer, LanHost};
use gateherald_tests::vips::Site;
use serde_json::{Value, json};

const PAGE: &str = include_str!("../docs/debug-port.md");

/// Every field of a value as a path: `addresses[].state`.
fn fields(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields_of) => {
            for (key, value) in fields_of {
                // The policies' names are the keys of their table.
                let key = if path == "policies" { "*" } else { key };
                fields(value, &if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }, into);
            }
        }
        Value::Array(items) => {
            into.insert(path.to_owned());
            for item in items {
                fields(item, &format!("{path}[]"), into);
            }
        }
        _ => drop(into.insert(path.to_owned())),
    }
}

/// The fields that the page lists in the table of fields under a heading.
fn documented(heading: &str) -> BTreeSet<String> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(heading)).unwrap_or_default();
    let lines = section.lines().skip_while(|line| !line.starts_with("| field |"));
    let table = lines.take_while(|line| line.starts_with('|'));
    table.filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned).collect()
}

/// Nodes and leaves: what is listed is served, and what is served is listed.
fn compare(heading: &str, page: &Value) {
    let mut served = BTreeSet::new();
    fields(page, "", &mut served);
    served.retain(|field| !field.ends_with("[]"));
    assert_eq!(documented(heading), served, "{heading}: {page:#}");
}

async fn get(announcer: &Announcer, path: &str) -> anyhow::Result<(u16, Value)> {
    let response = announcer.debug(path).await?;
    let body = serde_json::from_str(&response.body).with_context(|| format!("{path}: {}", response.body))?;
    Ok((response.status, body))
}

/// Asks, whenever it is this node's turn.
async fn probe(announcer: &Announcer, address: &str) -> anyhow::Result<Value> {
    until("the probe is answered", LONG, async || {
        let (status, page) = get(announcer, &format!("/probe?address={address}")).await?;
        Ok(if status == 200 { Look::Found(page) } else { Look::NotYet(format!("{status} {page}")) })
    })
    .await
}

/// Has the host announce the address, which it may have or not.
fn announce(host: &LanHost, address: std::net::Ipv4Addr) -> anyhow::Result<()> {
    host.send(&gateherald_lab::Arp { sender_ip: address, ..host.request(address) }.bytes())
}

#[test]
fn the_pages_have_the_shapes_that_are_documented() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "shape", 1).await?;
        let vip = site.lan.address(200);
        // What is refused is served too.
        site.service("web", &[vip, site.lan.router()]).await?;
        site.refused(0, Some(site.lan.router()), "NotAVirtualAddress").await?;
        assert_eq!(site.owner(vip).await?, 0);
        let stranger = site.lan.add_host("stranger")?;
        let mut vips = until("a conflict is shown", LONG, async || {
            announce(&stranger, vip)?;
            let page = site.announcers[0].vips().await?;
            let shown = page["addresses"][0].get("conflict").is_some();
            Ok(if shown { Look::Found(page) } else { Look::NotYet(page.to_string()) })
        })
        .await?;
        assert_eq!(vips["version"], 1);
        // A policy without a fault has no `problem`; `netns_policies` sees one.
        for (_, policy) in vips["policies"].as_object_mut().into_iter().flatten() {
            policy["problem"] = json!("");
        }
        compare("/vips", &vips);
        let (_, config) = get(&site.announcers[0], "/config").await?;
        compare("/config", &config);
        assert_eq!(config["node"], site.nodes[0].name());
        assert_eq!(config["claims"]["leaseDurationSeconds"], 4);
        let page = probe(&site.announcers[0], &vip.to_string()).await?;
        let mut page = page;
        // One entry of each list suffices to compare; the node does not hear its own question.
        page["interfaces"][0]["answers"] = json!([{ "mac": "", "node": null, "count": 0, "fastestMicroseconds": 0, "slowestMicroseconds": 0 }]);
        compare("/probe", &page);
        Ok(())
    })
}

#[test]
fn a_probe_says_who_answers_and_when_there_are_two() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "probe", 2).await?;
        let (vip, vip6, free) = (site.lan.address(200), site.lan.address6(0x200), site.lan.address(201));
        site.service_of_families("web", &[vip.into(), vip6.into()]).await?;
        // One that Services have and no policy selects.
        let unselected = site.service("free", &[free]).await?;
        site.patch("free", json!({ "metadata": { "labels": { "tests.gateherald.io/lan": null } } })).await?;
        assert_eq!(unselected.metadata.name.as_deref(), Some("free"));
        let (owner, owner6) = (site.owner(vip).await?, site.owner6(vip6).await?);
        let asker = &site.announcers[1 - owner];
        let page = probe(asker, &vip.to_string()).await?;
        let answer = &page["interfaces"][0]["answers"][0];
        assert_eq!(page["verdict"], "answered", "{page}");
        assert_eq!(answer["mac"], site.nodes[owner].mac().to_string(), "{page}");
        assert_eq!(answer["node"], site.nodes[owner].name(), "{page}");
        assert_eq!(page["holder"], site.nodes[owner].name(), "{page}");
        assert!(answer["fastestMicroseconds"].as_u64() > Some(0), "{page}");
        let page = probe(&site.announcers[owner], &vip.to_string()).await?;
        assert_eq!((&page["verdict"], &page["ownedHere"]), (&json!("this-node"), &json!(true)), "{page}");
        let page = probe(&site.announcers[1 - owner6], &vip6.to_string()).await?;
        let answer = &page["interfaces"][0]["answers"][0];
        assert_eq!(page["verdict"], "answered", "{page}");
        assert_eq!(answer["node"], site.nodes[owner6].name(), "{page}");
        site.claimed_by(free, None).await?;
        let page = probe(asker, &free.to_string()).await?;
        assert_eq!((&page["verdict"], &page["holder"]), (&json!("nobody"), &Value::Null), "{page}");
        // What announcers said to each other's questions was nobody's conflict.
        for node in 0..2 {
            assert!(site.metric(node, "conflicts_total", "").await?.abs() < 0.5);
        }
        // A host whose kernel has the address answers too, and does not announce it.
        let squatter = site.lan.add_host("squatter")?;
        squatter.netns().ip(&format!("addr add {vip}/24 dev eth0"))?;
        let page = until("both answer", LONG, async || {
            let page = probe(asker, &vip.to_string()).await?;
            Ok(if page["verdict"] == "conflict" { Look::Found(page) } else { Look::NotYet(page.to_string()) })
        })
        .await?;
        let answers = page["interfaces"][0]["answers"].as_array().cloned().unwrap_or_default();
        let stranger = answers.iter().find(|answer| answer["node"].is_null()).context("no stranger")?;
        assert_eq!((answers.len(), &stranger["mac"]), (2, &json!(squatter.mac().to_string())), "{page}");
        Ok(())
    })
}

#[test]
fn a_probe_asks_only_about_addresses_of_services_and_one_at_a_time() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "pace", 1).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        assert_eq!(site.owner(vip).await?, 0);
        let announcer = &site.announcers[0];
        for (path, status, said) in [
            ("/probe", 400, "address"),
            ("/probe?address=", 400, "is no IP address"),
            ("/probe?address=192.168.1.0/24", 400, "is no IP address"),
            (&format!("/probe?address={}", site.lan.router()), 404, "no Service has the address"),
            (&format!("/probe?address={}", site.lan.client().ip()), 404, "no Service has the address"),
        ] {
            let (found, body) = get(announcer, path).await?;
            assert_eq!(found, status, "{path}: {body}");
            assert!(body["error"].as_str().unwrap_or_default().contains(said), "{path}: {body}");
        }
        let wire = site.lan.sniff()?;
        let path = format!("/probe?address={vip}");
        let (first, second) = tokio::join!(get(announcer, &path), get(announcer, &path));
        let mut statuses = [first?.0, second?.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 429]);
        // Three questions, from the node's own address.
        let (mac, ip) = (site.nodes[0].mac(), site.nodes[0].ip());
        let frames = wire.frames();
        let asked = frames.iter().filter_map(gateherald_lab::Frame::arp).filter(|arp| {
            arp.source == mac && arp.operation == 1 && arp.target_ip == vip && arp.sender_ip == ip
        });
        assert_eq!(asked.count(), 3);
        Ok(())
    })
}
