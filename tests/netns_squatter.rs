// SPDX-License-Identifier: Apache-2.0
//! A host that has an address before the address is ours.

use std::time::Duration;

use gateherald_lab::Frame;
use gateherald_lab::patience::LONG;
use gateherald_tests::vips::Site;
use serde_json::json;

/// Long enough for an answer that should not come; a right one takes a few milliseconds.
const QUIET: Duration = Duration::from_millis(700);
/// A minute until somebody is asked again, and what a slow machine may need besides.
const MINUTES: Duration = Duration::from_mins(2);
const OFTEN: Duration = Duration::from_millis(20);

#[test]
fn a_host_that_has_the_address_first_keeps_it_until_it_leaves() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "first", 1).await?;
        let (vip, vip6) = (site.lan.address(200), site.lan.address6(0x200));
        let squatter = site.lan.add_host("squatter")?;
        squatter.netns().ip(&format!("addr add {vip}/24 dev eth0"))?;
        squatter.netns().ip(&format!("addr add {vip6}/64 dev eth0 nodad"))?;
        let (node, mac) = (site.nodes[0].name(), site.nodes[0].mac());
        let wire = site.lan.sniff()?;
        // A frame of ours that says that we have one of them; to ask whether anybody has is none.
        let ours = |frame: &Frame| {
            let arp = frame.arp().is_some_and(|arp| arp.sender_ip == vip);
            let ndp =
                frame.ndp().is_some_and(|ndp| ndp.kind == 136 && ndp.target == vip6 || ndp.from == vip6);
            frame.source() == mac && (arp || ndp)
        };
        site.service_of_families("web", &[vip.into(), vip6.into()]).await?;
        let silenced = json!({ "claimant": squatter.mac().to_string(), "stage": "silenced" });
        site.vip_is(0, vip, "conflict", &silenced).await?;
        site.vip_is(0, vip6, "conflict", &silenced).await?;
        site.claimed_by(vip, Some(node)).await?;
        site.claimed_by(vip6, Some(node)).await?;
        let asking = site.lan.client().ask_every(OFTEN, &[vip]);
        let asking6 = site.lan.client().repeat(OFTEN, vec![site.lan.client().solicit(vip6).bytes()]);
        let theirs = |frame: &Frame| {
            frame.source() == squatter.mac() && frame.arp().is_some_and(|arp| arp.answers(vip))
        };
        wire.wait_for(LONG, theirs).await?;
        let theirs = |frame: &Frame| {
            frame.source() == squatter.mac() && frame.ndp().is_some_and(|ndp| ndp.answers(vip6))
        };
        wire.wait_for(LONG, theirs).await?;
        tokio::time::sleep(QUIET).await;
        let said = wire.frames().into_iter().filter(ours).count();
        assert_eq!(said, 0, "not one frame of ours speaks for them");
        assert_eq!(site.lan.client().ask(vip, LONG).await?.sender_mac, squatter.mac());
        site.vip_is(0, vip, "owned", &json!(true)).await?;
        let page = site.announcers[0].vips().await?;
        let interface = &page["addresses"][0]["interfaces"][0];
        assert_eq!(
            (&interface["answers"], &interface["reason"]),
            (&json!(false), &json!("silenced")),
            "{page}"
        );
        drop((asking, asking6));
        // It leaves, and nobody has to tell us.
        squatter.netns().ip(&format!("addr del {vip}/24 dev eth0"))?;
        squatter.netns().ip(&format!("addr del {vip6}/64 dev eth0"))?;
        let announced =
            |frame: &Frame| frame.source() == mac && frame.arp().is_some_and(|arp| arp.announces(vip));
        wire.wait_for(MINUTES, announced).await?;
        let announced =
            |frame: &Frame| frame.source() == mac && frame.ndp().is_some_and(|ndp| ndp.announces(vip6));
        wire.wait_for(MINUTES, announced).await?;
        assert_eq!((site.owner(vip).await?, site.owner6(vip6).await?), (0, 0));
        let page = site.announcers[0].vips().await?;
        assert_eq!(page["addresses"][0]["conflict"], serde_json::Value::Null, "{page}");
        Ok(())
    })
}
