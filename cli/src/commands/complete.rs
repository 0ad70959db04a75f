// SPDX-License-Identifier: Apache-2.0
//! `__complete`, for the script `kubectl_complete-gateherald`.

use clap::CommandFactory;

use crate::{
    args::{Args, Global},
    completion::{self, Names, Slot},
    io::{
        cluster,
        lists::{self, Depth},
        terminal::Terminal,
    },
    run::Ending,
    snapshot::{Named, Snapshot},
};

/// Writes candidates. A cluster is asked only for names, and one that does not answer has none.
pub(crate) async fn run(global: &Global, words: &[String], terminal: Terminal) -> anyhow::Result<Ending> {
    let command = Args::command();
    let slot = completion::slot(&command, words);
    let asks = matches!(slot, Slot::Subject | Slot::Address | Slot::Node | Slot::Namespace);
    let names = if asks { names(global, words).await.unwrap_or_default() } else { Names::default() };
    terminal.write(&completion::candidates(&command, words, &names))?;
    Ok(Ending::Fine)
}

async fn names(global: &Global, words: &[String]) -> anyhow::Result<Names> {
    let after = |flags: [&str; 2]| {
        let at = words.iter().position(|word| flags.contains(&word.as_str()))?;
        words.get(at + 1).cloned().filter(|word| !word.is_empty())
    };
    let mut global = global.clone();
    global.namespace = global.namespace.or_else(|| after(["-n", "--namespace"]));
    global.context = global.context.or_else(|| after(["--context", "--context"]));
    let cluster = cluster::connect(&global).await?;
    Ok(of(&lists::snapshot(&cluster, Depth::Chains).await?))
}

fn of(snapshot: &Snapshot) -> Names {
    let services = snapshot.services.items.iter();
    let addresses = services.clone().flat_map(|service| {
        let view = gateherald_model::service::ServiceView::from(service);
        view.entries.into_iter().filter_map(|entry| match entry {
            gateherald_model::service::AddressEntry::Address(address, _) => Some(address.to_string()),
            _ => None,
        })
    });
    let addresses: Vec<String> = addresses.collect();
    let gateways = snapshot.gateways.items.iter().map(|gateway| format!("gateway/{}", gateway.key().1));
    let balanced = services.clone().filter(|service| {
        service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer")
    });
    let balanced = balanced.map(|service| format!("service/{}", service.key().1));
    Names {
        subjects: gateways.chain(balanced).chain(addresses.iter().cloned()).collect(),
        nodes: snapshot.nodes.items.iter().map(|node| node.key().1.to_owned()).collect(),
        namespaces: services.map(|service| service.key().0.to_owned()).collect(),
        addresses,
    }
}
