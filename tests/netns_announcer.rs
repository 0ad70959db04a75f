// SPDX-License-Identifier: Apache-2.0
//! The announcer on the wire: who answers for what, and who must not.

use std::time::Duration;

use gateherald_lab::frame::Mac;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_tests::vips::Site;

#[test]
fn an_address_is_announced_and_answered_by_exactly_one_node() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "one", 2).await?;
        let vip = site.lan.address(200);
        let wire = site.lan.sniff()?;
        site.service("web", &[vip]).await?;
        let owner = site.owner(vip).await?;
        let mac = site.nodes[owner].mac();
        assert_eq!(site.claim_holder(vip).await?.as_deref(), Some(site.nodes[owner].name()));
        // A24: both gratuitous forms at once, repeated more than a second later.
        let announcements = |operation| {
            let frames = wire.frames();
            let of_kind = frames.iter().filter_map(|f| Some((f.at, f.arp()?)));
            of_kind.filter(|(_, arp)| arp.announces(vip) && arp.operation == operation).collect::<Vec<_>>()
        };
        until("both forms are repeated", LONG, async || {
            let counts = (announcements(1).len(), announcements(2).len());
            Ok(if counts.0 >= 2 && counts.1 >= 2 {
                Look::Found(())
            } else {
                Look::NotYet(format!("{counts:?}"))
            })
        })
        .await?;
        let (requests, replies) = (announcements(1), announcements(2));
        let spacing = requests[1].0.saturating_sub(requests[0].0);
        assert!(spacing > Duration::from_secs(1), "outlasts the receivers' lock time: {spacing:?}");
        assert!(replies[0].0.saturating_sub(requests[0].0) < Duration::from_millis(50));
        assert!(
            replies.iter().all(|(_, arp)| arp.target_mac == mac),
            "Linux counts only replies with THA = SHA"
        );
        let senders: Vec<Mac> = wire
            .frames()
            .iter()
            .filter_map(gateherald_lab::Frame::arp)
            .filter(|arp| arp.sender_ip == vip)
            .map(|arp| arp.source)
            .collect();
        assert!(senders.iter().all(|sender| *sender == mac), "one owner: {senders:?}");
        Ok(())
    })
}

#[test]
fn the_log_level_is_served_where_port_forward_arrives() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "level", 1).await?;
        let answer = site.announcers[0].debug("/log-level").await?;
        assert_eq!((answer.status, answer.body.trim()), (200, "info"));
        Ok(())
    })
}
