// SPDX-License-Identifier: Apache-2.0
//! Other hosts that use an address of ours.

use std::net::Ipv4Addr;
use std::time::Duration;

use gateherald_lab::frame::{Arp, Mac, Ndp};
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::{Frame, LanHost, Sniffer};
use gateherald_tests::vips::Site;
use serde_json::json;

/// Long enough for an answer that should not come; a right one takes a few milliseconds.
const QUIET: Duration = Duration::from_millis(700);
/// A minute until somebody is asked again, and what a slow machine may need besides.
const MINUTES: Duration = Duration::from_mins(2);
const OFTEN: Duration = Duration::from_millis(5);

/// Both forms of an announcement by a host that is not ours.
fn announce(host: &LanHost, address: Ipv4Addr) -> anyhow::Result<()> {
    let request = Arp { sender_ip: address, ..host.request(address) };
    host.send(&request.bytes())?;
    host.send(&Arp { operation: 2, target_mac: host.mac(), ..request }.bytes())
}

/// How often a host has announced an address since.
fn announcements_of(wire: &Sniffer, mac: Mac, address: Ipv4Addr, since: Duration) -> usize {
    let frames = wire.frames();
    let later = frames.iter().filter(|frame| frame.at > since).filter_map(Frame::arp);
    later.filter(|arp| arp.source == mac && arp.announces(address)).count()
}

/// When a host spoke ARP last.
fn last_word(wire: &Sniffer, mac: Mac) -> Duration {
    let frames = wire.frames();
    let last = frames.iter().rfind(|frame| frame.source() == mac && frame.arp().is_some());
    last.map(|frame| frame.at).unwrap_or_default()
}

#[test]
fn a_host_that_announces_our_address_once_is_met_by_silence_and_then_one_defence() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "once", 1).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        let owner = site.owner(vip).await?;
        let mac = site.nodes[owner].mac();
        let stranger = site.lan.add_host("stranger")?;
        // What was due after the take is over, so that the defence stands alone.
        until("the address has been announced for the last time", LONG, async || {
            let count = site.metric(owner, "frames_announced_total", "").await?;
            Ok(if count >= 10.0 { Look::Found(()) } else { Look::NotYet(count.to_string()) })
        })
        .await?;
        let wire = site.lan.sniff()?;
        let asking = site.lan.client().ask_every(OFTEN, &[vip]);
        let defended = json!({ "claimant": stranger.mac().to_string(), "stage": "defended" });
        until("the address is defended", LONG, async || {
            let said = site.announcers[owner].vips().await?["addresses"][0]["conflict"].clone();
            if said.is_null() {
                // At first; and again if the session lapsed meanwhile, which ends the dispute.
                announce(&stranger, vip)?;
            }
            Ok(if said == defended { Look::Found(()) } else { Look::NotYet(said.to_string()) })
        })
        .await?;
        let defence = |frame: &Frame| frame.arp().is_some_and(|arp| arp.source == mac && arp.announces(vip));
        let conflict = last_word(&wire, stranger.mac());
        let defended = wire.wait_for(LONG, |frame| defence(frame) && frame.at > conflict).await?.at;
        let answered = |frame: &Frame| {
            frame.at > defended && frame.arp().is_some_and(|arp| arp.answers(vip) && arp.source == mac)
        };
        wire.wait_for(LONG, answered).await?;
        drop(asking);
        // Between the stranger's word and the defence nothing was said for the address.
        let frames = wire.frames();
        let spoken =
            |frame: &&Frame, by: Mac| frame.arp().is_some_and(|arp| arp.source == by && arp.sender_ip == vip);
        // A reply may have been on its way while the announcement came.
        let margin = Duration::from_millis(100);
        let between = frames.iter().filter(|frame| frame.at > conflict + margin && frame.at < defended);
        assert_eq!(between.filter(|frame| spoken(frame, mac)).count(), 0);
        let after = announcements_of(&wire, mac, vip, conflict);
        assert_eq!(after, 2, "one announcement has two forms");
        assert_eq!(site.owner(vip).await?, owner);
        assert_eq!(site.claim_holder(vip).await?.as_deref(), Some(site.nodes[owner].name()));
        assert!(site.metric(owner, "conflicts_total", "").await? >= 1.0);
        site.announcers[owner]
            .process()
            .log_line(LONG, |line| line.contains("WARN") && line.contains(&stranger.mac().to_string()))
            .await?;
        Ok(())
    })
}

/// Whether the announcers hold or fence while the API server is away cannot matter: it is there.
#[test]
fn an_address_that_a_host_has_already_is_left_to_it() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "before", 2).await?;
        let vip = site.lan.address(200);
        let squatter = site.lan.add_host("squatter")?;
        squatter.netns().ip(&format!("addr add {vip}/24 dev eth0"))?;
        let wire = site.lan.sniff()?;
        let asking = site.lan.client().ask_every(OFTEN, &[vip]);
        site.service("web", &[vip]).await?;
        let silenced = json!({ "claimant": squatter.mac().to_string(), "stage": "silenced" });
        until("the node that claims it finds it in use", LONG, async || {
            let mut said = Vec::new();
            for announcer in &site.announcers {
                said.push(announcer.vips().await?["addresses"][0]["conflict"].clone());
            }
            Ok(if said.contains(&silenced) { Look::Found(()) } else { Look::NotYet(format!("{said:?}")) })
        })
        .await?;
        tokio::time::sleep(QUIET).await;
        drop(asking);
        let frames = wire.frames();
        let theirs = |frame: &Frame| frame.source() == squatter.mac();
        let spoken = |frame: &&Frame| frame.arp().is_some_and(|arp| arp.sender_ip == vip);
        assert!(frames.iter().filter(spoken).all(theirs), "only the squatter speaks");
        assert!(frames.iter().filter(spoken).count() > 0);
        Ok(())
    })
}

#[test]
fn a_host_that_persists_has_the_address_until_it_leaves() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "stay", 1).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        let owner = site.owner(vip).await?;
        // A real host with the address on its interface, which its kernel answers for.
        let squatter = site.lan.add_host("squatter")?;
        squatter.netns().ip(&format!("addr add {vip}/24 dev eth0"))?;
        let silenced = json!({ "claimant": squatter.mac().to_string(), "stage": "silenced" });
        until("the node gives in", LONG, async || {
            announce(&squatter, vip)?;
            let vips = site.announcers[owner].vips().await?;
            let said = vips["addresses"][0]["conflict"].clone();
            Ok(if said == silenced { Look::Found(()) } else { Look::NotYet(said.to_string()) })
        })
        .await?;
        let wire = site.lan.sniff()?;
        let asking = site.lan.client().ask_every(OFTEN, &[vip]);
        let theirs =
            |frame: &Frame| frame.arp().is_some_and(|arp| arp.answers(vip) && arp.source == squatter.mac());
        wire.wait_for(LONG, theirs).await?;
        tokio::time::sleep(QUIET).await;
        let ours = |frame: &&Frame| site.nodes.iter().any(|node| node.mac() == frame.source());
        let spoken = |frame: &&Frame| ours(frame) && frame.arp().is_some_and(|arp| arp.sender_ip == vip);
        assert_eq!(wire.frames().iter().filter(spoken).count(), 0, "only the squatter speaks");
        drop(asking);
        assert_eq!(
            site.claim_holder(vip).await?.as_deref(),
            Some(site.nodes[owner].name()),
            "the claim stays"
        );
        // It leaves. After a minute somebody is asked, nobody answers, and the address is as good as new.
        squatter.netns().ip(&format!("addr del {vip}/24 dev eth0"))?;
        let mac = site.nodes[owner].mac();
        let probe = |frame: &Frame| {
            frame.arp().is_some_and(|arp| {
                arp.source == mac && arp.target_ip == vip && arp.sender_ip.is_unspecified()
            })
        };
        wire.wait_for(MINUTES, probe).await?;
        let again = |frame: &Frame| frame.arp().is_some_and(|arp| arp.source == mac && arp.announces(vip));
        wire.wait_for(LONG, again).await?;
        assert_eq!(site.owner(vip).await?, owner);
        assert!(site.metric(owner, "conflict_steps_total", "resumed").await? >= 1.0);
        Ok(())
    })
}

#[test]
fn an_ipv6_address_that_another_host_advertises_is_defended_alike() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "six", 1).await?;
        let vip = site.lan.address6(0x200);
        site.service_of_families("web", &[vip.into()]).await?;
        assert_eq!(site.owner6(vip).await?, 0);
        let stranger = site.lan.add_host("stranger")?;
        let wire = site.lan.sniff()?;
        let told = Ndp::advertise(stranger.mac(), stranger.ip6(), vip);
        stranger.send(&told.bytes())?;
        let conflict = |stage: &str| json!({ "claimant": stranger.mac().to_string(), "stage": stage });
        site.vip_is(0, vip, "conflict", &conflict("defended")).await?;
        let at = wire.wait_for(LONG, |frame| frame.ndp() == Some(told)).await?.at;
        let defence = |frame: &Frame| {
            frame.at > at
                && frame.ndp().is_some_and(|ndp| ndp.announces(vip) && ndp.source == site.nodes[0].mac())
        };
        wire.wait_for(LONG, defence).await?;
        assert_eq!(site.owner6(vip).await?, 0);
        // Sending from the address is using it too.
        stranger.send(&Ndp::solicit(stranger.mac(), vip, site.lan.address6(1)).bytes())?;
        site.vip_is(0, vip, "conflict", &conflict("silenced")).await?;
        let silent = site.lan.client().ask6(vip, QUIET).await;
        assert!(silent.is_err(), "{silent:?}");
        Ok(())
    })
}

#[test]
fn an_address_that_moves_between_nodes_is_no_conflict() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "moves", 2).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        let asking = site.lan.client().ask_every(OFTEN, &[vip]);
        for _ in 0..2 {
            let owner = site.owner(vip).await?;
            site.nodes[owner].label(&[("gateherald.io/announce", Some("false"))]).await?;
            site.claimed_by(vip, Some(site.nodes[1 - owner].name())).await?;
            site.nodes[owner].label(&[("gateherald.io/announce", None)]).await?;
        }
        drop(asking);
        for node in 0..2 {
            assert!(site.metric(node, "conflicts_total", "").await?.abs() < 0.5);
            assert!(site.metric(node, "addresses_contested", "").await?.abs() < 0.5);
        }
        Ok(())
    })
}
