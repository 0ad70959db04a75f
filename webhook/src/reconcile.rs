// SPDX-License-Identifier: Apache-2.0
//! The reconciler's state, without I/O: which Services drifted from their Gateways, what is written next, and what is told.
//!
//! Its driver ([`crate::io::reconciler`]) tells what the watches show and what became of writes; it takes orders and
//! notices. A Service is decided about by the same rules as a review, at every event of its own or of its Gateway. What a
//! write did shows at the Service's next event: until then it is left alone.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use gateherald_model::{
    metadata::{LabelMap, Metadata},
    owner::Gateway,
    rules::Rules,
};
use tokio::time::Instant;

pub use keys::{GatewayKey, ServiceKey};
pub use order::{Done, Mode, Order, Pace};

use gateherald_runtime::rate::Rate;

use crate::io::gateways::Gateways;
use held::{Flags, Held, Phase};
use judgement::{Judgement, Need, concerns, judge, owner, remembered};
use notice::{Kind, Notice};
use persistence::Verdict;
use scope::{Registration, Scope};

mod held;
pub mod judgement;
mod keys;
pub mod metrics;
pub mod notice;
mod order;
pub mod persistence;
pub mod scope;

/// So long must a Gateway be missing before that is told: Gateways and Services are seen by two watches, and a Service
/// outlives its deleted Gateway by a moment.
const CONFIRM: Duration = Duration::from_secs(10);
/// A write that changed nothing, and one that rested on an outdated Gateway, are repeated after this.
const AGAIN: Duration = Duration::from_secs(1);
/// The event that follows a write comes within milliseconds. A Service is looked at again after this if it does not.
const LOST_EVENT: Duration = Duration::from_secs(30);
/// The pause after the first failed write of a Service, doubled by each further one,
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// up to this.
const LONGEST_RETRY: Duration = Duration::from_mins(1);
/// Services that are decided about at a stretch, some milliseconds' work: the thread serves reviews too.
const BATCH: usize = 256;

/// A Service as the watch shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What decides.
    pub metadata: Metadata,
    /// Its resourceVersion.
    pub version: String,
}

/// Everything that is known, and what is left to do. Only a leader has one.
#[derive(Debug)]
pub struct Reconciler {
    mode: Mode,
    limit: usize,
    rate: Rate,
    rules: Arc<Rules>,
    gateways: Arc<Gateways>,
    gateways_synced: bool,
    scope: Scope,
    services: BTreeMap<ServiceKey, Held>,
    listed: bool,
    of_gateway: HashMap<GatewayKey, BTreeSet<ServiceKey>>,
    /// When the API server last said that a Gateway is what the cache holds: when it was asked.
    confirmed: HashMap<GatewayKey, (Arc<Gateway>, Instant)>,
    queue: VecDeque<ServiceKey>,
    timers: BTreeSet<(Instant, ServiceKey)>,
    in_flight: usize,
    notices: Vec<Notice>,
    counts: Counts,
}

/// Numbers for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Services in view.
    pub services: usize,
    /// Those that wait to be decided about.
    pub queued: usize,
    /// Writes under way.
    pub in_flight: usize,
    /// Services that need a change that was not written (yet).
    pub drifted: usize,
    /// Those of them that are left alone for a while, because somebody undoes what is written.
    pub backed_off: usize,
    /// How often that began.
    pub fights: u64,
}

impl Reconciler {
    /// Knows nothing yet, and orders nothing before everything was seen that decides.
    pub fn new(mode: Mode, pace: Pace, rules: Arc<Rules>, gateways: Arc<Gateways>) -> Self {
        let burst = u32::try_from(pace.in_flight).unwrap_or(u32::MAX);
        Self {
            mode,
            limit: pace.in_flight.max(1),
            rate: Rate::new(pace.per_second, burst),
            rules,
            gateways,
            gateways_synced: false,
            scope: Scope::default(),
            services: BTreeMap::new(),
            listed: false,
            of_gateway: HashMap::new(),
            confirmed: HashMap::new(),
            queue: VecDeque::new(),
            timers: BTreeSet::new(),
            in_flight: 0,
            notices: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Whether everything was seen that decides.
    pub fn is_ready(&self) -> bool {
        self.gateways_synced && self.listed && self.scope.is_known()
    }

    /// Whether a Service has to be told to [`Self::applied`] at all; others may be told as gone.
    pub fn wants(rules: &Rules, service: &Metadata) -> bool {
        concerns(rules, service)
    }

    /// All Services that there are. The first list is where news begins: what it holds already is told to nobody.
    pub fn all(&mut self, seen: Vec<Seen>, now: Instant) {
        let first = !self.listed;
        let mut gone: BTreeSet<_> = self.services.keys().cloned().collect();
        for seen in seen {
            gone.remove(&ServiceKey::of(&seen.metadata));
            self.take_in(seen, now, first);
        }
        for key in gone {
            self.gone(&key);
        }
        self.listed = true;
    }

    /// A Service was created or changed.
    pub fn applied(&mut self, seen: Seen, now: Instant) {
        self.take_in(seen, now, false);
    }

    /// A Service is gone, or no longer any concern.
    pub fn gone(&mut self, key: &ServiceKey) {
        let Some(held) = self.services.remove(key) else { return };
        self.count(held.flags(), false);
        self.forget_gateway(key, held.gateway.as_ref());
        if let Some(wake) = held.wake {
            self.timers.remove(&(wake, key.clone()));
        }
        if matches!(held.phase, Phase::Writing { .. }) {
            self.in_flight -= 1;
        }
    }

    /// The cache of Gateways is complete (for the first time, or again after a gap).
    pub fn gateways_changed(&mut self) {
        self.gateways_synced = true;
        self.enqueue_all();
    }

    /// A Gateway was created, changed or deleted.
    pub fn gateway_changed(&mut self, gateway: &GatewayKey) {
        for key in self.of_gateway.get(gateway).cloned().unwrap_or_default() {
            self.enqueue(&key);
        }
    }

    /// There are other rules.
    pub fn rules_changed(&mut self, rules: Arc<Rules>) {
        self.rules = rules;
        let keys: Vec<_> = self.services.keys().cloned().collect();
        for key in &keys {
            self.index(key);
        }
        // What is needed now may be news, whatever the Gateway.
        self.services.values_mut().for_each(|held| held.written_with = None);
        self.enqueue_all();
    }

    /// The registration as it is now.
    pub fn registered(&mut self, registration: Registration) {
        if self.scope.registered(registration) {
            self.enqueue_all();
        }
    }

    /// All namespaces, with their labels.
    pub fn all_namespaces(&mut self, namespaces: HashMap<String, LabelMap>) {
        self.scope.all_namespaces(namespaces);
        self.enqueue_all();
    }

    /// A namespace's labels; `None` when it is gone.
    pub fn namespace(&mut self, name: &str, labels: Option<LabelMap>) {
        if !self.scope.namespace(name.to_owned(), labels) {
            return;
        }
        let first = ServiceKey { namespace: name.to_owned(), name: String::new() };
        let there = self.services.range(first..).take_while(|(key, _)| key.namespace == name);
        let keys: Vec<_> = there.map(|(key, _)| key.clone()).collect();
        for key in &keys {
            self.enqueue(key);
        }
    }

    /// The next write, if there is one and the pace allows it. Gives up after a batch of decisions without one: then
    /// [`Self::deadline`] is now.
    pub fn order(&mut self, now: Instant) -> Option<Order> {
        self.wake(now);
        for _ in 0..BATCH {
            if !(self.is_ready() && self.in_flight < self.limit && self.rate.next(now) <= now) {
                return None;
            }
            let key = self.queue.pop_front()?;
            let order = self.decide_and_count(&key, now);
            if let Some(order) = order {
                self.rate.take(now);
                self.in_flight += 1;
                return Some(order);
            }
        }
        None
    }

    /// When [`Self::order`] may have something that it does not have now, if nothing else happens.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let paced = (self.is_ready() && !self.queue.is_empty() && self.in_flight < self.limit)
            .then(|| self.rate.next(now));
        paced.into_iter().chain(self.timers.first().map(|(at, _)| *at)).min()
    }

    /// What there is to tell since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Before a write the API server said that the Gateway is the same; it was asked at `asked`.
    pub fn confirm(&mut self, gateway: GatewayKey, known: Arc<Gateway>, asked: Instant) {
        self.confirmed.insert(gateway, (known, asked));
    }

    /// An order was tried.
    pub fn done(&mut self, order: &Order, done: &Done, now: Instant) {
        let Some(held) = self.services.get_mut(&order.service) else { return };
        if !matches!(&held.phase, Phase::Writing { uid, .. } if *uid == order.uid) {
            return;
        }
        self.in_flight -= 1;
        let dirty = matches!(held.phase, Phase::Writing { dirty: true, .. });
        let mut wake = LOST_EVENT;
        held.phase = Phase::Resting;
        match done {
            Done::Written(_) => {
                held.wrote(order, done, now);
                wake = if done.changed(order) { LOST_EVENT } else { AGAIN };
                held.phase = Phase::Awaiting;
            }
            Done::Conflict | Done::Gone => held.phase = Phase::Awaiting,
            Done::Outdated => wake = AGAIN,
            Done::Failed => {
                held.failures += 1;
                wake = FIRST_RETRY.saturating_mul(1 << (held.failures - 1).min(16)).min(LONGEST_RETRY);
                held.retry = Some(now + wake);
            }
        }
        let newer = held.seen.version != order.version;
        self.set_timer(&order.service, Some(now + wake));
        if newer {
            self.rest(&order.service);
        }
        if newer || dirty {
            self.enqueue(&order.service);
        }
    }

    /// Numbers for metrics.
    pub fn counts(&self) -> Counts {
        let (services, queued, in_flight) = (self.services.len(), self.queue.len(), self.in_flight);
        Counts { services, queued, in_flight, ..self.counts }
    }

    fn take_in(&mut self, seen: Seen, now: Instant, baseline: bool) {
        let key = ServiceKey::of(&seen.metadata);
        if self.services.get(&key).is_some_and(|held| held.seen.metadata.uid != seen.metadata.uid) {
            self.gone(&key);
        }
        let before = if let Some(held) = self.services.get_mut(&key) {
            let before = remembered(&held.seen.metadata);
            held.seen = seen;
            held.seen_at = now;
            before
        } else {
            let before = if baseline { remembered(&seen.metadata) } else { BTreeMap::new() };
            self.services.insert(key.clone(), Held::new(seen, now, baseline));
            before
        };
        self.index(&key);
        self.tell_changes(&key, &before);
        if !self.services.get(&key).is_some_and(Held::is_late) {
            self.rest(&key);
        }
        self.enqueue(&key);
    }

    fn tell_changes(&mut self, key: &ServiceKey, before: &BTreeMap<String, String>) {
        let Some(held) = self.services.get(key) else { return };
        let service = &held.seen.metadata;
        for (kind, changes) in notice::compare(before, &remembered(service), service) {
            self.notices.push(Notice::new(service, kind, held.gateway.as_ref(), &changes));
        }
    }

    /// An event came: what was awaited is here.
    fn rest(&mut self, key: &ServiceKey) {
        if let Some(held) = self.services.get_mut(key)
            && held.phase == Phase::Awaiting
        {
            held.phase = Phase::Resting;
        }
    }

    fn index(&mut self, key: &ServiceKey) {
        let Some(held) = self.services.get_mut(key) else { return };
        let gateway = owner(&self.rules, &held.seen.metadata);
        if gateway == held.gateway {
            return;
        }
        let before = std::mem::replace(&mut held.gateway, gateway.clone());
        self.forget_gateway(key, before.as_ref());
        if let Some(gateway) = gateway {
            self.of_gateway.entry(gateway).or_default().insert(key.clone());
        }
    }

    fn forget_gateway(&mut self, key: &ServiceKey, gateway: Option<&GatewayKey>) {
        let Some(gateway) = gateway else { return };
        if let Some(services) = self.of_gateway.get_mut(gateway) {
            services.remove(key);
            if services.is_empty() {
                self.of_gateway.remove(gateway);
                self.confirmed.remove(gateway);
            }
        }
    }

    fn enqueue_all(&mut self) {
        let keys: Vec<_> = self.services.keys().cloned().collect();
        for key in &keys {
            self.enqueue(key);
        }
    }

    fn enqueue(&mut self, key: &ServiceKey) {
        let Some(held) = self.services.get_mut(key) else { return };
        match &mut held.phase {
            Phase::Resting => {
                held.phase = Phase::Queued;
                self.queue.push_back(key.clone());
            }
            Phase::Writing { dirty, .. } => *dirty = true,
            // What is known is older than what was written.
            Phase::Queued | Phase::Awaiting => {}
        }
    }

    fn wake(&mut self, now: Instant) {
        while let Some((at, key)) = self.timers.first().cloned()
            && at <= now
        {
            self.set_timer(&key, None);
            self.rest(&key);
            self.enqueue(&key);
        }
    }

    fn set_timer(&mut self, key: &ServiceKey, at: Option<Instant>) {
        let Some(held) = self.services.get_mut(key) else { return };
        if let Some(old) = std::mem::replace(&mut held.wake, at) {
            self.timers.remove(&(old, key.clone()));
        }
        if let Some(at) = at {
            self.timers.insert((at, key.clone()));
        }
    }

    fn count(&mut self, flags: Flags, more: bool) {
        let step = |number: &mut usize, flag: bool| {
            *number = if more { *number + usize::from(flag) } else { *number - usize::from(flag) };
        };
        step(&mut self.counts.drifted, flags.drifted);
        step(&mut self.counts.backed_off, flags.backed_off);
    }

    fn decide_and_count(&mut self, key: &ServiceKey, now: Instant) -> Option<Order> {
        let before = self.services.get(key)?.flags();
        self.count(before, false);
        let order = self.decide(key, now);
        let after = self.services.get(key).map(Held::flags);
        self.count(after.unwrap_or_default(), true);
        order
    }

    /// Decides about one Service; what is told of it goes to the notices.
    fn decide(&mut self, key: &ServiceKey, now: Instant) -> Option<Order> {
        let held = self.services.get_mut(key)?;
        if held.phase == Phase::Queued {
            held.phase = Phase::Resting;
        }
        let service = &held.seen.metadata;
        if service.deletion_timestamp.is_some() || !self.scope.covers(service) {
            held.ignore();
            return None;
        }
        let gateway = held.gateway.clone();
        let known = gateway.as_ref().and_then(|key| self.gateways.get(&key.namespace, &key.name));
        let Judgement { outcome, need } = judge(&self.rules, service, known.as_deref());
        let mut wake = held.note(outcome, now, &mut self.notices);
        let Some(need) = need else {
            held.settled();
            self.set_timer(key, wake);
            return None;
        };
        let news = held.drifts(&need);
        let may = match self.mode {
            Mode::Report if news => {
                let notice = Notice::new(&held.seen.metadata, Kind::Drifted, gateway.as_ref(), &need.keys);
                self.notices.push(notice);
                None
            }
            Mode::Report => None,
            Mode::Repair => self.permit(key, &need, known.as_ref(), now),
        };
        let held = self.services.get_mut(key)?;
        if let (Mode::Repair, Some(until)) = (self.mode, held.rests_until(now)) {
            wake = Some(wake.map_or(until, |wake| wake.min(until)));
        }
        let order = may.map(|()| {
            held.phase = Phase::Writing { uid: held.seen.metadata.uid.clone(), dirty: false };
            let gateway = gateway.zip(known);
            let confirm = gateway.as_ref().is_some_and(|(key, known)| {
                let last = self.confirmed.get(key);
                !last.is_some_and(|(same, asked)| same == known && *asked >= held.seen_at)
            });
            let (uid, version) = (held.seen.metadata.uid.clone(), held.seen.version.clone());
            Order { service: key.clone(), uid, version, need, gateway, confirm }
        });
        self.set_timer(key, wake);
        order
    }

    /// Whether a needed change may be written now.
    fn permit(
        &mut self,
        key: &ServiceKey,
        need: &Need,
        gateway: Option<&Arc<Gateway>>,
        now: Instant,
    ) -> Option<()> {
        let held = self.services.get_mut(key)?;
        if held.retry.is_some_and(|retry| now < retry) {
            return None;
        }
        match held.judge(need, gateway, now) {
            Verdict::Write => {
                held.paused = None;
                held.retry = None;
                Some(())
            }
            Verdict::Pause { until, first } => {
                held.paused = Some(until);
                if first {
                    self.counts.fights += 1;
                    let service = &held.seen.metadata;
                    let notice = Notice::new(service, Kind::NotKept, held.gateway.as_ref(), &need.keys);
                    self.notices.push(notice);
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
