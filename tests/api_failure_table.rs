// SPDX-License-Identifier: Apache-2.0
//! What the API server does when the webhook fails it, by its own count: the Service is created in every case, in the time that the
//! registration allows, and nothing is ever rejected.

use std::time::Duration;

use anyhow::Context;
use futures::future::try_join_all;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::{Lab, Options, Webhook, run_alone};
use gateherald_tests::gateways::{Shop, labels, owned_by, service};
use k8s_openapi::api::core::v1::Service;
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};
use tokio::time::Instant;

const ENTRY: &str = "name=\"services.gateherald.io\"";
/// The registration's `timeoutSeconds`, and what a busy machine may add.
const ALLOWED: Duration = Duration::from_secs(3 + 10);

/// What the API server has counted of the webhook since its start.
#[derive(Debug, PartialEq)]
struct Counted {
    fail_open: u64,
    rejections: u64,
}

impl Counted {
    async fn read(lab: &Lab) -> anyhow::Result<Self> {
        let metrics = lab.kubectl(&["get", "--raw", "/metrics"]).await?;
        Ok(Self {
            fail_open: sum(&metrics, "apiserver_admission_webhook_fail_open_count", ENTRY)?,
            rejections: sum(&metrics, "apiserver_admission_webhook_rejection_count", "")?,
        })
    }

    fn plus(&self, fail_open: u64) -> Self {
        Self { fail_open: self.fail_open + fail_open, rejections: self.rejections }
    }
}

/// The sum of a metric's series with `label`.
fn sum(exposition: &str, metric: &str, label: &str) -> anyhow::Result<u64> {
    let series =
        exposition.lines().filter(|line| line.starts_with(&format!("{metric}{{")) && line.contains(label));
    let values =
        series.map(|line| line.rsplit_once(' ').context("a value").and_then(|(_, n)| Ok(n.parse::<u64>()?)));
    values.sum()
}

/// Reviews that the webhook has counted under this outcome.
async fn reviews(webhook: &Webhook, outcome: &str) -> anyhow::Result<u64> {
    let metrics = webhook.get("/metrics").await?.body;
    sum(&metrics, "gateherald_webhook_reviews_total", &format!("outcome=\"{outcome}\""))
}

/// Calls that found no Gateways, or were given up while they waited for them.
async fn calls_in_vain(webhook: &Webhook) -> anyhow::Result<u64> {
    let metrics = webhook.get("/metrics").await?.body;
    let total = |line: &str| line.strip_prefix("gateherald_webhook_reviews_abandoned_total ").map(str::parse);
    let abandoned: u64 = metrics.lines().find_map(total).context("no count of abandoned reviews")??;
    Ok(abandoned + reviews(webhook, "not-synced").await?)
}

/// Creates a Service of the Gateway in the allowed time.
async fn create_in_time(shop: &Shop<'_>, name: &str, gateway: &DynamicObject) -> anyhow::Result<Service> {
    let begun = Instant::now();
    let created = shop.create(name, &owned_by(gateway)?).await?;
    anyhow::ensure!(begun.elapsed() < ALLOWED, "{name} took {:?}", begun.elapsed());
    Ok(created)
}

/// Waits until a request has reached the sockets of a process that is frozen and does not read it.
async fn request_waits(webhook: &Webhook) -> anyhow::Result<()> {
    let pid = webhook.process().pid().context("not running")?;
    until("the API server's request is in the webhook's socket", LONG, async || {
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
        // Columns 2 and 5 of proc_net_tcp: local address and port (8443 = 20FB), queue sizes as sent:received.
        let waits = table.lines().skip(1).any(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            columns[1].ends_with(":20FB") && columns[3] == "01" && !columns[4].ends_with(":00000000")
        });
        Ok(if waits { Look::Found(()) } else { Look::NotYet(table) })
    })
    .await
}

#[test]
fn a_webhook_that_is_frozen_killed_or_gone_fails_open_within_its_timeout() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let webhook = lab.run_webhook(&[]).await?;
        let shop = Shop::open(lab, "fails").await?;
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        assert_eq!(labels(&create_in_time(&shop, "before", &gateway).await?), json!({ "a": "1" }));
        let before = Counted::read(lab).await?;

        webhook.process().freeze()?;
        assert_eq!(labels(&create_in_time(&shop, "frozen", &gateway).await?), json!({}));
        assert_eq!(Counted::read(lab).await?, before.plus(1));
        webhook.process().thaw()?;
        assert_eq!(labels(&create_in_time(&shop, "thawed", &gateway).await?), json!({ "a": "1" }));

        // Killed while the API server waits for its answer.
        webhook.process().freeze()?;
        let (created, ()) = tokio::try_join!(create_in_time(&shop, "killed", &gateway), async {
            request_waits(&webhook).await?;
            webhook.process().kill().await.map(drop)
        })?;
        assert_eq!(labels(&created), json!({}));
        assert_eq!(Counted::read(lab).await?, before.plus(2));

        // Gone, and its endpoint is still there.
        assert_eq!(labels(&create_in_time(&shop, "gone", &gateway).await?), json!({}));
        assert_eq!(Counted::read(lab).await?, before.plus(3));

        webhook.process().restart().await?;
        webhook.wait_ready().await?;
        shop.until_labelled().await?;
        assert_eq!(labels(&create_in_time(&shop, "after", &gateway).await?), json!({ "a": "1" }));
        assert_eq!(Counted::read(lab).await?.rejections, 0);
        Ok(())
    })
}

#[test]
fn a_webhook_that_cannot_know_the_gateways_is_called_again_and_then_let_go() -> anyhow::Result<()> {
    let options = Options { gateway_api: false, ..Options::default() };
    run_alone(&options, async |lab| {
        let webhook = lab.start_webhook(&[]).await?;
        let shop = Shop::unattended(lab, "unsynced").await?;
        let owner = json!({ "ownerReferences": [{
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "gw",
            "uid": "00000000-0000-0000-0000-000000000000",
        }] });
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let probe = service("probe", &owner)?;
        until("the API server calls the webhook", LONG, async || {
            shop.services().create(&dry_run, &probe).await?;
            let idle = webhook.get("/metrics").await?.body.contains("reviews_in_flight 0\n");
            let called = calls_in_vain(&webhook).await? > 0;
            Ok(if called && idle { Look::Found(()) } else { Look::NotYet("no call, or not over".into()) })
        })
        .await?;

        let (before, calls) = (Counted::read(lab).await?, calls_in_vain(&webhook).await?);
        let begun = Instant::now();
        assert_eq!(labels(&shop.create("unsynced", &owner).await?), json!({}));
        assert!(begun.elapsed() < ALLOWED, "{:?}", begun.elapsed());
        assert_eq!(Counted::read(lab).await?, before.plus(1));
        // A call waits a second for the Gateways and is answered 503; the next one comes a second later, and is waiting when the
        // three seconds are over. That it was given up is seen a moment later.
        until("two calls", LONG, async || {
            let calls = calls_in_vain(&webhook).await? - calls;
            Ok(if calls == 2 { Look::Found(()) } else { Look::NotYet(calls.to_string()) })
        })
        .await?;

        lab.install_gateway_api().await?;
        webhook.wait_ready().await?;
        shop.until_labelled().await?;
        assert_eq!(Counted::read(lab).await?.rejections, 0);
        Ok(())
    })
}

#[test]
fn a_replica_that_drains_costs_no_label_while_another_serves() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let (leaving, staying) = tokio::try_join!(lab.run_webhook(&[]), lab.run_webhook(&[]))?;
        let shop = Shop::open(lab, "drain").await?;
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        let before = Counted::read(lab).await?;
        let gone = std::cell::Cell::new(false);
        let create = async |worker: usize| {
            let mut created = 0_usize;
            while !gone.get() || created < 20 {
                let service = create_in_time(&shop, &format!("s{worker}-{created}"), &gateway).await?;
                assert_eq!(labels(&service), json!({ "a": "1" }), "after {created}");
                created += 1;
            }
            Ok(())
        };
        let workers = try_join_all((0..4).map(create));
        tokio::try_join!(
            workers,
            async {
                // As the kubelet sees and tells it.
                until("it is not ready", LONG, async || {
                    Ok(match leaving.get("/ready").await {
                        Ok(response) if response.status == 503 => Look::Found(()),
                        other => Look::NotYet(format!("{other:?}")),
                    })
                })
                .await?;
                leaving.set_endpoint_ready(false).await
            },
            async {
                let status = leaving.process().terminate().await?;
                gone.set(true);
                anyhow::ensure!(status.success(), "{status}");
                Ok(())
            }
        )?;
        assert_eq!(Counted::read(lab).await?, before);
        assert!(reviews(&staying, "injected").await? > 0);
        Ok(())
    })
}

#[test]
fn the_first_service_after_an_api_server_restart_is_labelled() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let _webhook = lab.run_webhook(&[]).await?;
        let shop = Shop::open(lab, "restart").await?;
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        let metadata = owned_by(&gateway)?;
        lab.control_plane().api_server().kill().await?;
        lab.control_plane().api_server().restart().await?;
        // Not when it says that it is ready, but as soon as it takes one.
        let first = until("the API server takes a Service", LONG, async || {
            Ok(match shop.create("first", &metadata).await {
                Ok(service) => Look::Found(service),
                Err(error) => Look::NotYet(format!("{error:#}")),
            })
        })
        .await?;
        assert_eq!(labels(&first), json!({ "a": "1" }));
        let more =
            try_join_all((0..50).map(async |i| shop.create(&format!("next-{i}"), &metadata).await)).await?;
        let labelled: Vec<Value> = more.iter().map(labels).collect();
        assert_eq!(labelled, vec![json!({ "a": "1" }); 50]);
        assert_eq!(Counted::read(lab).await?, Counted { fail_open: 0, rejections: 0 });
        Ok(())
    })
}
