// SPDX-License-Identifier: Apache-2.0
//! Links that change under the announcer.

use std::time::Duration;

use gateherald_lab::frame::{Mac, Membership, solicited_node};
use gateherald_lab::patience::LONG;
use gateherald_lab::{Frame, Sniffer};
use gateherald_tests::vips::Site;
use serde_json::json;

/// Long enough for an answer that should not come; a right one takes a few milliseconds.
const QUIET: Duration = Duration::from_millis(700);
const OTHER_MAC: Mac = Mac([0x52, 0x54, 0, 0xee, 0, 1]);

/// Waits for an announcement of both addresses by `mac`.
async fn announced(wire: &Sniffer, site: &Site<'_>, mac: Mac) -> anyhow::Result<()> {
    let (vip, vip6) = (site.lan.address(200), site.lan.address6(0x200));
    let v4 = |frame: &Frame| frame.arp().is_some_and(|arp| arp.sender_mac == mac && arp.announces(vip));
    wire.wait_for(LONG, v4).await?;
    let v6 =
        |frame: &Frame| frame.ndp().is_some_and(|ndp| ndp.link_layer == Some(mac) && ndp.announces(vip6));
    wire.wait_for(LONG, v6).await.map(drop)
}

#[test]
fn another_ethernet_address_is_announced_and_answered_with_at_once() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let mut site = Site::new(lab, "mac", 1).await?;
        let (vip, vip6) = (site.lan.address(200), site.lan.address6(0x200));
        site.service_of_families("web", &[vip.into(), vip6.into()]).await?;
        assert_eq!((site.owner(vip).await?, site.owner6(vip6).await?), (0, 0));
        let wire = site.lan.sniff()?;
        site.nodes[0].change_mac(OTHER_MAC)?;
        announced(&wire, &site, OTHER_MAC).await?;
        assert_eq!((site.owner(vip).await?, site.owner6(vip6).await?), (0, 0));
        assert!(site.metric(0, "conflicts_total", "").await?.abs() < 0.5);
        Ok(())
    })
}

#[test]
fn a_card_that_is_replaced_is_listened_and_announced_on() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let mut site = Site::new(lab, "card", 1).await?;
        let (vip, vip6) = (site.lan.address(200), site.lan.address6(0x200));
        site.service_of_families("web", &[vip.into(), vip6.into()]).await?;
        assert_eq!((site.owner(vip).await?, site.owner6(vip6).await?), (0, 0));
        let before = site.nodes[0].mac();
        let wire = site.lan.sniff()?;
        site.nodes[0].replace_link()?;
        let mac = site.nodes[0].mac();
        assert_ne!(mac, before);
        announced(&wire, &site, mac).await?;
        // N22: the new card is in the address's group.
        let joined = Membership::Joined(solicited_node(vip6));
        wire.wait_for(LONG, |frame| frame.source() == mac && frame.memberships().contains(&joined)).await?;
        assert_eq!((site.owner(vip).await?, site.owner6(vip6).await?), (0, 0));
        Ok(())
    })
}

#[test]
fn behind_a_bridge_the_master_answers_exactly_once() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let mut site = Site::without_policy(lab, "bridge").await?;
        // Matches master and member; the member has a master, which speaks for it.
        site.policy(&json!({ "interfaces": ["^ens18$", "^vmbr0$"] })).await?;
        let node = site.lan.add_node().await?;
        node.enslave_link("vmbr0", OTHER_MAC)?;
        site.announcers.push(node.run_announcer(&[]).await?);
        site.nodes.push(node);
        let (vip, vip6) = (site.lan.address(200), site.lan.address6(0x200));
        site.service_of_families("web", &[vip.into(), vip6.into()]).await?;
        let client = site.lan.client();
        assert_eq!(client.ask(vip, LONG).await?.sender_mac, OTHER_MAC);
        assert_eq!(client.ask6(vip6, LONG).await?.link_layer, Some(OTHER_MAC));
        let wire = client.sniff()?;
        for _ in 0..20 {
            client.send(&client.request(vip).bytes())?;
            client.send(&client.solicit(vip6).bytes())?;
        }
        // A second answer would come with the first.
        tokio::time::sleep(QUIET).await;
        let frames = wire.frames();
        let arp = frames.iter().filter_map(Frame::arp).filter(|arp| arp.answers(vip) && !arp.announces(vip));
        let ndp = frames.iter().filter_map(Frame::ndp).filter(|ndp| ndp.answers(vip6));
        assert_eq!((arp.count(), ndp.count()), (20, 20));
        let page = site.announcers[0].vips().await?;
        assert_eq!(page["addresses"][0]["interfaces"][0]["name"], "vmbr0");
        Ok(())
    })
}

#[test]
fn a_node_on_two_networks_answers_on_each_with_the_card_that_was_asked() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let mut site = Site::without_policy(lab, "two").await?;
        let other = lab.lan("far")?;
        site.policy(&json!({ "interfaces": ["^ens18$", "^ens19$"] })).await?;
        let node = site.lan.add_node().await?;
        let second = node.plug_into(&other, "ens19")?;
        site.announcers.push(node.run_announcer(&[]).await?);
        site.nodes.push(node);
        let (vip, vip6) = (site.lan.address(200), site.lan.address6(0x200));
        site.service_of_families("web", &[vip.into(), vip6.into()]).await?;
        let near = site.nodes[0].mac();
        for _ in 0..3 {
            assert_eq!(site.lan.client().ask(vip, LONG).await?.sender_mac, near);
            assert_eq!(other.client().ask(vip, LONG).await?.sender_mac, second);
            assert_eq!(site.lan.client().ask6(vip6, LONG).await?.link_layer, Some(near));
            assert_eq!(other.client().ask6(vip6, LONG).await?.link_layer, Some(second));
        }
        // A5: the policy changes, and the second network hears nothing more.
        site.policy(&json!({ "interfaces": ["^ens18$"] })).await?;
        let page = site.announcers[0].vips().await?;
        let networks = page["addresses"][0]["interfaces"][0]["networks"].clone();
        let own = json!(format!("{}/24", site.nodes[0].ip()));
        assert!(networks.as_array().is_some_and(|networks| networks.contains(&own)), "{page:#}");
        let only = json!([{
            "index": index(&site)?, "name": "ens18", "mac": near.to_string(), "up": true, "networks": networks,
            "answers": true, "reason": null
        }]);
        site.vip_is(0, vip, "interfaces", &only).await?;
        let silent = other.client().ask(vip, QUIET).await;
        assert!(silent.is_err(), "{silent:?}");
        assert_eq!(site.lan.client().ask(vip, LONG).await?.sender_mac, near);
        Ok(())
    })
}

fn index(site: &Site<'_>) -> anyhow::Result<u32> {
    site.nodes[0].netns().enter(|| Ok(std::fs::read_to_string("/proc/thread-self/net/dev_mcast")?)).map(
        |text| {
            let line = text.lines().find(|line| line.contains(" ens18 "));
            line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or_default()
        },
    )
}

#[test]
fn a_tagged_request_is_another_networks_and_is_not_answered() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "tag", 1).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        assert_eq!(site.owner(vip).await?, 0);
        let client = site.lan.client();
        let wire = client.sniff()?;
        let request = client.request(vip).bytes();
        let tagged = [&request[..12], &[0x81, 0, 0, 100], &request[12..]].concat();
        for _ in 0..10 {
            client.send(&tagged)?;
        }
        // One that is answered comes after them.
        client.send(&request)?;
        let answered = |frame: &Frame| frame.arp().is_some_and(|arp| arp.answers(vip) && !arp.announces(vip));
        wire.wait_for(LONG, answered).await?;
        tokio::time::sleep(QUIET).await;
        assert_eq!(wire.frames().iter().filter(|frame| answered(frame)).count(), 1);
        Ok(())
    })
}
