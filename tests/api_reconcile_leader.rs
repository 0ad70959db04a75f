// SPDX-License-Identifier: Apache-2.0
//! Who reconciles: one replica, the leader, and the next one when it is frozen, told to stop, killed, or cut off.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::Context;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::{Options, Webhook, chart, run_alone};
use gateherald_tests::gateways::{Shop, owned_by};
use gateherald_tests::metrics::{count, until_count};
use gateherald_tests::reconciling::{
    LEASE, QUICK, events, holder, patches, until_event, until_leader, until_settled,
};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Gives a namespace work until its Service has the label.
async fn work(shop: &Shop<'_>, round: u32) -> anyhow::Result<()> {
    shop.relabel("gw", &json!({ "round": round.to_string() })).await?;
    shop.until_labels("web", &json!({ "round": round.to_string() })).await
}

/// Which replicas have written to a namespace's Services, and how often.
fn writers(shop: &Shop<'_>) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut count = BTreeMap::new();
    for patched in patches(shop)? {
        *count.entry(patched.by).or_default() += 1;
    }
    Ok(count)
}

/// Gives a namespace work; none but this replica may write meanwhile.
async fn only_writer(shop: &Shop<'_>, writer: &Webhook, rounds: Range<u32>) -> anyhow::Result<()> {
    let before = writers(shop)?;
    let (first, rounds) = (rounds.start, rounds.len());
    for round in (first..).take(rounds) {
        work(shop, round).await?;
    }
    let writer = writer.address().to_string();
    let wanted = before.get(&writer).copied().unwrap_or_default() + rounds;
    // A write is recorded after it shows.
    let mut after = until(&format!("{wanted} writes of {writer}"), LONG, async || {
        let found = writers(shop)?;
        let enough = found.get(&writer).is_some_and(|count| *count >= wanted);
        Ok(if enough { Look::Found(found) } else { Look::NotYet(format!("{found:?}")) })
    })
    .await?;
    after.remove(&writer);
    let others: BTreeMap<_, _> = before.into_iter().filter(|(address, _)| *address != writer).collect();
    anyhow::ensure!(after == others, "not {writer} alone wrote: {others:?}, then {after:?}");
    Ok(())
}

#[test]
fn of_two_replicas_one_writes_and_the_other_takes_over() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let args = [&QUICK[..], &["--drain-seconds", "10"]].concat();
        let one = lab.run_webhook(&args).await?;
        until_leader(&one).await?;
        let two = lab.run_webhook(&args).await?;
        let shop = Shop::open(lab, "pair").await?;
        let gateway = shop.gateway("gw", &json!({ "labels": { "round": "0" } })).await?;
        shop.create("web", &owned_by(&gateway)?).await?;
        only_writer(&shop, &one, 1..6).await?;
        assert_eq!(count(&two, "leader").await?, 0);

        // Frozen: the other one takes over, and what the frozen one had begun is not finished later.
        one.process().freeze()?;
        until_leader(&two).await?;
        only_writer(&shop, &two, 6..9).await?;
        one.process().thaw()?;
        one.process().log_line(LONG, |line| line.contains("leads no longer")).await?;
        only_writer(&shop, &two, 9..12).await?;
        assert_eq!(count(&one, "leader").await?, 0);

        // Terminated: it releases the Lease at the drain's beginning, so nobody waits for either to run out.
        let transitions = count(&one, "leader_transitions_total").await?;
        let start = Instant::now();
        tokio::try_join!(two.process().terminate(), async {
            until_leader(&one).await?;
            println!("leadership after SIGTERM: {:?}", start.elapsed());
            anyhow::ensure!(two.process().is_running(), "it was waited for");
            Ok(())
        })?;
        assert!(two.process().log().contains("released"));
        assert_eq!(count(&one, "leader_transitions_total").await?, transitions + 1);
        only_writer(&shop, &one, 12..13).await?;

        // Killed: the Lease runs out.
        two.process().restart().await?;
        two.wait_ready().await?;
        let start = Instant::now();
        one.process().kill().await?;
        until_leader(&two).await?;
        println!("leadership after SIGKILL, with a lease of 3 s: {:?}", start.elapsed());
        only_writer(&shop, &two, 13..14).await
    })
}

#[test]
fn a_new_leader_repeats_no_event() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let webhook = lab.run_webhook(&QUICK).await?;
        let shop = Shop::open(lab, "silent").await?;
        until_settled(&webhook).await?;
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        shop.create("web", &owned_by(&gateway)?).await?;
        until_event(&shop, "web", "LabelsInjected").await?;
        // Writes that change nothing for us are no news.
        for round in 0..5 {
            shop.edit("web", &json!({ "annotations": { "example.com/round": round.to_string() } })).await?;
        }
        webhook.process().kill().await?;
        webhook.process().restart().await?;
        webhook.wait_ready().await?;
        let known = async || webhook.process().log().matches("everything is known that decides").count();
        until("the new leader knows everything", LONG, async || {
            Ok(if known().await == 2 { Look::Found(()) } else { Look::NotYet(webhook.process().log_tail(3)) })
        })
        .await?;
        // Something that is told, so that whatever came before it has been told too.
        shop.relabel("gw", &json!({ "a": "2" })).await?;
        until_event(&shop, "web", "LabelsUpdated").await?;
        let all = events(&shop, "web").await?;
        let told: Vec<_> = all.iter().map(|told| (told.reason.as_str(), told.count)).collect();
        assert_eq!(told, [("LabelsInjected", 1), ("LabelsUpdated", 1)]);
        Ok(())
    })
}

#[test]
fn missing_rights_and_an_api_server_that_is_away_are_waited_out() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let role = lab.kubectl(&["get", "clusterrole", "gateherald-webhook", "-o", "json"]).await?;
        let role: Value = serde_json::from_str(&role)?;
        let all = role["rules"].as_array().context("rules")?.clone();
        let mut less = all.clone();
        less.retain(|rule| rule["resources"] != json!(["services"]));
        assert_eq!(less.len() + 1, all.len());
        let set = async |rules: &[Value]| {
            let patch = json!({ "rules": rules }).to_string();
            lab.kubectl(&["patch", "clusterrole", "gateherald-webhook", "--type=merge", "-p", &patch]).await
        };
        set(&less).await?;
        // Reviews need no such right: it is ready all the same, and says what it cannot do.
        let webhook = lab.run_webhook(&QUICK).await?;
        webhook
            .process()
            .log_line(LONG, |line| line.contains("RBAC does not allow to list services"))
            .await?;
        let failures = "reconciler_failures_total{part=\"services\"}";
        until_count(&webhook, failures, |failures| failures > 0).await?;
        let shop = Shop::open(lab, "rights").await?;
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        shop.create("web", &owned_by(&gateway)?).await?;
        shop.relabel("gw", &json!({ "a": "2" })).await?;
        set(&all).await?;
        shop.until_labels("web", &json!({ "a": "2" })).await?;

        // Nobody can renew: it steps down in time, and leads again afterwards.
        let api_server = lab.control_plane().api_server();
        api_server.kill().await?;
        until_count(&webhook, "leader", |leader| leader == 0).await?;
        api_server.restart().await?;
        lab.control_plane().wait_ready().await?;
        let shop = Shop { lab, namespace: shop.namespace.clone() };
        shop.relabel("gw", &json!({ "a": "3" })).await?;
        shop.until_labels("web", &json!({ "a": "3" })).await?;
        until_leader(&webhook).await?;
        // The Lease is deleted by hand: its leader puts it back.
        lab.kubectl(&["delete", "lease", "-n", chart::NAMESPACE, LEASE]).await?;
        until("the Lease is back", LONG, async || {
            Ok(holder(lab).await?.map_or(Look::NotYet("none".into()), Look::Found))
        })
        .await?;
        let age = count(&webhook, "cache_age_seconds{cache=\"services\"}").await?;
        assert!(age < 300, "{age} s");
        Ok(())
    })
}
