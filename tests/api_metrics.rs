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

/// The series of a metric, without their values.
fn series(exposition: &str, metric: &str) -> BTreeSet<String> {
    let named = |line: &&str| line.split(['{', ' ']).next() == Some(metric);
    exposition
        .lines()
        .filter(named)
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(s, _)| s.to_owned())
        .collect()
}

/// The values of a label that the page lists in the first column of the table under a heading.
fn reasons(heading: &str) -> BTreeSet<String> {
    let section = PAGE.split("\n### ").find(|section| section.starts_with(heading)).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    rows.flat_map(|cell| cell.split('`').step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .filter(|word| !word.trim_matches([',', ' ']).is_empty())
        .collect()
}

#[test]
fn series_begin_at_zero_and_go_with_their_address_and_interface() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "series", 1).await?;
        let vip = site.lan.address(200);
        let expose = async || anyhow::Ok(site.announcers[0].get("/metrics").await?.body);
        let name = |metric: &str| format!("gateherald_announcer_{metric}");
        let zero = |text: &str, series: &str| {
            text.lines()
                .any(|line| line.rsplit_once(' ').is_some_and(|(s, value)| s == series && value == "0"))
        };
        // Whatever is documented as a reason is there before it happens.
        let text = expose().await?;
        for (metric, label, values) in [
            ("conflict_steps_total", "step", reasons("Conflicts")),
            ("session_lapses_total", "reason", reasons("Lapses")),
            ("holds_ended_total", "reason", reasons("Held addresses")),
            (
                "claim_changes_total",
                "reason",
                ["took", "released", "handed-over", "lost"].map(String::from).into(),
            ),
        ] {
            assert!(!values.is_empty(), "{metric}");
            let wanted: BTreeSet<String> =
                values.iter().map(|value| format!("{}{{{label}=\"{value}\"}}", name(metric))).collect();
            assert_eq!(series(&text, &name(metric)), wanted);
            for series in wanted {
                assert!(zero(&text, &series), "{series} in {text}");
            }
        }
        assert!(zero(&text, &format!("{}{{reason=\"NoEndpoints\"}}", name("not_announced"))), "{text}");
        assert_eq!(series(&text, &name("lease_writes_total")).len(), 8);
        assert!(series(&text, &name("frames_dropped_total")).is_empty(), "no interface, no series");
        site.service("web", &[vip]).await?;
        site.owner(vip).await?;
        let text = expose().await?;
        assert_eq!(
            series(&text, &name("address_owned")),
            [format!("{}{{address=\"{vip}\"}}", name("address_owned"))].into()
        );
        let dropped: BTreeSet<String> = reasons("Dropped frames");
        assert_eq!(series(&text, &name("frames_dropped_total")).len(), dropped.len(), "{dropped:?}");
        site.delete("web").await?;
        until("its series are gone", LONG, async || {
            let text = expose().await?;
            let of_interface = text.lines().filter(|line| line.contains("interface=")).count();
            let left = series(&text, &name("address_owned")).len() + of_interface;
            Ok(if left == 0 { Look::Found(()) } else { Look::NotYet(format!("{left} are left")) })
        })
        .await
    })
}
