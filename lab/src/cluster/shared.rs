// SPDX-License-Identifier: Apache-2.0
//! The cluster that the tests of a process share: one after the other, since each has all of it.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Mutex, PoisonError};

use futures::FutureExt;
use tokio::runtime::Runtime;

use super::{Cluster, options};
use crate::harness::{Lab, end_with, runtime_inside, start};
use crate::sys;

/// A cluster and the runtime that its client's connections belong to. Fields are dropped in this order.
struct Site {
    cluster: Cluster,
    lab: Lab,
    runtime: Runtime,
}

static SITE: Mutex<Option<Site>> = Mutex::new(None);

/// Runs `test` with the cluster that all tests of this process share, when no other one does. A test that fails takes the
/// cluster with it: the next one gets another.
///
/// # Errors
/// Those of `test`, and when the cluster does not start.
pub fn run<T: Send>(test: impl AsyncFnOnce(&Lab, &Cluster) -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    let mut site = SITE.lock().unwrap_or_else(PoisonError::into_inner);
    if site.is_none() {
        sys::at_exit(end);
        *site = Some(Site::open()?);
    }
    let Some(open) = site.as_ref() else { anyhow::bail!("no cluster") };
    let netns = open.lab.control_plane().netns().clone();
    let outcome = netns
        .enter(|| Ok(open.runtime.block_on(AssertUnwindSafe(test(&open.lab, &open.cluster)).catch_unwind())));
    if !matches!(outcome, Ok(Ok(Ok(_)))) {
        open.lab.bench().report();
        *site = None;
    }
    outcome?.unwrap_or_else(|panic| resume_unwind(panic))
}

impl Site {
    fn open() -> anyhow::Result<Self> {
        let plane = start(&options())?;
        let netns = plane.netns().clone();
        netns.enter(|| {
            let runtime = runtime_inside(&netns)?;
            let lab = runtime.block_on(Lab::on(plane))?;
            match runtime.block_on(Cluster::start(&lab)) {
                Ok(cluster) => Ok(Self { cluster, lab, runtime }),
                Err(error) => {
                    lab.bench().report();
                    Err(error)
                }
            }
        })
    }
}

/// Statics are never dropped: machines and cgroups are removed here.
extern "C" fn end() {
    let site = SITE.try_lock().ok().and_then(|mut site| site.take());
    if let Some(Site { cluster, lab, runtime }) = site {
        drop(cluster);
        end_with(&lab);
        // Its threads may wait for what is gone.
        runtime.shutdown_background();
    }
}
