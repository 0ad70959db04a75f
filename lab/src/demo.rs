// SPDX-License-Identifier: Apache-2.0
//! The story: a Gateway's address that stays silent, and what Gateherald makes of it.

mod chapters;
mod narrator;
mod stage;

use std::process::ExitCode;

use anyhow::{Context, ensure};
use tokio::process::Command;

use crate::args::DemoArgs;
use crate::binaries::Binaries;
use crate::cluster;
use crate::harness::{Lab, run_alone, until_stopped};
use crate::look;
use narrator::Narrator;
use stage::Stage;

/// Tells the story. The exit code is 0 only if everything in it was as told.
///
/// # Errors
/// When the lab itself does not start.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let mut narrator = Narrator::new();
    narrator.title("Gateherald: from a label on a Gateway to an answer on the wire")?;
    Binaries::prepare()?;
    narrator.say(
        "Starting a Kubernetes cluster: a control plane, and three nodes that are namespaces with containerd, kubelet and \
         kube-proxy. The Gateway API is installed, and the chart, at first without its webhook.",
    )?;
    run_alone(&cluster::options(), async |lab| {
        let version = lab.client().apiserver_version().await?.git_version;
        narrator.step(&format!("control plane ready ({version})"))?;
        let stage = Stage::set(lab, &mut narrator).await?;
        let outcome = tokio::select! {
            outcome = tell(&stage, &mut narrator) => outcome,
            stopped = until_stopped() => stopped.and(Err(anyhow::anyhow!("interrupted"))),
        };
        if let Err(error) = &outcome {
            narrator.failed(&format!("{error:#}"))?;
        }
        narrator.summary()?;
        if let (Some(command), true) = (&args.then, narrator.all_held()) {
            tokio::select! {
                ended = then(lab, &stage, command) => ended?,
                stopped = until_stopped() => stopped?,
            }
        }
        if args.keep {
            stay(lab, &stage, &narrator).await?;
        }
        outcome?;
        Ok(if narrator.all_held() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

async fn tell(stage: &Stage<'_>, narrator: &mut Narrator) -> anyhow::Result<()> {
    chapters::setting(stage, narrator).await?;
    chapters::without_the_webhook(stage, narrator).await?;
    chapters::with_the_webhook(stage, narrator).await?;
    chapters::the_holder_stops(stage, narrator).await?;
    chapters::created_again(stage, narrator).await
}

async fn then(lab: &Lab, stage: &Stage<'_>, command: &str) -> anyhow::Result<()> {
    let script = look::write(lab.control_plane(), &stage.cluster.places())?;
    let here = std::env::current_exe()?;
    let here = here.parent().context("the directory of this program")?.display();
    let place = lab.control_plane().netns().name();
    let status = Command::new(script)
        .args([
            place,
            "env",
            &format!("BESIDE={here}"),
            "sh",
            "-c",
            &format!("PATH=$BESIDE:$PATH; {command}"),
        ])
        .kill_on_drop(true)
        .status()
        .await
        .context("cannot run a shell")?;
    ensure!(status.success(), "`{command}` failed: {status}");
    Ok(())
}

async fn stay(lab: &Lab, stage: &Stage<'_>, narrator: &Narrator) -> anyhow::Result<()> {
    let script = look::write(lab.control_plane(), &stage.cluster.places())?;
    narrator.look_around(&script)?;
    until_stopped().await
}
