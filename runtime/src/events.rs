// SPDX-License-Identifier: Apache-2.0
//! Events (`events.k8s.io/v1`), written so that who says the same again adds nothing.
//!
//! An Event's name follows from what it says of which object. So a process that starts, or leads, anew and repeats what was told
//! before finds it there; and what happens again raises the count of that Event instead of making another one.
#![allow(clippy::disallowed_methods, reason = "Events say when")]

use std::{collections::HashMap, time::Duration};

use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use prometheus_client::metrics::counter::Counter;
use serde_json::json;
use tokio::{sync::mpsc, time::Instant};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    kubernetes::Problem,
    rate::Rate,
    request::{RequestError, limited},
};

/// The resource as RBAC and people name it.
pub const RESOURCE: &str = "events.events.k8s.io";
/// Where Events on objects without a namespace go.
const ELSEWHERE: &str = "default";
/// The API server takes no more of a note, in bytes.
const LONGEST_NOTE: usize = 1024;
/// Nor of a reporter's instance.
const LONGEST_INSTANCE: usize = 128;
/// The longest name of an object (RFC 1123 subdomain), without the point and the 16 digits behind it.
const LONGEST_NAME: usize = 253 - 17;
/// Counts that are remembered; all are forgotten when there are more, which only makes them begin anew.
const REMEMBERED: usize = 4096;

/// Something that happened to an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence {
    /// The object, with its uid: `kubectl describe` asks for it.
    pub regarding: ObjectReference,
    /// Somebody should look.
    pub warning: bool,
    /// Why it is told: one word.
    pub reason: &'static str,
    /// What was being done.
    pub action: &'static str,
    /// What happened, for people. More than 1,024 bytes are cut.
    pub note: String,
    /// It was seen to happen now. If not, an Event that says the same is all there is to say.
    pub news: bool,
}

/// What became of an occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// There is a new Event.
    Written,
    /// An Event that says the same counts one more.
    Counted,
    /// There is an Event that says the same.
    Known,
}

/// Writes Events, one attempt each.
pub struct Publisher {
    client: Client,
    controller: &'static str,
    instance: String,
    counts: HashMap<String, i32>,
}

impl Publisher {
    /// `controller` reports, as `kubectl describe` shows it; `instance` is the replica or the node.
    pub fn new(client: Client, controller: &'static str, instance: &str) -> Self {
        Self {
            client,
            controller,
            instance: cut(instance, LONGEST_INSTANCE).to_owned(),
            counts: HashMap::new(),
        }
    }

    /// Publishes; each request takes no longer than `limit`. Needs `create` and `patch`.
    pub async fn publish(
        &mut self,
        occurrence: &Occurrence,
        limit: Duration,
    ) -> Result<Published, RequestError> {
        let namespace = occurrence.regarding.namespace.as_deref().unwrap_or(ELSEWHERE);
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let event = self.event(occurrence, namespace);
        let name = event.metadata.name.clone().unwrap_or_default();
        match limited(limit, events.create(&PostParams::default(), &event)).await {
            Ok(_) => {
                self.remember(name, 1);
                Ok(Published::Written)
            }
            Err(error) if error.problem() != Problem::Conflict => Err(error),
            Err(_) if !occurrence.news => Ok(Published::Known),
            Err(_) => {
                // Who wrote the first one may have been another process: then the count begins here.
                let count = self.counts.get(&name).copied().unwrap_or(1) + 1;
                let series = EventSeries { count, last_observed_time: MicroTime(Timestamp::now()) };
                let patch = Patch::Merge(json!({ "series": series }));
                limited(limit, events.patch(&name, &PatchParams::default(), &patch)).await?;
                self.remember(name, count);
                Ok(Published::Counted)
            }
        }
    }

    fn remember(&mut self, name: String, count: i32) {
        if self.counts.len() >= REMEMBERED {
            self.counts.clear();
        }
        self.counts.insert(name, count);
    }

    fn event(&self, occurrence: &Occurrence, namespace: &str) -> Event {
        let Occurrence { regarding, warning, reason, action, note, .. } = occurrence;
        let note = cut(note, LONGEST_NOTE);
        let name = self.name(regarding, &[reason, note]);
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(Timestamp::now())),
            regarding: Some(regarding.clone()),
            type_: Some(if *warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some((*reason).to_owned()),
            action: Some((*action).to_owned()),
            note: Some(note.to_owned()),
            reporting_controller: Some(self.controller.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }

    /// The object's name, which people read, and what tells the Event from others.
    fn name(&self, regarding: &ObjectReference, said: &[&str]) -> String {
        let object = regarding.name.as_deref().unwrap_or(self.controller);
        let uid = regarding.uid.as_deref().unwrap_or_default();
        let all = [&[uid, self.controller], said].concat().join("\n");
        let head = cut(object, LONGEST_NAME).trim_end_matches(['.', '-']);
        format!("{head}.{:016x}", xxh3_64(all.as_bytes()))
    }
}

fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// How many Events a process may write: so many at once, and then so many per minute. Warnings have a budget of their own.
#[derive(Clone, Debug)]
pub struct Budget {
    normal: Rate,
    warnings: Rate,
}

impl Budget {
    /// The same for both kinds.
    pub fn new(at_once: u32, per_minute: u32) -> Self {
        let rate = Rate::per_minute(per_minute, at_once);
        Self { normal: rate.clone(), warnings: rate }
    }

    /// Whether there is room for one more; if so it is taken.
    pub fn take(&mut self, warning: bool, now: Instant) -> bool {
        let rate = if warning { &mut self.warnings } else { &mut self.normal };
        let room = rate.next(now) <= now;
        if room {
            rate.take(now);
        }
        room
    }
}

/// Where something is handed in that is to be told later; never waits.
#[derive(Debug)]
pub struct Teller<T> {
    queue: mpsc::Sender<T>,
    dropped: Counter,
}

impl<T> Clone for Teller<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), dropped: self.dropped.clone() }
    }
}

/// A [`Teller`] and where what it is told comes out; at most `room` wait, more are counted in `dropped`.
pub fn queue<T>(room: usize, dropped: Counter) -> (Teller<T>, mpsc::Receiver<T>) {
    let (queue, told) = mpsc::channel(room);
    (Teller { queue, dropped }, told)
}

impl<T> Teller<T> {
    /// Hands one in.
    pub fn tell(&self, what: T) {
        if self.queue.try_send(what).is_err() {
            self.dropped.inc();
        }
    }
}

#[cfg(test)]
mod tests;
