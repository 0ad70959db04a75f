// SPDX-License-Identifier: Apache-2.0
//! The process's tasks by name: whichever ends before its time ends the process.

use std::{collections::HashMap, time::Duration};

use thiserror::Error;
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{sleep, timeout},
};
use tracing::info;

use crate::shutdown::{Shutdown, Signals};

/// What a task returns.
pub type TaskResult = anyhow::Result<()>;

/// Owner of all tasks of a process. Dropping it aborts them.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<TaskResult>,
    names: HashMap<Id, &'static str>,
}

/// How long the two steps of the end may take.
#[derive(Clone, Copy, Debug)]
pub struct Grace {
    /// From the signal to [`Shutdown::stopping`]: peers learn meanwhile that this process is no longer ready.
    pub drain: Duration,
    /// From then until tasks that have not returned count as stuck.
    pub stop: Duration,
}

/// Why the process ends with an error.
#[derive(Debug, Error)]
pub enum TaskError {
    /// A task returned although nobody asked it to.
    #[error("task {name} ended unexpectedly")]
    Ended {
        /// Which task.
        name: &'static str,
    },
    /// A task failed.
    #[error("task {name} failed")]
    Failed {
        /// Which task.
        name: &'static str,
        /// What it returned.
        source: anyhow::Error,
    },
    /// A task panicked or was aborted.
    #[error("task {name} died")]
    Died {
        /// Which task.
        name: &'static str,
        /// How.
        source: JoinError,
    },
    /// Tasks did not return in time after they were told to stop.
    #[error("tasks did not stop within {limit:?}: {}", names.join(", "))]
    Stuck {
        /// Which tasks.
        names: Vec<&'static str>,
        /// [`Grace::stop`].
        limit: Duration,
    },
}

impl Tasks {
    /// Starts `task`; its name appears in the error if it dies.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = TaskResult> + Send + 'static) {
        let handle = self.set.spawn(task);
        self.names.insert(handle.id(), name);
    }

    /// Runs until a signal arrives or a task ends, then through both steps of `shutdown`.
    ///
    /// A second signal skips what is left of the drain step.
    pub async fn run(
        mut self,
        mut signals: Signals,
        shutdown: Shutdown,
        grace: Grace,
    ) -> Result<(), TaskError> {
        let died = tokio::select! {
            name = signals.next() => {
                info!(signal = name, "shutting down");
                None
            }
            died = self.next_end() => Some(died),
        };
        if let Some(error) = died {
            shutdown.stop();
            // The first death is the news; what the rest says while stopping would only hide it.
            drop(self.join(grace.stop).await);
            return Err(error);
        }
        shutdown.drain();
        tokio::select! {
            () = sleep(grace.drain) => {}
            name = signals.next() => info!(signal = name, "not waiting any longer"),
            // Returning is what a task may do from now on, failing is not.
            error = self.next_failure() => {
                shutdown.stop();
                return Err(error);
            }
        }
        shutdown.stop();
        self.join(grace.stop).await
    }

    /// Waits for every task to return; a failure is returned after all others had their time.
    async fn join(&mut self, limit: Duration) -> Result<(), TaskError> {
        let mut first = Ok(());
        let all = async {
            while let Some(ended) = self.set.join_next_with_id().await {
                let end = end_of(&mut self.names, ended);
                if first.is_ok() && !matches!(end, TaskError::Ended { .. }) {
                    first = Err(end);
                }
            }
        };
        if timeout(limit, all).await.is_ok() {
            return first;
        }
        let mut names: Vec<_> = self.names.values().copied().collect();
        names.sort_unstable();
        Err(TaskError::Stuck { names, limit })
    }

    /// The next task that ends, however; pending while there are none.
    async fn next_end(&mut self) -> TaskError {
        match self.set.join_next_with_id().await {
            Some(ended) => end_of(&mut self.names, ended),
            None => std::future::pending().await,
        }
    }

    async fn next_failure(&mut self) -> TaskError {
        loop {
            match self.next_end().await {
                TaskError::Ended { .. } => {}
                failure => return failure,
            }
        }
    }
}

fn end_of(names: &mut HashMap<Id, &'static str>, ended: Result<(Id, TaskResult), JoinError>) -> TaskError {
    let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
    let name = names.remove(&id).unwrap_or("unknown");
    match ended {
        Ok((_, Ok(()))) => TaskError::Ended { name },
        Ok((_, Err(source))) => TaskError::Failed { name, source },
        Err(source) => TaskError::Died { name, source },
    }
}

#[cfg(test)]
mod tests;
