// SPDX-License-Identifier: Apache-2.0
//! Many writers at once while replicas come and go.

use futures::future::try_join_all;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::{Options, Webhook, run_alone};
use gateherald_tests::gateways::{Shop, owned_by};
use kube::api::ListParams;
use serde_json::json;
use tokio::sync::watch;

const CREATORS: usize = 20;
const SERVICES: usize = 500;

/// Restarts a replica, politely and rudely by turns, until `done`; the result is how often.
async fn restart_again_and_again(
    webhook: &Webhook,
    mut done: watch::Receiver<bool>,
) -> anyhow::Result<usize> {
    let mut restarts = 0;
    while !*done.borrow_and_update() {
        if restarts % 2 == 0 {
            webhook.process().terminate().await?
        } else {
            webhook.process().kill().await?
        };
        webhook.process().restart().await?;
        webhook.wait_ready().await?;
        restarts += 1;
    }
    Ok(restarts)
}

#[test]
fn twenty_creators_lose_no_service_and_in_the_end_no_label_while_a_replica_restarts() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let (_steady, restless) = tokio::try_join!(lab.run_webhook(&[]), lab.run_webhook(&[]))?;
        let shop = Shop::open(lab, "crowd").await?;
        let creator = async |creator: usize| -> anyhow::Result<()> {
            let name = format!("gw-{creator}");
            let gateway =
                shop.gateway(&name, &json!({ "labels": { "crowd": "yes", "number": name } })).await?;
            let metadata = owned_by(&gateway)?;
            for number in 0..SERVICES {
                shop.create(&format!("{name}-{number}"), &metadata).await?;
            }
            Ok(())
        };
        let done = watch::Sender::new(false);
        let creators = async {
            let created = try_join_all((0..CREATORS).map(creator)).await;
            done.send_replace(true);
            created
        };
        let (_, restarts) = tokio::try_join!(creators, restart_again_and_again(&restless, done.subscribe()))?;
        assert!(restarts > 2, "{restarts} restarts are too few to tell");
        let labelled = ListParams::default().labels("crowd=yes");
        until("every Service carries its Gateway's labels", 3 * LONG, async || {
            let count = shop.services().list_metadata(&labelled).await?.items.len();
            let all = count == CREATORS * SERVICES;
            Ok(if all { Look::Found(()) } else { Look::NotYet(format!("{count} do")) })
        })
        .await
    })
}
