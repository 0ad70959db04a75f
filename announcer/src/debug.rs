// SPDX-License-Identifier: Apache-2.0
//! The port on the loopback, for people: `/vips`, `/config`, `/probe`. Their shapes are versioned, and documented in
//! `docs/debug-port.md`.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use gateherald_model::interfaces::Link;
use gateherald_runtime::logging::LogFilter;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::{
    args::Args,
    claiming::{Question, Standing},
    desired::Outlook,
    standoff::Contests,
};

mod config;
mod probe;
mod vips;

/// The version of each page's shape: raised when a field goes or means something else, not when one comes.
const VERSION: u32 = 1;

/// What the pages are made from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The command line.
    pub args: Arc<Args>,
    /// The filter of the log, which can change.
    pub filter: LogFilter,
    /// What may be announced.
    pub outlook: watch::Receiver<Arc<Outlook>>,
    /// The node's links.
    pub links: watch::Receiver<Option<Arc<[Link]>>>,
    /// The addresses that other hosts use.
    pub contests: watch::Receiver<Arc<Contests>>,
    /// Whom to ask about ownership.
    pub questions: mpsc::Sender<Question>,
}

/// [`Sources`], and whose turn it is to probe.
#[derive(Debug, Clone)]
struct Shown {
    sources: Sources,
    turn: Arc<Semaphore>,
}

/// Something that is not answered, and why.
type Refused = (StatusCode, Json<Value>);

/// The port's routes.
pub fn router(sources: Sources) -> Router {
    let shown = Shown { sources, turn: Arc::new(Semaphore::new(1)) };
    Router::new()
        .route("/vips", get(vips))
        .route("/config", get(config))
        .route("/probe", get(probe::probe))
        .with_state(shown)
}

async fn vips(State(Shown { sources, .. }): State<Shown>) -> Json<vips::Page> {
    let outlook = Arc::clone(&sources.outlook.borrow());
    let standing = sources.ask(outlook.evaluation.desired.keys().copied().collect()).await;
    let picture = vips::Picture {
        node: &sources.args.node_name,
        outlook: &outlook,
        links: &sources.links(),
        contests: &Arc::clone(&sources.contests.borrow()),
    };
    Json(vips::page(&picture, standing))
}

async fn config(State(Shown { sources, .. }): State<Shown>) -> Json<config::Page> {
    Json(config::page(&sources.args, sources.filter.text()))
}

impl Sources {
    fn links(&self) -> Arc<[Link]> {
        self.links.borrow().clone().unwrap_or_default()
    }

    /// None before the claims can be asked: the API server has not been reached yet, or the process is ending.
    async fn ask(&self, addresses: BTreeSet<IpAddr>) -> Option<Standing> {
        let (answer, standing) = oneshot::channel();
        self.questions.try_send(Question { addresses, answer }).ok()?;
        standing.await.ok()
    }
}

fn refused(status: StatusCode, error: impl Into<String>) -> Refused {
    (status, Json(json!({ "error": error.into() })))
}
