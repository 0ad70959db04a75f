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
