// SPDX-License-Identifier: Apache-2.0
//! `gateherald-lab up`: a lab to play with.

use std::io::Write;

use crate::args::UpArgs;
use crate::control_plane::Options;
use crate::harness::{Lab, run_alone, until_stopped};
use crate::look;

/// Starts everything, says how to look around, and waits for Ctrl-C.
///
/// # Errors
/// When something does not start.
pub fn run(args: &UpArgs) -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| up(lab, args).await)
}

async fn up(lab: &Lab, args: &UpArgs) -> anyhow::Result<()> {
    let lan = lab.named_lan("lan", 99)?;
    let mut nodes = Vec::new();
    let mut announcers = Vec::new();
    for _ in 0..args.nodes {
        nodes.push(lan.add_node().await?);
    }
    let webhook = if args.bare { None } else { Some(lab.run_webhook(&[]).await?) };
    for node in nodes.iter().filter(|_| !args.bare) {
        announcers.push(node.run_announcer(&[]).await?);
    }
    let mut places = vec![lan.client().netns()];
    places.extend(nodes.iter().map(super::node::Node::netns));
    let script = look::write(lab.control_plane(), &places)?;
    let script = script.display();
    let text = format!(
        "ready: {} nodes on {}/24, {} announcers, {} webhook\n\n  {script} cp kubectl get nodes\n  \
         {script} client arping -I eth0 -c 3 192.168.99.1\n\nCtrl-C ends it.\n",
        nodes.len(),
        lan.address(0),
        announcers.len(),
        usize::from(webhook.is_some()),
    );
    std::io::stdout().write_all(text.as_bytes())?;
    std::io::stdout().flush()?;
    until_stopped().await
}
