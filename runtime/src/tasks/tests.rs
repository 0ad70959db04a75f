// SPDX-License-Identifier: Apache-2.0
use super::*;

const GRACE: Grace = Grace { drain: Duration::from_hours(1), stop: Duration::from_secs(5) };

async fn run(tasks: Tasks, shutdown: Shutdown) -> Result<(), TaskError> {
    tasks.run(Signals::install().unwrap(), shutdown, GRACE).await
}

#[tokio::test]
async fn a_task_that_ends_early_ends_the_process_by_name() {
    let mut tasks = Tasks::default();
    let shutdown = Shutdown::default();
    let stop = shutdown.clone();
    tasks.spawn("loyal", async move {
        stop.stopping().await;
        Ok(())
    });
    tasks.spawn("deserter", async { Ok(()) });
    let error = run(tasks, shutdown.clone()).await.unwrap_err();
    assert_eq!(error.to_string(), "task deserter ended unexpectedly");
    assert!(shutdown.is_stopping());
}

#[tokio::test]
async fn a_failed_task_gives_its_reason_and_a_panic_its_name() {
    let mut tasks = Tasks::default();
    tasks.spawn("failing", async { anyhow::bail!("no socket") });
    let error = run(tasks, Shutdown::default()).await.unwrap_err();
    assert!(
        matches!(&error, TaskError::Failed { name: "failing", source } if source.to_string() == "no socket")
    );

    let mut tasks = Tasks::default();
    tasks.spawn("panicking", async { panic!("boom") });
    let error = run(tasks, Shutdown::default()).await.unwrap_err();
    assert!(matches!(error, TaskError::Died { name: "panicking", .. }));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ignores_the_stop_is_named() {
    let mut tasks = Tasks::default();
    tasks.spawn("stubborn", std::future::pending());
    tasks.spawn("deserter", async { Ok(()) });
    let shutdown = Shutdown::default();
    // The first death is reported, and the stubborn task does not keep the process alive.
    let error = run(tasks, shutdown).await.unwrap_err();
    assert!(matches!(error, TaskError::Ended { name: "deserter" }));

    let mut tasks = Tasks::default();
    tasks.spawn("stubborn", std::future::pending());
    let error = tasks.join(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(error.to_string(), "tasks did not stop within 5s: stubborn");
}
