// SPDX-License-Identifier: Apache-2.0
//! The watch over EndpointSlices, which change more often than anything else that is watched here: it is open only while
//! some Service needs it.

use std::time::Duration;

use futures::StreamExt;
use gateherald_model::endpoints::{SliceKey, SliceView};
use gateherald_runtime::{backoff::Backoff, kubernetes::Trouble, readiness, shutdown::Shutdown};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client, ResourceExt};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::{
    follow::{News, Span, Subject, follow_reduced},
    objects::Told,
};
use crate::desired::{Change, Seen, UNLISTED};

/// 10 s: a link that comes back, or a Service whose status is written anew, finds the endpoints known.
const LINGER: Duration = Duration::from_secs(10);

/// What the task is made of.
pub struct Watching {
    /// The API server.
    pub client: Client,
    /// Whether the endpoints of some Service decide about an address here.
    pub needed: watch::Receiver<bool>,
    /// Whom to tell.
    pub out: mpsc::Sender<Told>,
    /// The part of readiness about endpoints.
    pub ready: readiness::Handle,
}

/// Whoever was told is gone: the process is ending.
struct Ended;

impl Watching {
    /// Watches whenever that is needed, until the process stops.
    pub async fn run(mut self, shutdown: Shutdown) {
        self.ready.ready();
        tokio::select! {
            () = shutdown.stopping() => {}
            // Ends only when nobody listens any more.
            _ = self.whenever_needed() => {}
        }
    }

    async fn whenever_needed(&mut self) -> Result<(), Ended> {
        loop {
            self.needed.wait_for(|needed| *needed).await.map_err(|_| Ended)?;
            tracing::info!("watching EndpointSlices: a Service has the external traffic policy Local");
            self.ready.waiting(UNLISTED);
            let needed = self.needed.clone();
            tokio::select! {
                ended = self.follow() => return ended,
                ended = no_longer(needed) => ended?,
            }
            tracing::info!("EndpointSlices are not needed any more");
            self.tell(Seen::SlicesUnknown(UNLISTED.to_owned())).await?;
            self.ready.ready();
        }
    }

    async fn follow(&self) -> Result<(), Ended> {
        let subject = Subject {
            api: Api::<EndpointSlice>::all(self.client.clone()),
            name: "endpointslices.discovery.k8s.io",
            only: None,
            pauses: Backoff::default(),
            span: Span::short(),
        };
        let mut trouble = Trouble::new(subject.name);
        let mut news = follow_reduced(subject, None, |slice| (key(&slice), SliceView::from(&slice)));
        let mut listed = false;
        while let Some(news) = news.next().await {
            let seen = match news {
                News::All(all, _) => {
                    listed = true;
                    Seen::Slices(Change::All(all))
                }
                News::Applied((key, slice)) => Seen::Slices(Change::Set(key, slice)),
                News::Deleted((key, _)) => Seen::Slices(Change::Gone(key)),
                News::Connected => {
                    trouble.over();
                    self.ready.ready();
                    continue;
                }
                News::Failed(_, said) => {
                    trouble.note(&said);
                    self.ready.waiting(said.clone());
                    // What was known before the watch broke is the best there is.
                    if listed {
                        continue;
                    }
                    Seen::SlicesUnknown(said)
                }
                News::UpTo(_) | News::Interrupted => continue,
            };
            self.tell(seen).await?;
        }
        Ok(())
    }

    async fn tell(&self, seen: Seen) -> Result<(), Ended> {
        self.out.send(Told::Seen(Box::new(seen))).await.map_err(|_| Ended)
    }
}

/// Waits until the slices have not been needed for a while.
async fn no_longer(mut needed: watch::Receiver<bool>) -> Result<(), Ended> {
    loop {
        needed.wait_for(|needed| !needed).await.map_err(|_| Ended)?;
        tokio::select! {
            () = sleep(LINGER) => return Ok(()),
            again = needed.wait_for(|needed| *needed) => drop(again.map_err(|_| Ended)?),
        }
    }
}

fn key(slice: &EndpointSlice) -> SliceKey {
    SliceKey { namespace: slice.namespace().unwrap_or_default(), name: slice.name_any() }
}
