// SPDX-License-Identifier: Apache-2.0
//! The process, from top to bottom: check, connect, start every task, wait for the end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use axum::Router;
use gateherald_model::{announcement::Rules, interfaces::Link, leases::FIELD_MANAGER};
use gateherald_runtime::{
    admin::{self, Admin},
    crypto,
    election::{self, Election, Leadership},
    events::{self, Teller},
    kubernetes::{ClientOptions, client},
    logging::LogFilter,
    process,
    readiness::Board,
    shutdown::{Shutdown, Signals},
    tasks::{Grace, Tasks},
};
use kube::Client;
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
};

use crate::{
    args::{Announcing, Args, CiliumPolicies, Command},
    cilium::Stance,
    claims::{Config, Heard, Notice, Rights},
    debug,
    desired::{Desires, Outlook, Plan, Reach, Seen, Survey},
    evaluating::{Evaluating, Outputs},
    io::{
        answering::{self, Answering, Speaker},
        cilium::{Lookout, look_out},
        endpoints::Watching,
        links,
        objects::{self, Told},
        office::{self, Officer},
        packet, policies,
        telling::{self, Telling},
    },
    metrics::{self, Metrics},
    seat::Seat,
    standoff::Contests,
    telling::{Tale, metrics::Metrics as TellingMetrics},
};

/// Changes under way to the evaluation, questions under way to the claims; who sends more waits.
const BACKLOG: usize = 256;
/// No peer has to notice that this process ends before it does, and its session's end is one write.
const GRACE: Grace = Grace { drain: Duration::ZERO, stop: Duration::from_secs(5) };
/// What is watched may wait for a slow API server; what is renewed may not.
const OBJECT_CONNECT: Duration = Duration::from_secs(5);

/// Does what the command line says.
pub async fn run(args: Args, config: Config, filter: LogFilter) -> anyhow::Result<()> {
    crypto::install_provider();
    match &args.command {
        Some(Command::ApplyPolicies(asked)) => {
            policies::apply(&client(&args.kube, options(OBJECT_CONNECT)).await?, asked).await
        }
        None => announce(Arc::new(args), config, filter).await,
    }
}

/// Runs until a signal, or until a task fails.
async fn announce(args: Arc<Args>, config: Config, filter: LogFilter) -> anyhow::Result<()> {
    packet::permitted()?;
    let candidacy = candidacy(&args)?;
    let signals = Signals::install().context("install signal handlers")?;
    let admin_port = admin::bind(args.admin_listen).await?;
    let debug_port = TcpListener::bind(args.debug_listen)
        .await
        .with_context(|| format!("cannot listen on {} (debug port)", args.debug_listen))?;
    let objects = client(&args.kube, options(OBJECT_CONNECT)).await?;
    let leases = client(
        &args.kube,
        ClientOptions { hedge_after: Some(config.hedge_after()), ..options(config.renew_period) },
    )
    .await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), node = config.node, "starting");

    let (told_out, told) = mpsc::channel(BACKLOG);
    let (question_out, questions) = mpsc::channel(BACKLOG);
    let (rights_out, rights) = watch::channel(Rights::default());
    let mut daemon = Daemon::default();
    let links = daemon.follow_links();
    daemon.watch_objects(&objects, &told_out);
    let results = daemon.evaluate(&config, &args.announcing, told, links.clone());
    daemon.watch_endpoints(objects.clone(), told_out.clone(), results.endpoints_needed.clone());
    daemon.watch_cilium(objects.clone(), &args.announcing, told_out, results.cilium_needed.clone()).await?;
    let office = daemon.hold_office(&objects, candidacy, config.duration(), &results);
    let (speaker, contests, heard) = daemon.answer(results.reach, links.clone())?;
    let teller = daemon.tell(objects, &config.node, contests.clone(), results.outlook.clone(), office);
    let seat = Seat {
        config,
        namespace: args.namespace.clone(),
        owner: args.owner_configmap.clone(),
        speaker,
        heard,
        plan: results.plan,
        rights: rights_out,
        questions,
        teller,
        metrics: daemon.metrics.clone(),
    };
    daemon.claim(seat, leases);
    let sources = debug::Sources {
        args,
        filter: filter.clone(),
        outlook: results.outlook.clone(),
        links,
        contests,
        questions: question_out,
    };
    daemon.serve_debug(debug_port, sources);
    daemon.serve_admin(admin_port, results.outlook, rights, filter);
    Ok(daemon.tasks.run(signals, daemon.shutdown, GRACE).await?)
}

/// What all tasks share.
#[derive(Default)]
struct Daemon {
    tasks: Tasks,
    board: Board,
    shutdown: Shutdown,
    metrics: Metrics,
    telling: TellingMetrics,
    election: election::Metrics,
}

/// Whom the elected one tells, and whether this process is it.
struct Office {
    leadership: Leadership,
    teller: Teller<Tale>,
    tales: mpsc::Receiver<Tale>,
}

/// What the evaluation tells the others.
struct Results {
    plan: watch::Receiver<Arc<Plan>>,
    reach: watch::Receiver<Arc<Reach>>,
    outlook: watch::Receiver<Arc<Outlook>>,
    cilium_needed: watch::Receiver<bool>,
    endpoints_needed: watch::Receiver<bool>,
    surveys: mpsc::Sender<oneshot::Sender<Option<Survey>>>,
}

impl Daemon {
    /// A task that ends without an error, and only because the process stops.
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(name, async move {
            task.await;
            Ok(())
        });
    }

    fn follow_links(&mut self) -> watch::Receiver<Option<Arc<[Link]>>> {
        let (out, links) = watch::channel(None);
        let ready = self.board.part("links", "the node's links have not been read yet");
        let (mut seen, shutdown) = (links.clone(), self.shutdown.clone());
        self.tasks.spawn("links", async move {
            let first = async {
                if seen.wait_for(Option::is_some).await.is_ok() {
                    ready.ready();
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = shutdown.stopping() => Ok(()),
                end = links::follow(out) => Ok(end?),
                () = first => Ok(()),
            }
        });
        links
    }

    fn watch_objects(&mut self, client: &Client, out: &mpsc::Sender<Told>) {
        let (api, told, stop) = (|| client.clone(), || out.clone(), self.shutdown.clone());
        let services = self.board.part("services", "services have not been listed yet");
        let nodes = self.board.part("nodes", "nodes have not been listed yet");
        self.spawn("policies", objects::policies(api(), told(), stop.clone()));
        self.spawn("services", objects::services(api(), told(), services, stop.clone()));
        self.spawn("nodes", objects::nodes(api(), told(), nodes, stop));
    }

    fn evaluate(
        &mut self,
        config: &Config,
        announcing: &Announcing,
        told: mpsc::Receiver<Told>,
        links: watch::Receiver<Option<Arc<[Link]>>>,
    ) -> Results {
        let (plan_out, plan) = watch::channel(Arc::default());
        let (reach_out, reach) = watch::channel(Arc::default());
        let (outlook_out, outlook) = watch::channel(Arc::default());
        let (cilium_needed_out, cilium_needed) = watch::channel(false);
        let (endpoints_needed_out, endpoints_needed) = watch::channel(false);
        let (surveys_out, surveys) = mpsc::channel(1);
        let evaluating = Evaluating {
            desires: Desires::new(config.node.clone(), rules(announcing)),
            told,
            links,
            surveys,
            out: Outputs {
                plan: plan_out,
                reach: reach_out,
                outlook: outlook_out,
                cilium_needed: cilium_needed_out,
                endpoints_needed: endpoints_needed_out,
            },
            metrics: self.metrics.clone(),
            ready: self.board.part("policies", "policies have not been listed yet"),
        };
        self.spawn("evaluation", evaluating.run(self.shutdown.clone()));
        Results { plan, reach, outlook, cilium_needed, endpoints_needed, surveys: surveys_out }
    }

    fn watch_endpoints(&mut self, client: Client, out: mpsc::Sender<Told>, needed: watch::Receiver<bool>) {
        let ready = self.board.part("endpoints", "not looked at yet");
        let watching = Watching { client, needed, out, ready };
        self.spawn("endpoints", watching.run(self.shutdown.clone()));
    }

    async fn watch_cilium(
        &mut self,
        client: Client,
        announcing: &Announcing,
        out: mpsc::Sender<Told>,
        needed: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let stance = match announcing.cilium_policies {
            CiliumPolicies::Never => Some(Stance::Never),
            CiliumPolicies::Always => Some(Stance::Honoured),
            CiliumPolicies::Auto => None,
        };
        if stance != Some(Stance::Never) {
            let policies = objects::cilium_policies(client.clone(), out.clone(), self.shutdown.clone());
            self.spawn("Cilium's policies", policies);
        }
        if let Some(stance) = stance {
            return out
                .send(Told::Seen(Box::new(Seen::Cilium(stance))))
                .await
                .context("the evaluation ended");
        }
        let lookout = Lookout { client, namespace: announcing.cilium_namespace.clone(), needed, out };
        self.spawn("lookout for Cilium", look_out(lookout, self.shutdown.clone()));
        Ok(())
    }

    fn answer(
        &mut self,
        reach: watch::Receiver<Arc<Reach>>,
        links: watch::Receiver<Option<Arc<[Link]>>>,
    ) -> anyhow::Result<(Speaker, watch::Receiver<Arc<Contests>>, mpsc::Receiver<Heard>)> {
        let Answering { speaker, contests, heard, end } =
            answering::start(reach, links, self.metrics.clone())?;
        self.tasks.spawn("answering", async { Ok(end.await?) });
        Ok((speaker, contests, heard))
    }

    fn claim(&mut self, seat: Seat, leases: Client) {
        let ready = self.board.part("leases", "the API server has not been reached yet");
        let shutdown = self.shutdown.clone();
        self.tasks.spawn("claims", seat.take(leases, ready, shutdown));
    }

    /// Stands for election, and tells of the whole cluster once elected.
    fn hold_office(
        &mut self,
        client: &Client,
        candidacy: election::Settings,
        lease_duration: Duration,
        results: &Results,
    ) -> Office {
        let namespace = candidacy.namespace.clone();
        let (election, leadership) = Election::new(client.clone(), candidacy, self.election.clone());
        let (teller, tales) = events::queue(telling::TALES, self.telling.queue_full());
        let officer = Officer {
            client: client.clone(),
            namespace,
            lease_duration,
            outlook: results.outlook.clone(),
            surveys: results.surveys.clone(),
            leadership: leadership.clone(),
            teller: teller.clone(),
            metrics: self.telling.clone(),
        };
        let (outlook, shutdown) = (results.outlook.clone(), self.shutdown.clone());
        self.tasks.spawn("election", office::stand(election, outlook, shutdown.clone()));
        self.spawn("policy status", officer.run(shutdown));
        Office { leadership, teller, tales }
    }

    /// Writes Events.
    fn tell(
        &mut self,
        client: Client,
        node: &str,
        contests: watch::Receiver<Arc<Contests>>,
        outlook: watch::Receiver<Arc<Outlook>>,
        office: Office,
    ) -> Teller<Notice> {
        let (to_people, notices) = events::queue(telling::NOTICES, self.telling.queue_full());
        let Office { leadership, teller, tales } = office;
        let metrics = self.telling.clone();
        let node = node.to_owned();
        let telling =
            Telling { client, node, notices, contests, outlook, tales, teller, leadership, metrics };
        self.spawn("events", telling.run(self.shutdown.clone()));
        to_people
    }

    fn serve_debug(&mut self, port: TcpListener, sources: debug::Sources) {
        let filter = sources.filter.clone();
        let shutdown = self.shutdown.clone();
        // The admin port may be the node's address alone, which `kubectl port-forward` does not reach.
        let pages = debug::router(sources).merge(admin::log_level_router(filter));
        let pages = pages.into_make_service_with_connect_info::<SocketAddr>();
        self.tasks.spawn("debug port", async move {
            let stop = async move { shutdown.stopping().await };
            axum::serve(port, pages).with_graceful_shutdown(stop).await.context("debug port")
        });
    }

    fn serve_admin(
        &mut self,
        port: TcpListener,
        outlook: watch::Receiver<Arc<Outlook>>,
        rights: watch::Receiver<Rights>,
        filter: LogFilter,
    ) {
        let mut registry = Registry::default();
        process::register(&mut registry, metrics::PREFIX, env!("CARGO_PKG_VERSION"));
        self.metrics.register(&mut registry, outlook, rights);
        self.telling.register(&mut registry);
        self.election.add_to(registry.sub_registry_with_prefix(metrics::PREFIX));
        let (board, shutdown, pages) = (self.board.clone(), self.shutdown.clone(), Router::new());
        let admin = Admin { board, registry, filter, shutdown, pages };
        self.tasks.spawn("admin port", admin::serve(port, admin));
    }
}

/// For the Lease of the one that tells of the whole cluster.
fn candidacy(args: &Args) -> anyhow::Result<election::Settings> {
    Ok(election::Settings {
        namespace: args.namespace.clone(),
        lease: office::LEASE,
        owner: args.owner_configmap.clone(),
        name: args.node_name.clone(),
        field_manager: FIELD_MANAGER,
        times: args.election.times()?,
    })
}

fn options(connect_timeout: Duration) -> ClientOptions {
    ClientOptions {
        user_agent: concat!("gateherald-announcer/", env!("CARGO_PKG_VERSION")),
        connect_timeout,
        hedge_after: None,
        read_timeout: None,
        retry: false,
    }
}

fn rules(announcing: &Announcing) -> Rules {
    Rules {
        load_balancer_classes: announcing.load_balancer_classes.iter().cloned().collect(),
        external_ip_cidrs: announcing.external_ip_cidrs.clone(),
        honor_exclude_label: announcing.honor_exclude_label,
    }
}
