// SPDX-License-Identifier: Apache-2.0
//! `audit`.

use anyhow::{Context, bail};
use futures::{AsyncBufReadExt, StreamExt, TryStreamExt, future::try_join_all, stream::select_all};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{ListParams, LogParams},
};
use serde_json::Value;

use crate::{
    args::{AuditArgs, AuditOutput, Global},
    audit::{self, Filter},
    io::{
        cluster::{self, Cluster},
        lists::said,
        terminal::{Terminal, tell},
    },
    render::table::table,
    run::Ending,
    snapshot::objects::component,
};

const WEBHOOK_PODS: &str = "app.kubernetes.io/component=webhook";

/// Shows the audit trail of all webhook replicas.
pub(crate) async fn run(global: &Global, args: &AuditArgs, terminal: Terminal) -> anyhow::Result<Ending> {
    let cluster = cluster::connect(global).await?;
    let filter = Filter {
        namespace: cluster.scope.clone(),
        service: args.service.clone(),
        gateway: args.gateway.clone(),
        outcomes: args.outcome.clone(),
        dry_runs: args.dry_runs,
    };
    let pods = pods(&cluster).await?;
    if args.follow {
        return follow(&cluster, &pods, &filter, args, terminal).await;
    }
    let logs = pods.iter().map(async |pod| read(&cluster, pod, args).await);
    let mut records: Vec<Value> =
        try_join_all(logs).await?.into_iter().flatten().filter(|r| filter.wants(r)).collect();
    audit::sort(&mut records);
    let from = records.len().saturating_sub(args.tail.unwrap_or(usize::MAX));
    terminal.write(&written(&records[from..], args.output, true))?;
    Ok(Ending::Fine)
}

async fn pods(cluster: &Cluster) -> anyhow::Result<Vec<(String, String)>> {
    let pods: Api<Pod> = Api::all(cluster.client.clone());
    let listed = pods.list(&ListParams::default().labels(WEBHOOK_PODS)).await;
    let listed = listed.map_err(|error| {
        anyhow::anyhow!("cannot list the webhook's pods in all namespaces: {}", said(&error))
    })?;
    let key = |pod: Pod| {
        component(&pod)?;
        Some((pod.metadata.namespace?, pod.metadata.name?))
    };
    let pods: Vec<(String, String)> = listed.items.into_iter().filter_map(key).collect();
    if pods.is_empty() {
        bail!("there is no webhook pod ({WEBHOOK_PODS}): is Gateherald installed?");
    }
    Ok(pods)
}

fn params(args: &AuditArgs, follow: bool) -> LogParams {
    let seconds = args.since.map(|since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    LogParams { follow, since_seconds: seconds, ..LogParams::default() }
}

async fn read(cluster: &Cluster, pod: &(String, String), args: &AuditArgs) -> anyhow::Result<Vec<Value>> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &pod.0);
    let text = api.logs(&pod.1, &params(args, false)).await;
    let text = text.map_err(|error| {
        anyhow::anyhow!("cannot read the log of Pod {}/{}: {}", pod.0, pod.1, said(&error))
    })?;
    Ok(text.lines().filter_map(audit::parse).collect())
}

/// As they come: what one replica tells late is shown late.
async fn follow(
    cluster: &Cluster,
    pods: &[(String, String)],
    filter: &Filter,
    args: &AuditArgs,
    terminal: Terminal,
) -> anyhow::Result<Ending> {
    let open = pods.iter().map(async |pod| {
        let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &pod.0);
        let log = api.log_stream(&pod.1, &params(args, true)).await;
        log.map_err(|error| {
            anyhow::anyhow!("cannot follow the log of Pod {}/{}: {}", pod.0, pod.1, said(&error))
        })
    });
    let logs = try_join_all(open).await?;
    let mut lines = select_all(logs.into_iter().map(|log| log.lines().boxed()));
    let mut first = true;
    while let Some(line) = lines.try_next().await.context("the log broke off")? {
        let Some(record) = audit::parse(&line).filter(|record| filter.wants(record)) else { continue };
        terminal.write(&written(&[record], args.output, first))?;
        first = false;
    }
    tell("the webhook's pods ended");
    Ok(Ending::Fine)
}

fn written(records: &[Value], output: AuditOutput, first: bool) -> String {
    match output {
        AuditOutput::Json => {
            records.iter().flat_map(|record| [record.to_string(), "\n".to_owned()]).collect()
        }
        AuditOutput::Table if records.is_empty() => "No reviews.\n".to_owned(),
        AuditOutput::Table => {
            let rows: Vec<Vec<String>> = records.iter().map(audit::columns).collect();
            table(&if first { audit::headings() } else { Vec::new() }, &rows)
        }
    }
}
