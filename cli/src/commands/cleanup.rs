// SPDX-License-Identifier: Apache-2.0
//! `cleanup`.

use std::fmt::Write as _;

use anyhow::bail;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Service};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};

use crate::{
    args::{CleanupArgs, Global},
    cleaning::{self, Leftover},
    io::{
        cluster::{self, Cluster},
        lists::{self, Depth, said},
        terminal::Terminal,
    },
    picture::Picture,
    run::Ending,
};

/// Takes away what Gateherald wrote on Services, and Leases that nobody uses.
pub(crate) async fn run(global: &Global, args: &CleanupArgs, terminal: Terminal) -> anyhow::Result<Ending> {
    let cluster = cluster::connect(global).await?;
    let snapshot = lists::snapshot(&cluster, Depth::Everything).await?;
    if let Some(gap) = snapshot.services.unreadable().or(snapshot.registrations.unreadable()) {
        bail!("cannot tell what is left: {gap}");
    }
    if cleaning::is_registered(&snapshot) && !args.force && !args.dry_run {
        bail!(
            "the webhook is registered (MutatingWebhookConfiguration), and would put everything back: uninstall the chart \
             first, or use --force"
        );
    }
    let picture = Picture::new(&snapshot, None);
    let left = cleaning::leftovers(&picture);
    let leases = cleaning::leases(&picture);
    if left.is_empty() && leases.is_empty() {
        terminal.write("Nothing is left.\n")?;
        return Ok(Ending::Fine);
    }
    terminal.write(&told(&left, &leases, args))?;
    if args.dry_run || !terminal.confirmed("Remove this?", args.yes)? {
        return Ok(Ending::Fine);
    }
    for leftover in &left {
        clean(&cluster, leftover, args.keep).await?;
    }
    for (namespace, name) in &leases {
        let api: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
        let deleted = api.delete(name, &DeleteParams::default()).await;
        deleted
            .map_err(|error| anyhow::anyhow!("cannot delete Lease {namespace}/{name}: {}", said(&error)))?;
    }
    terminal.write(&format!("cleaned {} Services, deleted {} Leases\n", left.len(), leases.len()))?;
    Ok(Ending::Fine)
}

fn told(left: &[Leftover], leases: &[(String, String)], args: &CleanupArgs) -> String {
    let mut text = String::new();
    for leftover in left {
        let _ = writeln!(text, "{}", leftover.says(args.keep));
    }
    for (namespace, name) in leases {
        let _ = writeln!(text, "Lease {namespace}/{name}");
    }
    text
}

async fn clean(cluster: &Cluster, leftover: &Leftover, keep: bool) -> anyhow::Result<()> {
    let key = &leftover.service;
    let api: Api<Service> = Api::namespaced(cluster.client.clone(), &key.namespace);
    let params =
        PatchParams { field_manager: Some("kubectl-gateherald".to_owned()), ..PatchParams::default() };
    let patched = api.patch(&key.name, &params, &Patch::Merge(leftover.patch(keep))).await;
    patched.map(drop).map_err(|error| anyhow::anyhow!("cannot clean Service {key}: {}", said(&error)))
}
