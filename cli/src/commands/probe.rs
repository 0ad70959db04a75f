// SPDX-License-Identifier: Apache-2.0
//! `probe`.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};

use crate::{
    args::{Global, ProbeArgs},
    io::{
        cluster, forward,
        lists::{self, Depth, said},
        probing::{self, Asking},
        terminal::Terminal,
    },
    picture::Picture,
    probe::{self, NodePage, Verdict},
    run::Ending,
    snapshot::objects::component,
};

const ANNOUNCER_PODS: &str = "app.kubernetes.io/component=announcer";
const DEBUG_PORT: u16 = 9472;

/// Asks who answers.
pub(crate) async fn run(global: &Global, args: &ProbeArgs, terminal: Terminal) -> anyhow::Result<Ending> {
    if let Some(from) = &args.from {
        return from_node(global, args, from.strip_prefix("node/").unwrap_or(from), terminal).await;
    }
    let asking =
        Asking { vip: args.vip, interfaces: args.interface.clone(), count: args.count, listen: args.timeout };
    let (interfaces, answers) = probing::ask(&asking).await?;
    let known = if answers.is_empty() { BTreeMap::new() } else { nodes(global).await };
    terminal.write(&probe::told(args.vip, &answers, &interfaces, &known))?;
    Ok(if probe::verdict(&answers) == Verdict::One { Ending::Fine } else { Ending::SomethingIsWrong })
}

/// Which node has which MAC, as far as sessions tell; the answer on the wire is good without.
async fn nodes(global: &Global) -> BTreeMap<String, String> {
    let Ok(cluster) = cluster::connect(global).await else { return BTreeMap::new() };
    let Ok(snapshot) = lists::snapshot(&cluster, Depth::Chains).await else { return BTreeMap::new() };
    let picture = Picture::new(&snapshot, None);
    let links = picture.sessions.iter().flat_map(|(node, facts)| {
        facts.session.links.iter().map(move |link| (link.mac.clone(), node.clone()))
    });
    links.collect()
}

/// Through the announcer of a node.
async fn from_node(
    global: &Global,
    args: &ProbeArgs,
    node: &str,
    terminal: Terminal,
) -> anyhow::Result<Ending> {
    let cluster = cluster::connect(global).await?;
    let pods: Api<Pod> = Api::all(cluster.client.clone());
    let listed = pods.list(&ListParams::default().labels(ANNOUNCER_PODS)).await.map_err(|error| {
        anyhow::anyhow!("cannot list the announcers' pods in all namespaces: {}", said(&error))
    })?;
    let on_node = |pod: &&Pod| {
        let on = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        on == Some(node) && component(pod).is_some()
    };
    let Some(pod) = listed.items.iter().find(on_node) else { bail!("no announcer's pod is on node {node}") };
    let (namespace, name) = (pod.metadata.namespace.as_deref(), pod.metadata.name.as_deref());
    let (Some(namespace), Some(name)) = (namespace, name) else { bail!("the announcer's pod has no name") };
    let path = format!("/probe?address={}", args.vip);
    let page = forward::get(&cluster.client, namespace, name, DEBUG_PORT, &path).await;
    let page = page.with_context(|| format!("cannot ask the announcer in Pod {namespace}/{name}"))?;
    let page: NodePage = serde_json::from_str(&page).context("the announcer's page is of another version")?;
    let known = if page.leaves_open() { nodes(global).await } else { BTreeMap::new() };
    let (text, one) = page.told(args.vip, &known);
    terminal.write(&text)?;
    Ok(if one { Ending::Fine } else { Ending::SomethingIsWrong })
}
