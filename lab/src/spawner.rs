// SPDX-License-Identifier: Apache-2.0
//! The one thread that spawns every child process, so that children die with the program and not with a test's thread.

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

use anyhow::Context;

use crate::netns::Netns;
use crate::sys;

struct Order {
    command: Command,
    netns: Option<Netns>,
    reply: Sender<anyhow::Result<Child>>,
}

/// Starts `command` in `netns` (`None`: where the program itself is). It dies with this program.
pub(crate) fn spawn(command: Command, netns: Option<Netns>) -> anyhow::Result<Child> {
    let (reply, answer) = channel();
    orders().send(Order { command, netns, reply }).context("the spawner thread is gone")?;
    answer.recv().context("the spawner thread is gone")?
}

/// Runs `command` to its end with its output collected.
pub(crate) fn output(mut command: Command, netns: Option<Netns>) -> anyhow::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(spawn(command, netns)?.wait_with_output()?)
}

/// As [`output`], with `input` on its standard input.
pub(crate) fn output_with_input(mut command: Command, netns: Netns, input: &str) -> anyhow::Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(command, Some(netns))?;
    let mut stdin = child.stdin.take().context("standard input")?;
    std::thread::scope(|scope| {
        // Written beside reading, so that neither side waits for the other's full pipe.
        scope.spawn(move || stdin.write_all(input.as_bytes()));
        Ok(child.wait_with_output()?)
    })
}

fn orders() -> &'static Sender<Order> {
    static ORDERS: OnceLock<Sender<Order>> = OnceLock::new();
    ORDERS.get_or_init(|| {
        let (sender, receiver) = channel::<Order>();
        std::thread::spawn(move || {
            // The program's own namespace, to come back to: the thread visits the child's for the moment of the fork.
            let home = std::fs::File::open("/proc/thread-self/ns/net");
            for order in receiver {
                let result = serve(order.command, order.netns.as_ref(), home.as_ref());
                let _ = order.reply.send(result);
            }
        });
        sender
    })
}

fn serve(
    mut command: Command,
    netns: Option<&Netns>,
    home: Result<&std::fs::File, &std::io::Error>,
) -> anyhow::Result<Child> {
    let name = command.get_program().to_string_lossy().into_owned();
    sys::die_with_spawning_thread(&mut command);
    let Some(netns) = netns else {
        return command.spawn().with_context(|| format!("cannot start {name}"));
    };
    let home = home.map_err(|error| anyhow::anyhow!("cannot read the own network namespace: {error}"))?;
    netns.move_thread_in()?;
    let child = command.spawn().with_context(|| format!("cannot start {name}"));
    nix::sched::setns(home, nix::sched::CloneFlags::CLONE_NEWNET)
        .context("cannot return from a network namespace")?;
    child
}
