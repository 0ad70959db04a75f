// SPDX-License-Identifier: Apache-2.0
//! Drives the reconciler while this replica leads: the watches that it sees by, and the writes that it orders.

use std::{future::pending, pin::pin, sync::Arc};

use futures::{
    StreamExt,
    stream::{BoxStream, FuturesUnordered},
};
use gateherald_model::{
    metadata::{LabelMap, Metadata},
    rules::Rules,
};
use gateherald_runtime::{
    backoff::Backoff,
    election::{self, Election, Leadership},
    follow::{News, Span, Subject, follow_reduced},
    kubernetes::{Problem, Trouble, Troubles, explain},
    process,
    shutdown::Shutdown,
    tasks::{TaskResult, Tasks},
};
use k8s_openapi::api::{
    admissionregistration::v1::MutatingWebhookConfiguration,
    core::v1::{Namespace, Service},
};
use kube::{
    Api, Client, ResourceExt,
    api::{PartialObjectMeta, Patch, PatchParams},
};
use tokio::{
    sync::{broadcast, watch},
    task::yield_now,
    time::{Duration, Instant, sleep_until, timeout},
};
use tracing::{debug, info, warn};

use super::{
    events::{self, Teller},
    gateways::{Change, Gateways, LiveLookup},
};
use crate::{
    args::{Args, ReconcileArg},
    handler::Ask,
    reconcile::{
        Done, GatewayKey, Mode, Order, Pace, Reconciler, Seen, ServiceKey,
        metrics::{Metrics, Part},
        notice::Kind,
        scope::Registration,
    },
};

/// The Lease that the leader holds.
pub const LEASE: &str = "gateherald-webhook-leader";
/// Who writes, in managedFields and the API server's audit log.
pub const FIELD_MANAGER: &str = "gateherald-webhook-reconciler";
/// One write, and the question before it, may take so long each; less where a leader's rights are shorter.
const ATTEMPT: Duration = Duration::from_secs(3);

/// What the reconciler is made from.
pub struct Reconciling {
    /// Flags.
    pub args: Arc<Args>,
    /// Our entry in the webhook configuration.
    pub entry: &'static str,
    /// The rules in force.
    pub rules: watch::Receiver<Arc<Rules>>,
    /// The Gateways that are known.
    pub gateways: Arc<Gateways>,
    /// Whether `gateways` has been complete once.
    pub synced: watch::Receiver<bool>,
    /// Where numbers go.
    pub metrics: Metrics,
    /// Where the election's numbers go.
    pub election: election::Metrics,
}

/// Starts the election and the reconciler, unless it is switched off.
pub fn spawn(
    tasks: &mut Tasks,
    client: &Client,
    reconciling: Reconciling,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let Reconciling { args, entry, rules, gateways, synced, metrics, election } = reconciling;
    let flags = &args.reconciling;
    let times = flags.election.times()?;
    let mode = match flags.reconcile {
        ReconcileArg::Repair => Mode::Repair,
        ReconcileArg::Report => Mode::Report,
        ReconcileArg::Off => return Ok(()),
    };
    let name = flags.pod_name.clone().unwrap_or_else(process::host_name);
    let candidacy = election::Settings {
        namespace: args.namespace.clone(),
        lease: LEASE,
        owner: args.owner_configmap.clone(),
        name: name.clone(),
        field_manager: FIELD_MANAGER,
        times,
    };
    let (election, leadership) = Election::new(client.clone(), candidacy, election);
    let settings = Settings {
        mode,
        pace: Pace { in_flight: flags.reconcile_in_flight.into(), per_second: flags.reconcile_rate },
        name,
        configuration: args.webhook_configuration.clone(),
        entry,
    };
    let driver = Driver { settings, client: client.clone(), leadership, rules, gateways, synced, metrics };
    tasks.spawn("election", election.run(shutdown.clone()));
    tasks.spawn("reconciler", driver.run(shutdown.clone()));
    Ok(())
}

/// How the reconciler works.
struct Settings {
    mode: Mode,
    pace: Pace,
    /// This replica's name, for Events.
    name: String,
    configuration: String,
    entry: &'static str,
}

/// The task.
struct Driver {
    settings: Settings,
    client: Client,
    leadership: Leadership,
    rules: watch::Receiver<Arc<Rules>>,
    gateways: Arc<Gateways>,
    synced: watch::Receiver<bool>,
    metrics: Metrics,
}

impl Driver {
    /// Reconciles whenever this replica leads, until the process drains.
    async fn run(self, shutdown: Shutdown) -> TaskResult {
        loop {
            tokio::select! {
                biased;
                () = shutdown.draining() => return Ok(()),
                // The election only ends when the process does.
                gained = self.leadership.gained() => if !gained { shutdown.draining().await },
            }
            let leadership = self.leadership.clone();
            tokio::select! {
                biased;
                () = shutdown.draining() => {}
                () = leadership.lost() => {}
                () = self.lead() => {}
            }
            self.metrics.counts(crate::reconcile::Counts::default(), 0);
            self.metrics.services.never();
        }
    }

    /// One term. Dropping it ends every watch, and every write that is under way.
    async fn lead(&self) {
        let Settings { mode, name, .. } = &self.settings;
        info!(?mode, "reconciling");
        let (client, metrics) = (self.client.clone(), self.metrics.clone());
        let (teller, writer) = events::channel(client, name, self.leadership.clone(), metrics);
        let term = Term::new(self, teller);
        let mut rules = self.rules.clone();
        tokio::select! {
            // Both only end when the leadership does.
            () = term.run(&mut rules) => {}
            () = writer.run() => pending().await,
        }
    }
}

type Services = BoxStream<'static, News<(ServiceKey, Option<Seen>)>>;
type Namespaces = BoxStream<'static, News<(String, LabelMap)>>;
type Registrations = BoxStream<'static, News<Registration>>;

/// What a term has seen and does.
struct Term<'a> {
    driver: &'a Driver,
    reconciler: Reconciler,
    teller: Teller,
    logs: Logs,
    fights: u64,
    was_ready: bool,
}

/// What fails, as the log tells it: apart, so that what works does not end what fails.
struct Logs {
    services: Trouble,
    namespaces: Trouble,
    registration: Trouble,
    patches: Troubles,
    gateways: Troubles,
}

impl<'a> Term<'a> {
    fn new(driver: &'a Driver, teller: Teller) -> Self {
        let (mode, pace) = (driver.settings.mode, driver.settings.pace);
        let (rules, gateways) = (Arc::clone(&driver.rules.borrow()), Arc::clone(&driver.gateways));
        let logs = Logs {
            services: Trouble::new("reconciler: Services"),
            namespaces: Trouble::new("reconciler: namespaces"),
            registration: Trouble::new("reconciler: registration"),
            patches: Troubles::new("reconciler: patches"),
            gateways: Troubles::new("reconciler: Gateways"),
        };
        let reconciler = Reconciler::new(mode, pace, rules, gateways);
        Self { driver, reconciler, teller, logs, fights: 0, was_ready: false }
    }

    /// Never ends by itself.
    async fn run(mut self, rules: &mut watch::Receiver<Arc<Rules>>) {
        let driver = self.driver;
        let mut gateway_changes = self.driver.gateways.changes();
        let mut synced = pin!(wait_for(self.driver.synced.clone()));
        let mut is_synced = false;
        let mut services = self.services();
        let (mut namespaces, mut registrations) = (self.namespaces(), self.registrations());
        let mut writes = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            while let Some(order) = self.reconciler.order(now) {
                writes.push(driver.perform(order));
            }
            self.publish();
            let deadline = self.reconciler.deadline(now);
            if deadline.is_some_and(|deadline| deadline <= now) {
                // There is more to decide, but others want the thread too.
                yield_now().await;
            }
            tokio::select! {
                () = &mut synced, if !is_synced => {
                    is_synced = true;
                    self.reconciler.gateways_changed();
                }
                change = gateway_changes.recv() => self.gateway_change(change),
                Some(news) = services.next() => self.service_news(news),
                Some(news) = namespaces.next() => self.namespace_news(news),
                Some(news) = registrations.next() => self.registration_news(news),
                Some(written) = writes.next() => self.settle(&written),
                new = rules.changed() => match new {
                    Ok(()) => {
                        self.reconciler.rules_changed(Arc::clone(&rules.borrow_and_update()));
                        // Other Services may be a concern now: they have to be listed.
                        services = self.services();
                    }
                    // Whoever reads the rules has ended, and the process ends too.
                    Err(_) => pending().await,
                },
                () = until(deadline) => {}
            }
        }
    }

    fn services(&self) -> Services {
        let api: Api<PartialObjectMeta<Service>> = Api::all(self.driver.client.clone());
        let subject =
            Subject { api, name: "services", only: None, pauses: Backoff::default(), span: Span::long() };
        let rules = Arc::clone(&self.driver.rules.borrow());
        follow_reduced(subject, None, move |service| reduce(&rules, service))
    }

    fn namespaces(&self) -> Namespaces {
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(self.driver.client.clone());
        let subject =
            Subject { api, name: "namespaces", only: None, pauses: Backoff::default(), span: Span::long() };
        follow_reduced(subject, None, |found| (found.name_any(), found.metadata.labels.unwrap_or_default()))
    }

    fn registrations(&self) -> Registrations {
        let Settings { configuration, entry, .. } = &self.driver.settings;
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.driver.client.clone());
        let name = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
        let only = Some(configuration.clone());
        let subject = Subject { api, name, only, pauses: Backoff::default(), span: Span::long() };
        let (configuration, entry) = (configuration.clone(), *entry);
        follow_reduced(subject, None, move |found| Registration::read(Some(&found), &configuration, entry))
    }

    fn gateway_change(&mut self, change: Result<Change, broadcast::error::RecvError>) {
        match change {
            Ok(Change::One { namespace, name }) => {
                self.reconciler.gateway_changed(&GatewayKey { namespace, name });
            }
            // Too many at once are all of them.
            Ok(Change::All) | Err(_) => {
                if *self.driver.synced.borrow() {
                    self.reconciler.gateways_changed();
                }
            }
        }
    }

    fn service_news(&mut self, news: News<(ServiceKey, Option<Seen>)>) {
        let now = Instant::now();
        if !matches!(news, News::Failed(..) | News::Interrupted) {
            self.driver.metrics.services.now();
        }
        match news {
            News::All(all, _) => {
                self.reconciler.all(all.into_iter().filter_map(|(_, seen)| seen).collect(), now);
            }
            News::Applied((_, Some(seen))) => self.reconciler.applied(seen, now),
            News::Applied((key, None)) | News::Deleted((key, _)) => self.reconciler.gone(&key),
            News::Connected => self.logs.services.over(),
            News::Failed(_, reason) => {
                self.driver.metrics.failed(Part::Services);
                self.logs.services.note(&reason);
            }
            News::UpTo(_) | News::Interrupted => {}
        }
    }

    fn namespace_news(&mut self, news: News<(String, LabelMap)>) {
        match news {
            News::All(all, _) => self.reconciler.all_namespaces(all.into_iter().collect()),
            News::Applied((name, labels)) => self.reconciler.namespace(&name, Some(labels)),
            News::Deleted((name, _)) => self.reconciler.namespace(&name, None),
            News::Connected => self.logs.namespaces.over(),
            News::Failed(_, reason) => {
                self.driver.metrics.failed(Part::Namespaces);
                self.logs.namespaces.note(&reason);
            }
            News::UpTo(_) | News::Interrupted => {}
        }
    }

    fn registration_news(&mut self, news: News<Registration>) {
        let Settings { configuration, entry, .. } = &self.driver.settings;
        let registration = match news {
            News::All(mut all, _) => {
                all.pop().unwrap_or_else(|| Registration::read(None, configuration, entry))
            }
            News::Applied(registration) => registration,
            News::Deleted(_) => Registration::read(None, configuration, entry),
            News::Connected => return self.logs.registration.over(),
            News::Failed(_, reason) => {
                self.driver.metrics.failed(Part::Registration);
                return self.logs.registration.note(&reason);
            }
            News::UpTo(_) | News::Interrupted => return,
        };
        if let Registration::Unusable(reason) = &registration {
            warn!(reason, "nothing is reconciled: the registration says what the webhook is for");
        }
        self.reconciler.registered(registration);
    }

    fn settle(&mut self, written: &Written) {
        let Written { order, done, confirmed, failure } = written;
        if let (Some(asked), Some((key, gateway))) = (confirmed, &order.gateway) {
            self.logs.gateways.over();
            self.reconciler.confirm(key.clone(), Arc::clone(gateway), *asked);
        }
        match done {
            Done::Written(_) => {
                self.logs.patches.over();
                if done.changed(order) {
                    let (keys, reason) = (&order.need.keys, order.need.reason.name());
                    let service = &order.service;
                    info!(%service, reason, ?keys, "patched");
                    self.driver.metrics.patched(order.need.reason);
                }
            }
            Done::Conflict => self.driver.metrics.conflict(),
            Done::Gone | Done::Outdated | Done::Failed => {}
        }
        match failure {
            Some(Failure::Gateway(reason)) => {
                self.driver.metrics.failed(Part::Gateway);
                self.logs.gateways.note(None, reason);
            }
            Some(Failure::Patch(problem, reason)) => {
                self.driver.metrics.failed(Part::Patch);
                self.logs.patches.note(Some(*problem), reason);
            }
            None => {}
        }
        debug!(service = %order.service, ?done, "tried");
        self.reconciler.done(order, done, Instant::now());
    }

    /// Hands out what there is to tell.
    fn publish(&mut self) {
        let counts = self.reconciler.counts();
        self.driver.metrics.counts(counts, self.fights);
        self.fights = counts.fights;
        if !self.was_ready && self.reconciler.is_ready() {
            self.was_ready = true;
            info!(services = counts.services, "everything is known that decides about Services");
        }
        for notice in self.reconciler.take_notices() {
            if notice.kind == Kind::NotKept {
                warn!(service = %notice.service, message = notice.message, "somebody undoes what is written");
            }
            self.teller.tell(notice);
        }
    }
}

/// What became of an order, and how.
struct Written {
    order: Order,
    done: Done,
    /// When the API server was asked about the Gateway, if it then was the same.
    confirmed: Option<Instant>,
    failure: Option<Failure>,
}

/// Why there was no answer that says anything about the Service; for people.
enum Failure {
    /// The Gateway could not be looked up.
    Gateway(String),
    /// The Service could not be written.
    Patch(Problem, String),
}

impl Driver {
    fn limit(&self) -> Duration {
        ATTEMPT.min(self.leadership.limit())
    }

    async fn perform(&self, order: Order) -> Written {
        let mut confirmed = None;
        let result = self.attempt(&order, &mut confirmed).await;
        let (done, failure) = match result {
            Ok(done) => (done, None),
            Err(failure) => (Done::Failed, Some(failure)),
        };
        Written { order, done, confirmed, failure }
    }

    async fn attempt(&self, order: &Order, confirmed: &mut Option<Instant>) -> Result<Done, Failure> {
        if let (true, Some((key, known))) = (order.confirm, &order.gateway) {
            let asked = Instant::now();
            let lookup = LiveLookup::new(self.client.clone());
            let rules = Arc::clone(&self.rules.borrow());
            let live = timeout(self.limit(), lookup.ask(&rules, &key.namespace, &key.name)).await;
            let live = live.map_err(|_| Failure::Gateway(silent("gateways")))?;
            match live.map_err(Failure::Gateway)? {
                Some(live) if live == **known => *confirmed = Some(asked),
                _ => return Ok(Done::Outdated),
            }
        }
        // Asked as late as can be: what was frozen meanwhile must not write.
        let Some(_permit) = self.leadership.act() else {
            return Ok(Done::Outdated);
        };
        self.patch(order).await
    }

    async fn patch(&self, order: &Order) -> Result<Done, Failure> {
        let ServiceKey { namespace, name } = &order.service;
        let api: Api<PartialObjectMeta<Service>> = Api::namespaced(self.client.clone(), namespace);
        let mut patch = order.need.patch.clone();
        patch["metadata"]["uid"] = order.uid.clone().into();
        patch["metadata"]["resourceVersion"] = order.version.clone().into();
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        match timeout(self.limit(), api.patch(name, &params, &Patch::Merge(&patch))).await {
            Ok(Ok(service)) => Ok(Done::Written(service.resource_version().unwrap_or_default())),
            Ok(Err(error)) => match Problem::of(&error) {
                Problem::Conflict => Ok(Done::Conflict),
                Problem::NotFound => Ok(Done::Gone),
                problem => {
                    let reason = explain("patch", &format!("services {}", order.service), &error);
                    Err(Failure::Patch(problem, reason))
                }
            },
            Err(_) => Err(Failure::Patch(Problem::Unreachable, silent("services"))),
        }
    }
}

fn silent(resource: &str) -> String {
    format!("API server silent about {resource}: no answer came in time")
}

/// Reduces a Service as soon as it is decoded; one that is no concern to its name.
fn reduce(rules: &Rules, service: PartialObjectMeta<Service>) -> (ServiceKey, Option<Seen>) {
    let version = service.resource_version().unwrap_or_default();
    let metadata = Metadata::from(service.metadata);
    let key = ServiceKey::of(&metadata);
    let seen = Reconciler::wants(rules, &metadata).then_some(Seen { metadata, version });
    (key, seen)
}

async fn wait_for(mut synced: watch::Receiver<bool>) {
    if synced.wait_for(|synced| *synced).await.is_err() {
        pending::<()>().await;
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
