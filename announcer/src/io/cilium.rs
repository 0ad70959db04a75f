// SPDX-License-Identifier: Apache-2.0
//! Looks for the signs of Cilium's own announcing: its configuration, and its Leases.

use std::time::Duration;

use futures::{StreamExt, stream::BoxStream};
use gateherald_runtime::{
    backoff::Backoff,
    kubernetes::{Problem, Trouble, explain},
    shutdown::Shutdown,
};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::ConfigMap};
use kube::{Api, Client, ResourceExt};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

use super::{
    clock,
    follow::{ATTEMPT, News, Span, Subject, follow},
    objects::Told,
};
use crate::{
    cilium::{LEASE_PREFIX, OBSERVATION, Signs, Stance},
    desired::Seen,
};

const CONFIG: &str = "cilium-config";
const ENABLED: &str = "enable-l2-announcements";
/// 5 min: the configuration takes effect when Cilium's agents restart, and their Leases show it at once.
const CONFIG_EVERY: Duration = Duration::from_mins(5);

/// Where Cilium is, and whom to tell.
pub struct Lookout {
    /// The API server.
    pub client: Client,
    /// The namespace of Cilium's configuration and Leases.
    pub namespace: String,
    /// Whether there are policies of its kind at all.
    pub needed: watch::Receiver<bool>,
    /// Whom to tell.
    pub out: mpsc::Sender<Told>,
}

/// Looks out for as long as there are policies of Cilium's kind, until the process stops.
pub async fn look_out(mut lookout: Lookout, shutdown: Shutdown) {
    tokio::select! {
        () = shutdown.stopping() => {}
        () = async {
            while lookout.needed.wait_for(|needed| *needed).await.is_ok() {
                let mut needed = lookout.needed.clone();
                tokio::select! {
                    () = observe(&lookout) => return,
                    // Without policies there is nothing to decide; with new ones everything is looked at anew.
                    gone = needed.wait_for(|needed| !needed) => if gone.is_err() { return },
                }
            }
        } => {}
    }
}

/// Ends only when nobody listens any more.
async fn observe(lookout: &Lookout) {
    let api = Api::<Lease>::namespaced(lookout.client.clone(), &lookout.namespace);
    let subject = Subject {
        api,
        name: "leases.coordination.k8s.io",
        only: None,
        pauses: Backoff::default(),
        span: Span::short(),
    };
    let mut leases: BoxStream<'static, News<Lease>> = follow(subject, None);
    let mut state = State { signs: Signs::default(), unreadable: None, trouble: Trouble::new("cilium") };
    let mut config_in = Duration::ZERO;
    let mut told = None;
    let mut pauses = Backoff::default();
    loop {
        tokio::select! {
            () = sleep(config_in) => config_in = state.read_config(lookout, &mut pauses).await,
            Some(news) = leases.next() => state.lease_news(news),
            () = clock::wait(state.due()) => {}
        }
        let stance = state.stance();
        if told.as_ref() != Some(&stance) {
            told = Some(stance.clone());
            if lookout.out.send(Told::Seen(Box::new(Seen::Cilium(stance)))).await.is_err() {
                return;
            }
        }
    }
}

struct State {
    signs: Signs,
    unreadable: Option<String>,
    trouble: Trouble,
}

impl State {
    /// When to read it again.
    async fn read_config(&mut self, lookout: &Lookout, pauses: &mut Backoff) -> Duration {
        let api = Api::<ConfigMap>::namespaced(lookout.client.clone(), &lookout.namespace);
        let Ok(config) = timeout(ATTEMPT, api.get(CONFIG)).await else {
            self.cannot(format!("API server silent for {ATTEMPT:?}"));
            return pauses.pause();
        };
        match config {
            Ok(config) => self
                .configured(config.data.is_some_and(|data| data.get(ENABLED).is_some_and(|v| v == "true"))),
            Err(e) if Problem::of(&e) == Problem::NotFound => self.configured(false),
            Err(e) => {
                self.cannot(explain("get", &format!("configmaps/{CONFIG} in {}", lookout.namespace), &e));
                return pauses.pause();
            }
        }
        pauses.reset();
        CONFIG_EVERY
    }

    fn configured(&mut self, enabled: bool) {
        self.signs.configured(enabled);
        self.can();
    }

    fn lease_news(&mut self, news: News<Lease>) {
        let now = clock::now().raw;
        match news {
            News::All(all, _) => self.signs.leases(all.iter().filter_map(sign), now),
            News::Applied(lease) => {
                if let Some((name, version, duration)) = sign(&lease) {
                    self.signs.lease(name, version, duration, now);
                }
            }
            News::Deleted(lease) => self.signs.gone(&lease.name_any()),
            News::Connected => self.can(),
            News::Failed(_, said) => self.cannot(said),
            News::UpTo(_) | News::Interrupted => {}
        }
    }

    fn can(&mut self) {
        self.unreadable = None;
        self.trouble.over();
    }

    fn cannot(&mut self, said: String) {
        self.trouble.note(&said);
        self.unreadable = Some(said);
    }

    fn due(&self) -> Option<Duration> {
        let now = clock::now().raw;
        self.signs.judge(now).1.map(|at| at.saturating_sub(now))
    }

    /// What can't be read leaves a decision as it was: only without one it is the news.
    fn stance(&self) -> Stance {
        match (self.signs.judge(clock::now().raw).0, &self.unreadable) {
            (Stance::Undecided, Some(why)) => Stance::Unreadable(why.clone()),
            (stance, _) => stance,
        }
    }
}

fn sign(lease: &Lease) -> Option<(String, String, Duration)> {
    let name = lease.name_any();
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    let duration = seconds.and_then(|s| u64::try_from(s).ok()).map_or(OBSERVATION, Duration::from_secs);
    name.starts_with(LEASE_PREFIX).then(|| (name, lease.resource_version().unwrap_or_default(), duration))
}
