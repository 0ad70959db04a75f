// SPDX-License-Identifier: Apache-2.0
//! Asking an installation whether it works; the way of `helm test`.

use std::time::Duration;

use anyhow::{Context, bail};
use gateherald_runtime::{
    insist::insist,
    kubernetes::Problem,
    request::{ATTEMPT, RequestError, limited},
};
use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Service};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, PostParams},
};
use tracing::info;

use crate::{
    args::SelfTestArgs,
    selftest::{NAME, gateway, gateway_resource, labelled, rolled_out, service},
};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(2);

/// Asks everything that was asked for; the first thing that does not work within the time is the error.
pub async fn run(client: &Client, namespace: &str, asked: &SelfTestArgs) -> anyhow::Result<()> {
    let patience = Duration::from_secs(asked.timeout.into());
    if asked.gateway_namespace.is_none() && asked.announcer.is_none() {
        bail!("nothing to test: give --gateway-namespace, --announcer or both");
    }
    if let Some(home) = &asked.gateway_namespace {
        webhook(client, home, &asked.label, patience).await.context("webhook")?;
        info!(namespace = home, "passed: the Service of a Gateway gets its labels");
    }
    if let Some(name) = &asked.announcer {
        let nodes = announcer(client, namespace, name, patience).await.context("announcer")?;
        info!(nodes, "passed: the announcer is ready on every node");
    }
    Ok(())
}

/// Makes a Gateway, creates its Service as a dry run until that has the label, and removes the Gateway, whatever came of it.
async fn webhook(client: &Client, home: &str, label: &str, patience: Duration) -> anyhow::Result<()> {
    let gateways: Api<DynamicObject> = Api::namespaced_with(client.clone(), home, &gateway_resource());
    let made = make(&gateways, home, &gateway(home, label)).await?;
    let services: Api<Service> = Api::namespaced(client.clone(), home);
    let wanted = service(&made)?;
    let dry = PostParams { dry_run: true, field_manager: None };
    let outcome = insist(patience, PAUSE, async || {
        let answer = limited(ATTEMPT, services.create(&dry, &wanted)).await;
        let answer =
            answer.map_err(|error| error.explain("create (dry run)", &format!("services {home}/{NAME}")))?;
        labelled(&answer, label)
    })
    .await;
    remove(&gateways, home).await?;
    Ok(outcome?)
}

async fn make(
    gateways: &Api<DynamicObject>,
    home: &str,
    gateway: &DynamicObject,
) -> anyhow::Result<DynamicObject> {
    let resource = format!("gateways.gateway.networking.k8s.io {home}/{NAME}");
    let create = async || limited(ATTEMPT, gateways.create(&PostParams::default(), gateway)).await;
    let made = match create().await {
        // Of a test that was killed.
        Err(error) if error.problem() == Problem::Conflict => {
            remove(gateways, home).await?;
            create().await
        }
        made => made,
    };
    match made {
        Ok(gateway) => Ok(gateway),
        Err(error) if is_not_served(&error) => bail!(
            "Gateway API is not installed (gateway.networking.k8s.io/v1, kind Gateway), or namespace {home} does not exist: {}",
            error.explain("create", &resource)
        ),
        Err(error) => bail!(error.explain("create", &resource)),
    }
}

fn is_not_served(error: &RequestError) -> bool {
    error.problem() == Problem::NotFound
}

async fn remove(gateways: &Api<DynamicObject>, home: &str) -> anyhow::Result<()> {
    match limited(ATTEMPT, gateways.delete(NAME, &DeleteParams::default())).await {
        Ok(_) => Ok(()),
        Err(error) if error.problem() == Problem::NotFound => Ok(()),
        Err(error) => {
            bail!(error.explain("delete", &format!("gateways.gateway.networking.k8s.io {home}/{NAME}")))
        }
    }
}

async fn announcer(client: &Client, namespace: &str, name: &str, patience: Duration) -> anyhow::Result<i32> {
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
    let resource = format!("daemonsets.apps {namespace}/{name}");
    let nodes = insist(patience, PAUSE, async || {
        let set = limited(ATTEMPT, sets.get(name)).await.map_err(|error| error.explain("get", &resource))?;
        rolled_out(&set).map_err(|missing| format!("DaemonSet {namespace}/{name}: {missing}"))
    });
    Ok(nodes.await?)
}
