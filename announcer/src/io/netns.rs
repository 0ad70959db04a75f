// SPDX-License-Identifier: Apache-2.0
//! For tests: a network namespace of their own, which needs root and ends with the thread that is in it.

use std::{process::Command, thread};

use nix::sched::{CloneFlags, unshare};

/// Runs a test on a thread in a new network namespace, inside a runtime of that one thread.
pub(crate) fn inside<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let work = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    };
    if let Err(panic) = thread::spawn(work).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` with these arguments in the thread's namespace.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
