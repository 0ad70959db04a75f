// SPDX-License-Identifier: Apache-2.0
//! The file with the label rules: read at start, and again whenever its contents change.
//!
//! By polling: a mounted `ConfigMap` changes by a swapped symlink, which a watch of the file does not see.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use gateherald_model::rules::{Rules, file::RulesError};
use gateherald_runtime::{chain::chain, kubernetes::Trouble, shutdown::Shutdown, tasks::TaskResult};
use thiserror::Error;
use tokio::{fs, sync::watch, time::sleep};
use tracing::info;

use crate::metrics::Metrics;

/// Between two looks at the file. The kubelet brings a changed `ConfigMap` within a minute or two.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why there are no rules.
#[derive(Debug, Error)]
pub enum RulesFileError {
    /// The file cannot be read.
    #[error("cannot read the label rules {}", path.display())]
    Read {
        /// Value of `--label-rules`.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file holds no rules.
    #[error("the label rules {} cannot be used", path.display())]
    Parse {
        /// Value of `--label-rules`.
        path: PathBuf,
        /// What is wrong with them.
        source: RulesError,
    },
}

/// The file; without a path the rules are the default ones, for good.
#[derive(Debug)]
pub struct RulesFile {
    path: Option<PathBuf>,
    seen: Seen,
    wanted: watch::Sender<Arc<Rules>>,
    problem: watch::Sender<Option<String>>,
    metrics: Metrics,
}

/// The file's contents at the last look; unreadable is one, too.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Unreadable(String),
}

impl RulesFile {
    /// Reads the file for the first time: there is no last good version to go on with, so a broken one is an error.
    pub async fn open(path: Option<PathBuf>, metrics: Metrics) -> Result<Self, RulesFileError> {
        let text = match &path {
            None => None,
            Some(path) => {
                let read = fs::read_to_string(path).await;
                Some(read.map_err(|source| RulesFileError::Read { path: path.clone(), source })?)
            }
        };
        let rules = match (&text, &path) {
            (Some(text), Some(path)) => {
                Rules::parse(text).map_err(|source| RulesFileError::Parse { path: path.clone(), source })?
            }
            _ => Rules::default(),
        };
        metrics.rules_loaded();
        let (wanted, problem) = (watch::Sender::new(Arc::new(rules)), watch::Sender::new(None));
        Ok(Self { path, seen: Seen::Text(text.unwrap_or_default()), wanted, problem, metrics })
    }

    /// The last rules that could be read.
    pub fn rules(&self) -> watch::Receiver<Arc<Rules>> {
        self.wanted.subscribe()
    }

    /// Why the file as it is now is not what the rules come from.
    pub fn problem(&self) -> watch::Receiver<Option<String>> {
        self.problem.subscribe()
    }

    /// Follows the file until the process stops.
    pub async fn run(mut self, shutdown: Shutdown) -> TaskResult {
        let Some(path) = self.path.clone() else {
            shutdown.stopping().await;
            return Ok(());
        };
        let mut trouble = Trouble::new("label rules");
        loop {
            tokio::select! {
                () = shutdown.stopping() => return Ok(()),
                () = sleep(LOOK_EVERY) => {}
            }
            let seen = match fs::read_to_string(&path).await {
                Ok(text) => Seen::Text(text),
                Err(error) => Seen::Unreadable(error.to_string()),
            };
            if seen != self.seen {
                self.see(&path, &seen, &mut trouble);
                self.seen = seen;
            }
        }
    }

    fn see(&self, path: &std::path::Path, seen: &Seen, trouble: &mut Trouble) {
        let read = match seen {
            Seen::Text(text) => Rules::parse(text).map_err(|error| chain(&error)),
            Seen::Unreadable(reason) => Err(reason.clone()),
        };
        match read {
            Ok(rules) => {
                trouble.over();
                self.metrics.rules_loaded();
                self.problem.send_replace(None);
                let changed = self.wanted.send_if_modified(|wanted| {
                    let changed = **wanted != rules;
                    *wanted = Arc::new(rules);
                    changed
                });
                info!(path = %path.display(), changed, rules = %json(&self.wanted.borrow()), "label rules read");
            }
            Err(reason) => {
                let reason = format!("{}: {reason}; the last good rules stay in force", path.display());
                trouble.note(&reason);
                self.metrics.rules_broken();
                self.problem.send_replace(Some(reason));
            }
        }
    }
}

/// The rules as one line.
pub(crate) fn json(rules: &Rules) -> String {
    // Strings and lists of strings always have a JSON form.
    serde_json::to_string(rules).unwrap_or_default()
}

#[cfg(test)]
mod tests;
