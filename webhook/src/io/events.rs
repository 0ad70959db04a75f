// SPDX-License-Identifier: Apache-2.0
//! Notices as Events on Services, written one after the other by the leader alone.

use gateherald_runtime::{
    election::Leadership,
    kubernetes::{Problem, Troubles, explain},
};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::{
    sync::mpsc,
    time::{Duration, timeout},
};

use crate::reconcile::{
    metrics::{Metrics, Part},
    notice::Notice,
};

/// Who reports, as `kubectl describe` shows it.
pub const CONTROLLER: &str = "gateherald.io/webhook";
/// What was being done when it happened.
const ACTION: &str = "Reconcile";
/// Notices that may wait; more are dropped and counted: patches are worth more than telling about them.
const QUEUE: usize = 4096;
/// One Event may take so long; less where a leader's rights are shorter.
const ATTEMPT: Duration = Duration::from_secs(3);

/// Where notices are handed in; never waits.
#[derive(Debug)]
pub struct Teller {
    notices: mpsc::Sender<Notice>,
    metrics: Metrics,
}

/// Writes them.
pub struct Writer {
    recorder: Recorder,
    notices: mpsc::Receiver<Notice>,
    leadership: Leadership,
    metrics: Metrics,
}

/// A pair of both. `instance` is the replica's name.
pub fn channel(client: Client, instance: &str, leadership: Leadership, metrics: Metrics) -> (Teller, Writer) {
    let (sender, notices) = mpsc::channel(QUEUE);
    let reporter = Reporter { controller: CONTROLLER.into(), instance: Some(instance.to_owned()) };
    let recorder = Recorder::new(client, reporter);
    let writer = Writer { recorder, notices, leadership, metrics: metrics.clone() };
    (Teller { notices: sender, metrics }, writer)
}

impl Teller {
    /// Hands one in.
    pub fn tell(&self, notice: Notice) {
        if self.notices.try_send(notice).is_err() {
            self.metrics.event_dropped();
        }
    }
}

impl Writer {
    /// Writes until the [`Teller`] is gone or the leadership is.
    pub async fn run(mut self) {
        let mut troubles = Troubles::new("events");
        let limit = ATTEMPT.min(self.leadership.limit());
        while let Some(notice) = self.notices.recv().await {
            let Some(_permit) = self.leadership.act() else { return };
            let event = Event {
                type_: if notice.kind.is_warning() { EventType::Warning } else { EventType::Normal },
                reason: notice.kind.reason().into(),
                note: Some(notice.message),
                action: ACTION.into(),
                secondary: None,
            };
            let service = ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Service".into()),
                namespace: Some(notice.service.namespace),
                name: Some(notice.service.name),
                uid: Some(notice.uid),
                ..ObjectReference::default()
            };
            let published = timeout(limit, self.recorder.publish(&event, &service)).await;
            let silent = format!("API server silent, cannot create events: nothing came for {limit:?}");
            let result = published.map_or(Err((Problem::Unreachable, silent)), |result| {
                result
                    .map_err(|error| (Problem::of(&error), explain("create", "events.events.k8s.io", &error)))
            });
            match result {
                Ok(()) => {
                    troubles.over();
                    self.metrics.event_written();
                }
                Err((problem, reason)) => {
                    // It is not repeated: the next transition will be told, and the metrics tell of this one.
                    troubles.note(Some(problem), &reason);
                    self.metrics.failed(Part::Event);
                }
            }
        }
    }
}
