// SPDX-License-Identifier: Apache-2.0
//! Addresses that several Services have, that come late, that come and go, and that belong to Services of two families.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use gateherald_lab::frame::{Frame, Mac};
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::standin::address_allocator;
use gateherald_tests::vips::{Site, longest_silence, voices};
use serde_json::json;

/// Long enough for an answer that should not come; a right one takes a few milliseconds.
const QUIET: Duration = Duration::from_millis(700);
const OFTEN: Duration = Duration::from_millis(5);
/// A machine that compiles beside it may keep an answer for a while; a lease duration would be 4 s.
const GAP: Duration = Duration::from_secs(2);

#[test]
fn two_services_share_an_address_and_its_one_owner_and_either_may_go() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "share", 3).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        let owner = site.owner(vip).await?;
        let mac = site.nodes[owner].mac();
        let transitions = site.transitions(vip).await?;
        let wire = site.lan.sniff()?;
        let asking = site.lan.client().ask_every(OFTEN, &[vip]);
        let both = json!([format!("{}/api", site.namespace), format!("{}/web", site.namespace)]);
        site.service_with("api", json!({ "ports": [{ "port": 81 }] }), &[vip]).await?;
        for node in 0..3 {
            site.vip_is(node, vip, "services", &both).await?;
        }
        // The claim tells who needs it, and stays the same one.
        let claim = format!("gateherald-vip-{vip}");
        until("the claim names both", LONG, async || {
            let args = ["get", "lease", &claim, "-n", gateherald_lab::chart::NAMESPACE, "-o", "yaml"];
            let claim = lab.kubectl(&args).await?;
            let named = claim.contains(&format!("{}/api", site.namespace)) && claim.contains("/web");
            Ok(if named { Look::Found(()) } else { Look::NotYet(claim) })
        })
        .await?;
        site.delete("web").await?;
        let left = json!([format!("{}/api", site.namespace)]);
        for node in 0..3 {
            site.vip_is(node, vip, "services", &left).await?;
        }
        assert_eq!(site.owner(vip).await?, owner);
        drop(asking);
        assert_eq!(site.transitions(vip).await?, transitions, "the claim never changed hands");
        assert_eq!(voices(&wire.frames(), vip), [mac], "one owner all the time");
        let silence = longest_silence(&wire.frames(), vip);
        assert!(silence < GAP, "nobody answered for {silence:?}");
        site.delete("api").await?;
        site.claimed_by(vip, None).await?;
        site.silent(vip, QUIET).await
    })
}

#[test]
fn an_address_that_comes_late_is_taken_and_one_that_goes_leaves_the_other_alone() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "late", 2).await?;
        let (first, second) = (site.lan.address(200), site.lan.address(201));
        site.service("web", &[]).await?;
        let told = async |reason: &str| site.refused(0, None, reason).await.map(drop);
        told("NoAddress").await?;
        site.addresses("web", &[first]).await?;
        let owner = site.owner(first).await?;
        let wire = site.lan.sniff()?;
        let asking = site.lan.client().ask_every(OFTEN, &[first]);
        site.addresses("web", &[first, second]).await?;
        site.owner(second).await?;
        site.addresses("web", &[first]).await?;
        site.claimed_by(second, None).await?;
        site.silent(second, QUIET).await?;
        drop(asking);
        assert_eq!(voices(&wire.frames(), first), [site.nodes[owner].mac()]);
        let silence = longest_silence(&wire.frames(), first);
        assert!(silence < GAP, "nobody answered for {silence:?}");
        Ok(())
    })
}

/// When a frame spoke for the address last.
fn last_word(frames: &[Frame], address: Ipv4Addr) -> Duration {
    let speaks = |frame: &&Frame| frame.arp().is_some_and(|arp| arp.sender_ip == address);
    frames.iter().rfind(speaks).map(|frame| frame.at).unwrap_or_default()
}

/// The claim's 500 ms are measured where they begin and end: in the log of the holder.
#[test]
fn a_vanished_address_is_silent_at_once_and_its_claim_stays_for_a_moment() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "vanish", 2).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        let owner = site.owner(vip).await?;
        let wire = site.lan.sniff()?;
        let asking = site.lan.client().ask_every(OFTEN, &[vip]);
        wire.wait_for(LONG, |frame| frame.arp().is_some_and(|arp| arp.answers(vip))).await?;
        site.addresses("web", &[]).await?;
        let line = async |text: &'static str| {
            let wanted = |line: &str| line.contains(text) && line.contains(&format!("address={vip}"));
            let line = site.announcers[owner].process().log_line(LONG, wanted).await?;
            anyhow::Ok(gateherald_tests::vips::time_of(&line)?)
        };
        let (unselected, released) =
            (line("address no longer selected").await?, line("gave the address up").await?);
        drop(asking);
        site.claimed_by(vip, None).await?;
        let stayed = released.saturating_sub(unselected);
        assert!(stayed >= Duration::from_millis(490), "the claim stayed for {stayed:?}");
        let last = last_word(&wire.frames(), vip);
        // What was being sent while the line was written; the claim was still there then.
        let late = last.saturating_sub(unselected);
        assert!(late < Duration::from_millis(250) && last < released, "a frame {late:?} after");
        Ok(())
    })
}

/// Everybody who said to have one of the two addresses.
fn speakers(frames: &[Frame], v4: Ipv4Addr, v6: std::net::Ipv6Addr) -> (Vec<Mac>, Vec<Mac>) {
    let mut of6: Vec<Mac> = frames
        .iter()
        .filter_map(Frame::ndp)
        .filter(|ndp| ndp.kind == 136 && ndp.target == v6)
        .map(|n| n.source)
        .collect();
    of6.dedup();
    (voices(frames, v4), of6)
}

#[test]
fn both_addresses_of_a_dual_stack_service_are_answered_and_move_with_their_node() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "dual", 2).await?;
        let (vip, vip6) = (site.lan.address(200), site.lan.address6(0x200));
        let wire = site.lan.sniff()?;
        let pinned = json!({ "metadata": { "annotations": { "gateherald.io/preferred-node": site.nodes[0].name() } } });
        let service = site.service_with("web", json!({}), &[]).await?;
        site.patch("web", pinned).await?;
        let both: [IpAddr; 2] = [vip.into(), vip6.into()];
        address_allocator::write(&lab.client(), &service, &both).await?;
        site.claimed_by(vip, Some(site.nodes[0].name())).await?;
        site.claimed_by(vip6, Some(site.nodes[0].name())).await?;
        assert_eq!((site.owner(vip).await?, site.owner6(vip6).await?), (0, 0));
        assert!(site.announcers[0].process().terminate().await?.success());
        assert_eq!((site.owner(vip).await?, site.owner6(vip6).await?), (1, 1));
        let (of4, of6) = speakers(&wire.frames(), vip, vip6);
        let last = |spoke: &[Mac]| spoke.last().copied();
        assert_eq!((last(&of4), last(&of6)), (Some(site.nodes[1].mac()), Some(site.nodes[1].mac())));
        assert!(of4.len() <= 3 && of6.len() <= 3, "nobody speaks in turns: {of4:?} {of6:?}");
        Ok(())
    })
}

#[test]
fn external_addresses_are_announced_only_inside_the_networks_that_the_policy_names() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let mut site = Site::without_policy(lab, "extern").await?;
        site.add_node(&[]).await?;
        let (inside, outside, balanced) =
            (site.lan.address(200), site.lan.address(230), site.lan.address(201));
        site.policy(&json!({ "externalIPs": true, "addresses": [format!("{}/28", site.lan.address(192))] }))
            .await?;
        site.service_with("web", json!({ "externalIPs": [inside, outside] }), &[balanced]).await?;
        assert_eq!((site.owner(inside).await?, site.owner(balanced).await?), (0, 0));
        site.refused(0, Some(outside), "OutsideAddresses").await?;
        site.silent(outside, QUIET).await?;
        assert_eq!(site.claim_holder(outside).await?, None);
        // Without external addresses only the allocator's is left.
        site.policy(&json!({ "externalIPs": false, "addresses": [format!("{}/28", site.lan.address(192))] }))
            .await?;
        site.refused(0, Some(inside), "ExternalIpsOff").await?;
        site.claimed_by(inside, None).await?;
        site.silent(inside, QUIET).await?;
        assert_eq!(site.owner(balanced).await?, 0);
        Ok(())
    })
}

#[test]
fn services_of_other_load_balancers_are_left_to_them() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "class", 1).await?;
        let classes = [
            None,
            Some("io.cilium/l2-announcer"),
            Some("gateherald.io/l2-announcer"),
            Some("example.com/lb"),
        ];
        let vip = |number: usize| site.lan.address(200 + u8::try_from(number).unwrap_or_default());
        for (number, class) in classes.iter().enumerate() {
            let spec = class.map_or(json!({}), |class| json!({ "loadBalancerClass": class }));
            site.service_with(&format!("web{number}"), spec, &[vip(number)]).await?;
        }
        for (number, class) in classes.iter().enumerate().take(3) {
            assert_eq!(site.owner(vip(number)).await?, 0, "{class:?}");
        }
        let theirs = format!("{}/web3", site.namespace);
        until("the reason is told", LONG, async || {
            let vips = site.announcers[0].vips().await?;
            let entries = vips["notAnnounced"].as_array().cloned().unwrap_or_default();
            let told =
                entries.iter().any(|e| e["service"] == theirs && e["reason"] == "OtherLoadBalancerClass");
            Ok(if told { Look::Found(()) } else { Look::NotYet(vips["notAnnounced"].to_string()) })
        })
        .await?;
        site.silent(vip(3), QUIET).await?;
        assert_eq!(site.claim_holder(vip(3)).await?, None);
        Ok(())
    })
}
