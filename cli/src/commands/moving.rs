// SPDX-License-Identifier: Apache-2.0
//! `move` and `evacuate`: one write, and a look at the claims until they have changed hands.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, bail};
use futures::TryStreamExt;
use gateherald_model::{
    leases::{self, Holder, Record},
    service::{ANNOUNCE, PREFERRED_NODE},
};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Service},
};
use kube::{
    Api,
    api::{Patch, PatchParams},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    args::{EvacuateArgs, Global, MoveArgs},
    io::{
        cluster::{self, Cluster},
        lists::{self, Depth, said},
        terminal::Terminal,
    },
    moving::{self, Log, Plan},
    picture::Picture,
    run::Ending,
};

const MANAGER: &str = "kubectl-gateherald";
/// The claims of the whole cluster, wherever the release is.
const CLAIMS: &str = "gateherald.io/lease=claim";

/// `move`.
pub(crate) async fn one(global: &Global, args: &MoveArgs, terminal: Terminal) -> anyhow::Result<Ending> {
    let cluster = cluster::connect(global).await?;
    let snapshot = lists::snapshot(&cluster, Depth::Chains).await?;
    let picture = Picture::new(&snapshot, None);
    let plan = moving::plan(&picture, args.vip, &args.to)
        .map_err(|why| anyhow::anyhow!("cannot move {}: {why}", args.vip))?;
    let from = plan.from.as_deref().unwrap_or("nobody");
    let services: Vec<String> = plan.services.iter().map(ToString::to_string).collect();
    terminal.write(&format!(
        "before: {} is held by {from}\nwill set {PREFERRED_NODE}={} on Service {}\n",
        plan.address,
        plan.to,
        services.join(", ")
    ))?;
    if plan.from.as_deref() == Some(plan.to.as_str()) && !args.stay {
        terminal.write("it is there already; --stay makes it prefer that node\n")?;
        return Ok(Ending::Fine);
    }
    if !terminal.confirmed("Move it?", args.yes)? {
        return Ok(Ending::Fine);
    }
    let mut log = Log::new([(plan.address, plan.from.clone())].into());
    let prefer = json!({ "metadata": { "annotations": { PREFERRED_NODE: plan.to } } });
    annotate(&cluster, &plan, &prefer).await?;
    let moved =
        watch(&cluster, &mut log, args.timeout, |log| log.holder(plan.address) == Some(plan.to.as_str()))
            .await?;
    if !args.stay {
        let forget = json!({ "metadata": { "annotations": { PREFERRED_NODE: Value::Null } } });
        annotate(&cluster, &plan, &forget).await?;
    }
    let holder = log.holder(plan.address).unwrap_or("nobody").to_owned();
    terminal.write(&format!("after:  {} is held by {holder}{}\n", plan.address, gap(&log, plan.address)))?;
    if moved { Ok(Ending::Fine) } else { bail!("{} did not move within {:?}", plan.address, args.timeout) }
}

fn gap(log: &Log, address: IpAddr) -> String {
    log.gaps.get(&address).map_or_else(String::new, |gap| {
        format!(", after {} ms without a claim as the API server told it", gap.as_millis())
    })
}

async fn annotate(cluster: &Cluster, plan: &Plan, patch: &Value) -> anyhow::Result<()> {
    for key in &plan.services {
        let api: Api<Service> = Api::namespaced(cluster.client.clone(), &key.namespace);
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patched = api.patch(&key.name, &params, &Patch::Merge(patch)).await;
        patched.map_err(|error| anyhow::anyhow!("cannot annotate Service {key}: {}", said(&error)))?;
    }
    Ok(())
}

/// `evacuate`.
pub(crate) async fn all(global: &Global, args: &EvacuateArgs, terminal: Terminal) -> anyhow::Result<Ending> {
    let cluster = cluster::connect(global).await?;
    let snapshot = lists::snapshot(&cluster, Depth::Chains).await?;
    let picture = Picture::new(&snapshot, None);
    let node = &args.node;
    if !picture.nodes.contains_key(node) {
        bail!("there is no node {node}");
    }
    if args.undo {
        label(&cluster, node, Value::Null).await?;
        terminal.write(&format!(
            "Node {node} may announce again; addresses come back to it when they are free or moved\n"
        ))?;
        return Ok(Ending::Fine);
    }
    let held = moving::held_by(&picture, node);
    terminal.write(&before(node, &held, &moving::stranded(&picture, node, &held)))?;
    if !terminal.confirmed(&format!("Set the label {ANNOUNCE}=false on Node {node}?"), args.yes)? {
        return Ok(Ending::Fine);
    }
    let holders = held.iter().map(|address| (*address, Some(node.clone()))).collect();
    let mut log = Log::new(holders);
    label(&cluster, node, json!("false")).await?;
    let done = watch(&cluster, &mut log, args.timeout, |log| log.left(node, &held)).await?;
    terminal.write(&after(&log, &held))?;
    if done {
        Ok(Ending::Fine)
    } else {
        bail!("not all addresses of {node} were taken over within {:?}", args.timeout)
    }
}

fn before(node: &str, held: &[IpAddr], stranded: &[IpAddr]) -> String {
    let list =
        |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut text = match held.len() {
        0 => format!("before: {node} holds no address\n"),
        number => format!("before: {node} holds {number}: {}\n", list(held)),
    };
    if !stranded.is_empty() {
        text.extend(["no other node may announce ", &list(stranded), ": they will be silent\n"]);
    }
    text
}

fn after(log: &Log, held: &[IpAddr]) -> String {
    let line = |address: &IpAddr| {
        format!(
            "after:  {address} is held by {}{}\n",
            log.holder(*address).unwrap_or("nobody"),
            gap(log, *address)
        )
    };
    held.iter().map(line).collect()
}

async fn label(cluster: &Cluster, node: &str, value: Value) -> anyhow::Result<()> {
    let api: Api<Node> = Api::all(cluster.client.clone());
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({ "metadata": { "labels": { ANNOUNCE: value } } }));
    let patched = api.patch(node, &params, &patch).await;
    patched.map(drop).map_err(|error| anyhow::anyhow!("cannot label Node {node}: {}", said(&error)))
}

/// Looks at the claims until `done`, for so long at the most; whether it was.
#[allow(clippy::disallowed_methods, reason = "the shell reads the clock")]
async fn watch(
    cluster: &Cluster,
    log: &mut Log,
    timeout: Duration,
    done: impl Fn(&Log) -> bool,
) -> anyhow::Result<bool> {
    let start = Instant::now();
    let claims: Api<Lease> = Api::all(cluster.for_watches()?);
    let events = watcher::watcher(claims, watcher::Config::default().labels(CLAIMS)).default_backoff();
    let mut events = std::pin::pin!(events);
    let look = async {
        while !done(log) {
            let event = events.try_next().await.context("cannot watch the claims")?;
            let (lease, gone) = match event {
                Some(Event::Apply(lease) | Event::InitApply(lease)) => (lease, false),
                Some(Event::Delete(lease)) => (lease, true),
                Some(Event::Init | Event::InitDone) => continue,
                None => bail!("the watch on the claims ended"),
            };
            if let Ok((_, Record::Claim(claim))) = leases::read(&lease) {
                let holder = match claim.holder {
                    Holder::Session { node, .. } if !gone => Some(node),
                    _ => None,
                };
                log.see(claim.address, holder, start.elapsed());
            }
        }
        Ok(())
    };
    match tokio::time::timeout(timeout, look).await {
        Ok(result) => result.map(|()| true),
        Err(_) => Ok(false),
    }
}
