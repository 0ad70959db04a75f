// SPDX-License-Identifier: Apache-2.0
//! One owner per address, whatever happens to processes.

use std::time::Duration;

use gateherald_lab::frame::{Arp, tenures};
use gateherald_lab::patience::LONG;
use gateherald_tests::vips::Site;
use serde_json::json;

/// Long enough for an answer that should not come; a right one takes a few milliseconds.
const QUIET: Duration = Duration::from_millis(700);
const OFTEN: Duration = Duration::from_millis(5);

#[test]
fn two_services_that_share_an_address_have_one_owner() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "share", 2).await?;
        let vip = site.lan.address(200);
        let wire = site.lan.sniff()?;
        let asking = site.lan.client().ask_every(OFTEN, &[vip]);
        site.service("web", &[vip]).await?;
        let owner = site.owner(vip).await?;
        site.service("api", &[vip]).await?;
        let both = json!([format!("{}/api", site.namespace), format!("{}/web", site.namespace)]);
        site.vip_is(owner, vip, "services", &both).await?;
        // A25 of the table: one of them goes, the address stays where it is, without a gap.
        let before = wire.frames().len();
        site.delete("web").await?;
        site.vip_is(owner, vip, "services", &json!([format!("{}/api", site.namespace)])).await?;
        assert_eq!(site.owner(vip).await?, owner);
        drop(asking);
        let seen = tenures(&wire.frames(), vip);
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert!(wire.frames().len() > before);
        Ok(())
    })
}

#[test]
fn a_frozen_holder_sends_nothing_after_its_deadline() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "freeze", 2).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        let frozen = site.owner(vip).await?;
        let wire = site.lan.sniff()?;
        let asking = site.lan.client().ask_every(OFTEN, &[vip]);
        site.announcers[frozen].process().freeze()?;
        // The heir's first answer comes after the session was silent for its whole duration.
        let heir = site.nodes[1 - frozen].mac();
        let answer = |arp: Arp| arp.source == heir && arp.answers(vip) && !arp.announces(vip);
        wire.wait_for(LONG, |f| f.arp().is_some_and(answer)).await?;
        let woken = wire.frames().len();
        // Requests of seconds are queued in its socket now.
        site.announcers[frozen].process().thaw()?;
        site.announcers[frozen].process().log_line(LONG, |line| line.contains("session lost")).await?;
        site.announcers[frozen].wait_ready().await?;
        assert_eq!(site.owner(vip).await?, 1 - frozen);
        drop(asking);
        let stale = wire.frames()[woken..]
            .iter()
            .filter(|f| {
                f.source() == site.nodes[frozen].mac() && f.arp().is_some_and(|arp| arp.sender_ip == vip)
            })
            .count();
        assert_eq!(stale, 0, "frames of the frozen holder after its deadline");
        assert_eq!(tenures(&wire.frames(), vip).last().map(|t| t.mac), Some(heir));
        Ok(())
    })
}

#[test]
fn a_holder_that_is_killed_and_restarted_keeps_its_addresses() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "again", 2).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        let owner = site.owner(vip).await?;
        let wire = site.lan.sniff()?;
        site.announcers[owner].process().kill().await?;
        site.announcers[owner].process().restart().await?;
        let mac = site.nodes[owner].mac();
        wire.wait_for(LONG, |f| f.source() == mac && f.arp().is_some_and(|arp| arp.announces(vip))).await?;
        assert_eq!(site.owner(vip).await?, owner);
        assert!(
            wire.frames()
                .iter()
                .filter_map(gateherald_lab::Frame::arp)
                .all(|arp| !arp.answers(vip) || arp.source == mac)
        );
        Ok(())
    })
}

#[test]
fn a_cut_link_moves_the_addresses_and_their_way_back_is_quiet() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "cable", 2).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        let owner = site.owner(vip).await?;
        site.nodes[owner].cut_link()?;
        let heir = site.nodes[1 - owner].name().to_owned();
        site.claimed_by(vip, Some(&heir)).await?;
        assert_eq!(site.owner(vip).await?, 1 - owner);
        site.refused(owner, Some(vip), "InterfacesDown").await?;
        let wire = site.lan.sniff()?;
        site.nodes[owner].restore_link()?;
        site.vip_is(owner, vip, "state", &json!("held-elsewhere")).await?;
        assert_eq!(site.owner(vip).await?, 1 - owner, "holders are sticky");
        let back = site.nodes[owner].mac();
        assert!(
            wire.frames()
                .iter()
                .all(|f| f.source() != back || f.arp().is_none_or(|arp| arp.sender_ip != vip))
        );
        Ok(())
    })
}

#[test]
fn sigterm_ends_the_session_with_one_write_and_leaves_nothing_to_wait_for() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "term", 2).await?;
        let vips: Vec<_> = (200..220).map(|host| site.lan.address(host)).collect();
        site.service("web", &vips).await?;
        for vip in &vips {
            site.owner(*vip).await?;
        }
        let owner = site.owner(vips[0]).await?;
        let heir = site.nodes[1 - owner].mac();
        let wire = site.lan.sniff()?;
        let asking = site.lan.client().ask_every(OFTEN, &vips);
        assert!(site.announcers[owner].process().terminate().await?.success());
        for vip in &vips {
            let answer = |arp: Arp| arp.source == heir && arp.answers(*vip) && !arp.announces(*vip);
            wire.wait_for(LONG, |f| f.arp().is_some_and(answer)).await?;
        }
        drop(asking);
        for vip in &vips {
            let seen = tenures(&wire.frames(), *vip);
            assert!(seen.len() <= 2 && seen.last().is_some_and(|t| t.mac == heir), "{vip}: {seen:?}");
        }
        let session = format!("gateherald-node-{}", site.nodes[owner].name());
        let text = lab.kubectl(&["get", "lease", "-n", "gateherald-system", &session, "-o", "json"]).await?;
        assert!(text.contains("shutdown"), "{text}");
        Ok(())
    })
}

#[test]
fn what_leaves_a_service_is_silent_from_then_on() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "leave", 1).await?;
        let (vip, stays) = (site.lan.address(200), site.lan.address(201));
        site.service("web", &[vip, stays]).await?;
        site.owner(vip).await?;
        site.owner(stays).await?;
        site.addresses("web", &[stays]).await?;
        site.claimed_by(vip, None).await?;
        site.silent(vip, QUIET).await?;
        site.owner(stays).await?;
        site.delete_policy().await?;
        site.claimed_by(stays, None).await?;
        site.silent(stays, QUIET).await?;
        Ok(())
    })
}
