// SPDX-License-Identifier: Apache-2.0
//! The process from start to end.

use std::{sync::Arc, time::Duration};

use gateherald_certs::{
    keeper::{self, Names, Source},
    metrics::Metrics as CertMetrics,
};
use gateherald_runtime::{
    admin::{self, Admin},
    election::Metrics as ElectionMetrics,
    kubernetes::{self, ClientOptions},
    logging::LogFilter,
    process,
    readiness::Board,
    shutdown::{Shutdown, Signals},
    tasks::{Grace, Tasks},
};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tracing::info;

use crate::{
    args::{Args, AuditArg, Command},
    audit::Trail,
    config::Config,
    handler::Handler,
    http::Frontend,
    io::{
        gateways::{Gateways, LiveLookup, Watch},
        reconciler::{self, Reconciling},
        rules::RulesFile,
        selftest,
    },
    metrics::Metrics,
    reconcile::metrics::Metrics as ReconcilerMetrics,
    server::{self, LINGER, Server},
};

/// Our entry in the webhook configuration. API: renaming it breaks upgrades.
const ENTRY: &str = "services.gateherald.io";
/// Of the names of metrics.
const PREFIX: &str = "gateherald_webhook";
/// The version that is shown everywhere.
const VERSION: &str = env!("CARGO_PKG_VERSION");

const CLIENT: ClientOptions = ClientOptions {
    user_agent: concat!("gateherald-webhook/", env!("CARGO_PKG_VERSION")),
    connect_timeout: Duration::from_secs(5),
    hedge_after: None,
    // Watches have their own, look-ups their deadline.
    read_timeout: None,
    // Every task has its own backoff, and look-ups have no time for retries.
    retry: false,
};

/// Does what the command line says.
pub async fn run(args: Args, filter: LogFilter) -> anyhow::Result<()> {
    match &args.command {
        Some(Command::SelfTest(asked)) => {
            let client = kubernetes::client(&args.kube, CLIENT).await?;
            selftest::run(&client, &args.namespace, asked).await
        }
        None => serve(args, filter).await,
    }
}

/// Runs until a signal, or until a task dies.
async fn serve(args: Args, filter: LogFilter) -> anyhow::Result<()> {
    let (mut tasks, mut board, shutdown) = (Tasks::default(), Board::default(), Shutdown::default());
    let mut registry = Registry::default();
    let (metrics, cert_metrics, repairs, election) = metrics(&mut registry);

    let certificates = Source::try_from(args.certificates.clone())?;
    let signals = Signals::install()?;
    process::raise_file_limit();
    let rules_file = RulesFile::open(args.label_rules.clone(), metrics.clone()).await?;
    let listener = server::bind(args.listen).await?;
    let admin_listener = admin::bind(args.admin_listen).await?;
    let client = kubernetes::client(&args.kube, CLIENT).await?;

    let in_force = watch::Sender::new(Arc::clone(&rules_file.rules().borrow()));
    let rules = in_force.subscribe();
    let args = Arc::new(args);
    let config = Config { args: Arc::clone(&args), rules: rules.clone(), problem: rules_file.problem() };
    info!(version = VERSION, config = config.show()?, "starting");

    let names = names(&args);
    let resolver =
        keeper::spawn(&mut tasks, &client, certificates, &names, &mut board, cert_metrics, &shutdown);

    let (gateways, synced) = (Arc::new(Gateways::default()), watch::Sender::new(false));
    let (trail, lines) = Trail::new(args.audit == AuditArg::All, metrics.clone());
    let reconciling = Reconciling {
        args: Arc::clone(&args),
        entry: ENTRY,
        rules: rules.clone(),
        gateways: Arc::clone(&gateways),
        synced: synced.subscribe(),
        metrics: repairs.clone(),
        election,
    };
    reconciler::spawn(&mut tasks, &client, reconciling, &shutdown)?;
    let handler = Handler {
        rules,
        gateways: Arc::clone(&gateways),
        synced: synced.subscribe(),
        ask: LiveLookup::new(client.clone()),
        trail,
        metrics: metrics.clone(),
    };
    let handle = board.part("gateways", "the first list is under way");
    let wanted = rules_file.rules();
    let age = repairs.gateways;
    let watch = Watch { gateways, synced, wanted, in_force, handle, metrics: metrics.clone(), age };
    tasks.spawn("label rules", rules_file.run(shutdown.clone()));
    tasks.spawn("gateways", watch.run(client, shutdown.clone()));
    tasks.spawn("audit", lines.write_to(tokio::io::stdout()));
    let server = Server::new(Frontend::new(handler, shutdown.clone()), resolver, metrics, shutdown.clone())?;
    tasks.spawn("admission", server.run(listener));
    let admin = Admin { board, registry, filter, shutdown: shutdown.clone(), pages: config.routes() };
    tasks.spawn("admin", admin::serve(admin_listener, admin));

    let drain = Duration::from_secs(args.drain_seconds.into());
    tasks.run(signals, shutdown, Grace { drain, stop: LINGER * 2 }).await?;
    info!("stopped");
    Ok(())
}

/// Everything that `/metrics` shows.
fn metrics(registry: &mut Registry) -> (Metrics, CertMetrics, ReconcilerMetrics, ElectionMetrics) {
    process::register(registry, PREFIX, VERSION);
    let own = registry.sub_registry_with_prefix(PREFIX);
    let (metrics, certificates) = (Metrics::register(own), CertMetrics::register(own));
    let (repairs, election) = (ReconcilerMetrics::register(own), ElectionMetrics::register(own));
    registry.register_collector(repairs.ages(PREFIX));
    (metrics, certificates, repairs, election)
}

/// The objects that certificates are made for.
fn names(args: &Args) -> Names {
    Names {
        namespace: args.namespace.clone(),
        service: args.service_name.clone(),
        owner: args.owner_configmap.clone(),
        configuration: args.webhook_configuration.clone(),
        entry: ENTRY.into(),
    }
}
