// SPDX-License-Identifier: Apache-2.0
//! How fast a changed label of a Gateway is on the Services that exist.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::gateways::{Gateways, LABEL, owner};
use super::report::{Report, Sample};
use crate::harness::Lab;

const SERVICES: usize = 1_000;
const RUNS: usize = 5;
const CREATORS: usize = 8;
/// Between two looks at the labels: the figures are as coarse as this.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One Service of one Gateway, then a thousand that share another.
pub(super) async fn one_label_for_many(
    lab: &Lab,
    gateways: &Gateways,
    report: &mut Report,
) -> anyhow::Result<()> {
    for (count, target) in [(1, "≤ 1 s"), (SERVICES, "")] {
        let name = format!("shared-{count}");
        let owner = owner(&gateways.create(name.clone()).await?)?;
        let services: Api<Service> = Api::namespaced(lab.client(), &gateways.namespace);
        let create = async |number: usize| {
            let service = serde_json::from_value(json!({
                "metadata": { "name": format!("{name}-{number}"), "ownerReferences": owner },
                "spec": { "type": "ClusterIP", "ports": [{ "port": 80 }] },
            }))?;
            services.create(&PostParams::default(), &service).await?;
            anyhow::Ok(())
        };
        stream::iter(0..count).map(create).buffer_unordered(CREATORS).try_for_each(async |()| Ok(())).await?;
        let mut took = Vec::new();
        for run in 0..RUNS {
            let value = format!("{name}-run-{run}");
            let start = Instant::now();
            gateways.label(&name, &value).await?;
            let labelled = ListParams::default().labels(&format!("{LABEL}={value}"));
            while services.list_metadata(&labelled).await?.items.len() < count {
                sleep(LOOK_EVERY).await;
            }
            took.push(start.elapsed());
        }
        let what = format!("Gateway's label changed → on {count} × Service");
        report.row([&what, &Sample::new(took).millis(), target, ""])?;
    }
    Ok(())
}
