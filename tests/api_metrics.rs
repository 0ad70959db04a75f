// SPDX-License-Identifier: Apache-2.0
//! `docs/metrics.md` against what running programs serve: names, types and labels, in both directions.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use gateherald_lab::chart::NAMESPACE;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_tests::vips::Site;

const PAGE: &str = include_str!("../docs/metrics.md");

/// The metrics of a program by the names that people query, each with its type and labels.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

/// What the page lists for a program, with what both programs have.
fn documented(program: &str) -> Metrics {
    let mut metrics = Metrics::new();
    let mut listed = false;
    for line in PAGE.lines() {
        if let Some(heading) = line.strip_prefix('#') {
            let heading = heading.trim_start_matches('#').trim();
            listed = heading == program || heading == "Both programs";
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", name, kind, labels, ..] = cells.as_slice()
            && listed
            && name.starts_with('`')
        {
            let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            let name = name.trim_matches('`').to_owned();
            let twice = metrics.insert(name, ((*kind).to_owned(), labels));
            assert_eq!(twice, None, "listed twice: {line}");
        }
    }
    metrics
}

/// What an exposition holds. A metric is listed with the labels that its series have.
fn served(exposition: &str) -> anyhow::Result<Metrics> {
    let mut metrics = Metrics::new();
    let mut current = None;
    for line in exposition.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').context("a type")?;
            let name = match kind {
                "counter" => format!("{name}_total"),
                "info" => format!("{name}_info"),
                _ => name.to_owned(),
            };
            current = Some((name, kind.to_owned()));
        } else if !line.starts_with('#') {
            let (name, kind) = current.clone().context("a series before any type")?;
            anyhow::ensure!(line.starts_with(&name), "{line} does not belong to {name}");
            let text =
                line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(l, _)| l);
            let keys = text.split('"').step_by(2).map(|key| key.trim_matches([',', '=']));
            let keys = keys.filter(|key| !key.is_empty() && *key != "le").map(str::to_owned);
            metrics.entry(name).or_insert((kind, BTreeSet::new())).1.extend(keys);
        }
    }
    Ok(metrics)
}

fn compare(program: &str, exposition: &str) -> anyhow::Result<Look<()>> {
    let (page, real) = (documented(program), served(exposition)?);
    let without = |all: &Metrics, other: &Metrics| -> Vec<String> {
        all.iter().filter(|(name, what)| other.get(*name) != Some(what)).map(|m| format!("{m:?}")).collect()
    };
    let (only_page, only_real) = (without(&page, &real), without(&real, &page));
    Ok(if only_page.is_empty() && only_real.is_empty() {
        Look::Found(())
    } else {
        Look::NotYet(format!("on the page alone: {only_page:#?}; served alone: {only_real:#?}"))
    })
}

#[test]
fn the_page_lists_what_the_webhook_serves() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let webhook = lab.shared_webhook().await?;
        until("the page and the webhook agree", LONG, async || {
            compare("gateherald-webhook", &webhook.get("/metrics").await?.body)
        })
        .await
    })
}

#[test]
fn the_page_lists_what_the_announcer_serves() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "metric", 1).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        // An address of a node is refused, so that there is a reason to serve.
        site.service("node", &[site.nodes[0].ip()]).await?;
        site.owner(vip).await?;
        // The session is lost, and the next one takes the address again.
        let session = format!("gateherald-node-{}", site.nodes[0].name());
        lab.kubectl(&["delete", "lease", "-n", NAMESPACE, &session]).await?;
        site.owner(vip).await?;
        until("the page and the announcer agree", LONG, async || {
            // The filter lets a reply to the address through; it is dropped, with a reason.
            let mut reply = site.lan.client().request(vip);
            reply.operation = 2;
            site.lan.client().send(&reply.bytes())?;
            // Another host uses the address, so that there is a step to serve.
            reply.sender_ip = vip;
            site.lan.client().send(&reply.bytes())?;
            compare("gateherald-announcer", &site.announcers[0].get("/metrics").await?.body)
        })
        .await
    })
}
