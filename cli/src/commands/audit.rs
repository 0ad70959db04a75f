// SPDX-License-Identifier: Apache-2.0
//! `audit`.

use std::{collections::BTreeSet, io};

use anyhow::bail;
use futures::{
    AsyncBufReadExt, Stream, StreamExt, future::join_all, future::try_join_all, stream::BoxStream,
    stream::SelectAll,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{ListParams, LogParams},
    runtime::{WatchStreamExt, watcher},
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
    render::table::Table,
    run::Ending,
    snapshot::{Named, objects::component},
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
    let mut table = Table::new(audit::headings());
    if args.follow {
        let mut followed = Followed::new(cluster.for_logs()?, args);
        followed.begin(&pods).await?;
        return follow(&cluster, followed, |record| {
            if filter.wants(&record) {
                terminal.write(&written(&[record], args.output, &mut table))?;
            }
            Ok(())
        })
        .await;
    }
    let mut records: Vec<Value> =
        read(&cluster, &pods, args).await?.into_iter().filter(|r| filter.wants(r)).collect();
    audit::sort(&mut records);
    let from = records.len().saturating_sub(args.tail.unwrap_or(usize::MAX));
    terminal.write(&written(&records[from..], args.output, &mut table))?;
    Ok(Ending::Fine)
}

async fn pods(cluster: &Cluster) -> anyhow::Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::all(cluster.client.clone());
    let listed = pods.list(&ListParams::default().labels(WEBHOOK_PODS)).await;
    let mut pods = listed
        .map_err(|error| {
            anyhow::anyhow!("cannot list the webhook's pods in all namespaces: {}", said(&error))
        })?
        .items;
    pods.retain(|pod| component(pod).is_some());
    if pods.is_empty() {
        bail!("there is no webhook pod ({WEBHOOK_PODS}): is Gateherald installed?");
    }
    Ok(pods)
}

fn params(args: &AuditArgs, follow: bool) -> LogParams {
    let seconds = args.since.map(|since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    LogParams { follow, since_seconds: seconds, ..LogParams::default() }
}

/// What all replicas wrote. One that has no log, like one whose image is missing, does not hide the others.
async fn read(cluster: &Cluster, pods: &[Pod], args: &AuditArgs) -> anyhow::Result<Vec<Value>> {
    let logs = pods.iter().map(async |pod| {
        let (namespace, name) = pod.key();
        let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
        api.logs(name, &params(args, false)).await.map_err(|error| unreadable(pod, &error))
    });
    let (mut records, mut unread) = (Vec::new(), Vec::new());
    for log in join_all(logs).await {
        match log {
            Ok(text) => records.extend(text.lines().filter_map(audit::parse)),
            Err(why) => unread.push(why),
        }
    }
    if unread.len() == pods.len() {
        bail!("{}", unread.swap_remove(0));
    }
    for why in &unread {
        tell(why);
    }
    Ok(records)
}

fn unreadable(pod: &Pod, error: &kube::Error) -> String {
    format!("cannot read the log of Pod {}: {}", pod.full_name(), said(error))
}

/// The logs of containers as they grow. Containers that start later come in.
struct Followed<'a> {
    client: Client,
    args: &'a AuditArgs,
    containers: BTreeSet<String>,
    lines: SelectAll<BoxStream<'static, io::Result<String>>>,
}

impl<'a> Followed<'a> {
    fn new(client: Client, args: &'a AuditArgs) -> Self {
        Self { client, args, containers: BTreeSet::new(), lines: SelectAll::new() }
    }

    /// Those that run now.
    ///
    /// # Errors
    /// When one cannot be read.
    async fn begin(&mut self, pods: &[Pod]) -> anyhow::Result<()> {
        let (client, args) = (self.client.clone(), self.args);
        let running = pods.iter().filter_map(|pod| Some((running(pod)?, pod)));
        let open = running.map(async |(id, pod)| anyhow::Ok((id, log(&client, pod, args).await?)));
        for (id, lines) in try_join_all(open).await? {
            self.containers.insert(id);
            self.lines.push(lines);
        }
        Ok(())
    }

    /// Takes a pod's container in, if it is new.
    async fn take_in(&mut self, pod: &Pod) {
        let Some(id) = running(pod).filter(|id| !self.containers.contains(id)) else { return };
        match log(&self.client, pod, self.args).await {
            Ok(lines) => {
                self.containers.insert(id);
                self.lines.push(lines);
            }
            Err(why) => tell(&format!("{why:#}")),
        }
    }
}

/// The container that runs in a pod: the id, which is another one after each restart.
fn running(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let status = statuses.first()?;
    status.state.as_ref()?.running.as_ref()?;
    status.container_id.clone().filter(|_| component(pod).is_some())
}

async fn log(
    client: &Client,
    pod: &Pod,
    args: &AuditArgs,
) -> anyhow::Result<BoxStream<'static, io::Result<String>>> {
    let (namespace, name) = pod.key();
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let log = api.log_stream(name, &params(args, true)).await;
    Ok(log.map_err(|error| anyhow::anyhow!(unreadable(pod, &error)))?.lines().boxed())
}

/// Shows records as they come, until somebody stops it: what one replica tells late is shown late.
async fn follow(
    cluster: &Cluster,
    mut followed: Followed<'_>,
    mut show: impl FnMut(Value) -> anyhow::Result<()>,
) -> anyhow::Result<Ending> {
    let mut pods = std::pin::pin!(changed(cluster.for_watches()?));
    loop {
        tokio::select! {
            Some(pod) = pods.next() => followed.take_in(&pod).await,
            Some(line) = followed.lines.next() => match line {
                Ok(line) => audit::parse(&line).map(&mut show).transpose()?.unwrap_or_default(),
                Err(error) => tell(&format!("a log broke off: {error}")),
            },
            else => bail!("there is nothing to follow any more"),
        }
    }
}

/// Webhook pods that are there and that change. Without the right to watch them, none.
fn changed(client: Client) -> impl Stream<Item = Pod> {
    let config = watcher::Config::default().labels(WEBHOOK_PODS);
    let events = watcher::watcher(Api::<Pod>::all(client), config).default_backoff();
    events.filter_map(|event| async {
        match event {
            Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => Some(pod),
            _ => None,
        }
    })
}

fn written(records: &[Value], output: AuditOutput, table: &mut Table) -> String {
    match output {
        AuditOutput::Json => {
            records.iter().flat_map(|record| [record.to_string(), "\n".to_owned()]).collect()
        }
        AuditOutput::Table if records.is_empty() => "No reviews.\n".to_owned(),
        AuditOutput::Table => table.lines(&records.iter().map(audit::columns).collect::<Vec<_>>()),
    }
}
