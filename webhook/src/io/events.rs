// SPDX-License-Identifier: Apache-2.0
//! Notices as Events on Services, written one after the other by the leader alone.

use gateherald_runtime::{
    election::Leadership,
    events::{Occurrence, Publisher, RESOURCE},
    kubernetes::Troubles,
};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use tokio::{sync::mpsc, time::Duration};

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
/// One request may take so long; less where a leader's rights are shorter.
const ATTEMPT: Duration = Duration::from_secs(3);

/// Where notices are handed in; never waits.
#[derive(Debug)]
pub struct Teller {
    notices: mpsc::Sender<Notice>,
    metrics: Metrics,
}

/// Writes them.
pub struct Writer {
    publisher: Publisher,
    notices: mpsc::Receiver<Notice>,
    leadership: Leadership,
    metrics: Metrics,
}

/// A pair of both. `instance` is the replica's name.
pub fn channel(client: Client, instance: &str, leadership: Leadership, metrics: Metrics) -> (Teller, Writer) {
    let (sender, notices) = mpsc::channel(QUEUE);
    let publisher = Publisher::new(client, CONTROLLER, instance);
    let writer = Writer { publisher, notices, leadership, metrics: metrics.clone() };
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
            let result = self.publisher.publish(&occurrence(notice), limit).await;
            match result {
                Ok(_) => {
                    troubles.over();
                    self.metrics.event_written();
                }
                Err(error) => {
                    // It is not repeated: the next transition will be told, and the metrics tell of this one.
                    troubles.note(Some(error.problem()), &error.explain("create", RESOURCE));
                    self.metrics.failed(Part::Event);
                }
            }
        }
    }
}

/// What has happened is told once, by the leader in whose time it did.
fn occurrence(notice: Notice) -> Occurrence {
    Occurrence {
        regarding: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Service".into()),
            namespace: Some(notice.service.namespace),
            name: Some(notice.service.name),
            uid: Some(notice.uid),
            ..ObjectReference::default()
        },
        warning: notice.kind.is_warning(),
        reason: notice.kind.reason(),
        action: ACTION,
        note: notice.message,
        news: true,
    }
}
