// SPDX-License-Identifier: Apache-2.0
//! `cleanup`.

use std::fmt::Write as _;

use anyhow::bail;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Service};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
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
    snapshot::Named,
};

/// Takes away what Gateherald wrote on Services, and Leases that nobody uses.
pub(crate) async fn run(global: &Global, args: &CleanupArgs, terminal: Terminal) -> anyhow::Result<Ending> {
    let cluster = cluster::connect(global).await?;
    let snapshot = lists::snapshot(&cluster, Depth::Everything).await?;
    // Without the DaemonSets, Leases that announcers need would seem to be left over.
    let gaps = [
        snapshot.services.unreadable(),
        snapshot.registrations.unreadable(),
        snapshot.daemon_sets.unreadable(),
        snapshot.leases.unreadable(),
    ];
    if let Some(gap) = gaps.into_iter().flatten().next() {
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
    let leases = cleaning::leases(&picture, cluster.scope.as_deref());
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
    for lease in &leases {
        delete(&cluster, lease).await?;
    }
    terminal.write(&format!(
        "cleaned {}, deleted {}\n",
        counted(left.len(), "Service"),
        counted(leases.len(), "Lease")
    ))?;
    Ok(Ending::Fine)
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn told(left: &[Leftover], leases: &[&Lease], args: &CleanupArgs) -> String {
    let mut text = String::new();
    for leftover in left {
        let _ = writeln!(text, "{}", leftover.says(args.keep));
    }
    for lease in leases {
        let _ = writeln!(text, "Lease {}", lease.full_name());
    }
    text
}

/// Unless somebody has written it since: then it is in use.
async fn delete(cluster: &Cluster, lease: &Lease) -> anyhow::Result<()> {
    let (namespace, name) = lease.key();
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let version = lease.metadata.resource_version.clone();
    let params = DeleteParams {
        preconditions: Some(Preconditions { resource_version: version, uid: lease.metadata.uid.clone() }),
        ..DeleteParams::default()
    };
    match api.delete(name, &params).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        deleted => deleted
            .map(drop)
            .map_err(|error| anyhow::anyhow!("cannot delete Lease {namespace}/{name}: {}", said(&error))),
    }
}

async fn clean(cluster: &Cluster, leftover: &Leftover, keep: bool) -> anyhow::Result<()> {
    let key = &leftover.service;
    let api: Api<Service> = Api::namespaced(cluster.client.clone(), &key.namespace);
    let params =
        PatchParams { field_manager: Some("kubectl-gateherald".to_owned()), ..PatchParams::default() };
    let patched = api.patch(&key.name, &params, &Patch::Merge(leftover.patch(keep))).await;
    patched.map(drop).map_err(|error| anyhow::anyhow!("cannot clean Service {key}: {}", said(&error)))
}
