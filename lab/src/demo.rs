// SPDX-License-Identifier: Apache-2.0
//! The story: a Gateway's address that stays silent, and what Gateherald makes of it.

mod chapters;
mod narrator;
mod stage;

use std::process::ExitCode;

use crate::args::DemoArgs;
use crate::binaries::Binaries;
use crate::control_plane::Options;
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
        "Starting a Kubernetes control plane (etcd, kube-apiserver, kube-controller-manager) in a network namespace, \
         with the Gateway API and the chart installed, at first without its webhook.",
    )?;
    // The story begins without the webhook; its second chapter installs it.
    let options = Options { chart: Some(vec!["webhook.enabled=false".to_owned()]), ..Options::default() };
    run_alone(&options, async |lab| {
        let version = lab.client().apiserver_version().await?.git_version;
        narrator.step(&format!("control plane ready ({version})"))?;
        narrator.step("three announcers start; they watch for 15 s whether Cilium itself announces")?;
        let stage = Stage::set(lab).await?;
        let outcome = tokio::select! {
            outcome = tell(&stage, &mut narrator) => outcome,
            stopped = until_stopped() => stopped.and(Err(anyhow::anyhow!("interrupted"))),
        };
        if let Err(error) = &outcome {
            narrator.failed(&format!("{error:#}"))?;
        }
        narrator.summary()?;
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
    let webhooks = chapters::with_the_webhook(stage, narrator).await?;
    chapters::the_holder_stops(stage, narrator).await?;
    chapters::created_again(stage, narrator).await?;
    // They serve until the story ends, or, with --keep, until Ctrl-C.
    stage.keep_webhooks(webhooks);
    Ok(())
}

async fn stay(lab: &Lab, stage: &Stage<'_>, narrator: &Narrator) -> anyhow::Result<()> {
    let script = look::write(lab.control_plane(), &stage.places())?;
    narrator.look_around(&script)?;
    until_stopped().await
}
