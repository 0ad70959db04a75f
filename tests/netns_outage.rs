// SPDX-License-Identifier: Apache-2.0
//! The API server is away for some or for all: who answers meanwhile, who afterwards, and never two.

use std::time::Duration;

use gateherald_lab::chart::NAMESPACE;
use gateherald_lab::patience::LONG;
use gateherald_lab::{Announcer, Options};
use gateherald_tests::vips::{Site, longest_silence, voices};
use serde_json::json;

const OFTEN: Duration = Duration::from_millis(5);
/// The default lease duration.
const D: Duration = Duration::from_secs(4);
/// What a busy machine may add to anything.
const SLACK: Duration = Duration::from_secs(3);
/// Long enough for an answer that should not come; a right one takes a few milliseconds.
const QUIET: Duration = Duration::from_millis(700);

async fn says(announcer: &Announcer, text: &str) -> anyhow::Result<()> {
    announcer.process().log_line(LONG, |line| line.contains(text)).await.map(drop)
}

/// Two nodes whose announcers run with `args`.
async fn pair<'a>(lab: &'a gateherald_lab::Lab, prefix: &str, args: &[&str]) -> anyhow::Result<Site<'a>> {
    let mut site = Site::without_policy(lab, prefix).await?;
    site.policy(&json!({})).await?;
    for _ in 0..2 {
        site.add_node(args).await?;
    }
    Ok(site)
}

/// The management link of the holder is cut for longer than its lease: the other node takes over.
async fn cut_off(lab: &gateherald_lab::Lab, prefix: &str, mode: &str, bound: Duration) -> anyhow::Result<()> {
    let site = pair(lab, prefix, &["--on-api-outage", mode]).await?;
    let vip = site.lan.address(200);
    site.service("web", &[vip]).await?;
    let owner = site.owner(vip).await?;
    let (old, new) = (site.nodes[owner].mac(), site.nodes[1 - owner].mac());
    let wire = site.lan.sniff()?;
    let asking = site.lan.client().ask_every(OFTEN, &[vip]);
    wire.wait_for(LONG, |f| f.arp().is_some_and(|arp| arp.answers(vip))).await?;
    site.nodes[owner].set_management_link(false)?;
    says(&site.announcers[owner], "session lost").await?;
    wire.wait_for(LONG, |f| f.source() == new && f.arp().is_some_and(|arp| arp.answers(vip))).await?;
    site.nodes[owner].set_management_link(true)?;
    site.announcers[owner].wait_ready().await?;
    assert_eq!(site.owner(vip).await?, 1 - owner, "what was taken stays where it is");
    drop(asking);
    assert_eq!(voices(&wire.frames(), vip), [old, new], "in turns, or not at all");
    let silence = longest_silence(&wire.frames(), vip);
    assert!(silence < bound, "nobody answered for {silence:?}");
    Ok(())
}

#[test]
fn a_holder_that_is_cut_off_holds_until_it_hears_who_takes_over() -> anyhow::Result<()> {
    // Three probes, not a lease duration.
    gateherald_lab::run(async |lab| cut_off(lab, "cuthold", "hold", Duration::from_secs(2)).await)
}

#[test]
fn a_holder_that_is_cut_off_and_fences_is_silent_before_its_heir_speaks() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| cut_off(lab, "cutfence", "fence", D + SLACK).await)
}

#[test]
fn an_api_server_that_restarts_silences_nothing() -> anyhow::Result<()> {
    gateherald_lab::run_alone(&Options::default(), async |lab| {
        let site = pair(lab, "restart", &[]).await?;
        let vips: Vec<_> = (200..206).map(|host| site.lan.address(host)).collect();
        site.service("web", &vips).await?;
        let mut owners = Vec::new();
        for vip in &vips {
            owners.push(site.nodes[site.owner(*vip).await?].mac());
        }
        let wire = site.lan.sniff()?;
        let asking = site.lan.client().ask_every(OFTEN, &vips);
        lab.control_plane().api_server().kill().await?;
        for announcer in &site.announcers {
            says(announcer, "answering on until somebody else is heard").await?;
        }
        lab.control_plane().api_server().restart().await?;
        lab.control_plane().wait_ready().await?;
        for announcer in &site.announcers {
            announcer.wait_ready().await?;
        }
        for (vip, mac) in vips.iter().zip(&owners) {
            // Only a session announces, so it has its address back.
            let back = wire.frames().len();
            let announced = |f: &gateherald_lab::Frame| f.arp().is_some_and(|arp| arp.announces(*vip));
            assert_eq!(wire.wait_for(LONG, announced).await?.source(), *mac, "{vip} after {back} frames");
        }
        drop(asking);
        for (vip, mac) in vips.iter().zip(&owners) {
            assert_eq!(voices(&wire.frames(), *vip), [*mac], "{vip} never moved");
            let silence = longest_silence(&wire.frames(), *vip);
            assert!(silence < Duration::from_secs(2), "{vip}: nobody answered for {silence:?}");
        }
        Ok(())
    })
}

#[test]
fn a_persons_arping_silences_a_held_address_for_a_few_seconds_only() -> anyhow::Result<()> {
    gateherald_lab::run_alone(&Options::default(), async |lab| {
        let site = pair(lab, "arping", &[]).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        let owner = site.owner(vip).await?;
        lab.control_plane().api_server().freeze()?;
        says(&site.announcers[owner], "answering on until somebody else is heard").await?;
        assert_eq!(site.owner(vip).await?, owner);
        let wire = site.lan.sniff()?;
        let duplicate = site.lan.client().arping(vip, &["-D", "-c", "1", "-w", "1"]).await?;
        assert!(duplicate.status.success(), "a held address does not answer a probe");
        says(&site.announcers[owner], "answering again without a session").await?;
        assert_eq!(site.owner(vip).await?, owner);
        let mac = site.nodes[owner].mac();
        assert!(
            wire.frames().iter().all(|f| f.source() != mac || f.arp().is_none_or(|arp| !arp.announces(vip))),
            "held is not announced"
        );
        lab.control_plane().api_server().thaw()?;
        site.announcers[owner].wait_ready().await?;
        assert_eq!(site.owner(vip).await?, owner);
        Ok(())
    })
}

/// client-go's electors take a lease back that was renewed while they stood still.
#[test]
fn a_holder_that_is_frozen_with_a_renewal_under_way_says_nothing_when_it_wakes() -> anyhow::Result<()> {
    gateherald_lab::run_alone(&Options::default(), async |lab| {
        let site = pair(lab, "inflight", &[]).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        let frozen = site.owner(vip).await?;
        let wire = site.lan.sniff()?;
        let asking = site.lan.client().ask_every(OFTEN, &[vip]);
        let api = lab.control_plane().api_server();
        api.freeze()?;
        says(&site.announcers[frozen], "failing, will be tried again").await?;
        site.announcers[frozen].process().freeze()?;
        api.thaw()?;
        let heir = site.nodes[1 - frozen].mac();
        wire.wait_for(LONG, |f| f.source() == heir && f.arp().is_some_and(|arp| arp.answers(vip))).await?;
        let woken = wire.frames().len();
        site.announcers[frozen].process().thaw()?;
        says(&site.announcers[frozen], "session lost").await?;
        site.announcers[frozen].wait_ready().await?;
        assert_eq!(site.owner(vip).await?, 1 - frozen);
        drop(asking);
        let frames = wire.frames();
        let stale = frames[woken..].iter().filter(|f| {
            f.source() == site.nodes[frozen].mac() && f.arp().is_some_and(|arp| arp.sender_ip == vip)
        });
        assert_eq!(stale.count(), 0);
        Ok(())
    })
}

#[test]
fn whatever_a_person_does_to_a_lease_two_never_answer_and_somebody_does_again() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = pair(lab, "hand", &[]).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        let claim = format!("gateherald-vip-{vip}");
        let patches = [
            r#"{"spec":{"holderIdentity":"somebody-else"}}"#,
            r#"{"spec":{"holderIdentity":""}}"#,
            r#"{"metadata":{"annotations":{"gateherald.io/session":"aaaaaaaaaaaaaaaaaaaaaaaa"}}}"#,
            r#"{"metadata":{"annotations":{"gateherald.io/format":"0"}}}"#,
        ];
        for step in 0..patches.len() + 2 {
            let owner = site.owner(vip).await?;
            site.vip_is(owner, vip, "state", &json!("owned")).await?;
            let wire = site.lan.sniff()?;
            let asking = site.lan.client().ask_every(OFTEN, &[vip]);
            wire.wait_for(LONG, |f| f.arp().is_some_and(|arp| arp.answers(vip))).await?;
            let session = format!("gateherald-node-{}", site.nodes[owner].name());
            if let Some(patch) = patches.get(step) {
                let args = ["patch", "lease", &claim, "-n", NAMESPACE, "--type=merge", "-p", patch];
                lab.kubectl(&args).await?;
            } else {
                let lease = if step == patches.len() { &claim } else { &session };
                lab.kubectl(&["delete", "lease", lease, "-n", NAMESPACE]).await?;
            }
            // Until the first one has noticed.
            let lost = if step > patches.len() { "session lost" } else { "lost the address" };
            says(&site.announcers[owner], lost).await?;
            let after = wire.frames().len();
            until_answered_after(&wire, after, vip).await?;
            drop(asking);
            let spoke = voices(&wire.frames(), vip);
            assert!(spoke.len() <= 2, "step {step}: {spoke:?}");
            let silence = longest_silence(&wire.frames(), vip);
            assert!(silence < D + D + SLACK, "step {step}: nobody answered for {silence:?}");
        }
        Ok(())
    })
}

async fn until_answered_after(
    wire: &gateherald_lab::sniffer::Sniffer,
    after: usize,
    vip: std::net::Ipv4Addr,
) -> anyhow::Result<()> {
    use gateherald_lab::patience::{Look, until};
    until("somebody answers again", LONG, async || {
        let frames = wire.frames();
        let answered = frames[after..].iter().any(|f| f.arp().is_some_and(|arp| arp.announces(vip)));
        Ok(if answered { Look::Found(()) } else { Look::NotYet(format!("{} frames", frames.len())) })
    })
    .await
}

#[test]
fn all_announcers_restarted_at_once_find_their_addresses_again() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = pair(lab, "allnew", &[]).await?;
        let vips: Vec<_> = (200..206).map(|host| site.lan.address(host)).collect();
        site.service("web", &vips).await?;
        let mut owners = Vec::new();
        for vip in &vips {
            owners.push(site.owner(*vip).await?);
        }
        let wire = site.lan.sniff()?;
        for announcer in &site.announcers {
            announcer.process().kill().await?;
        }
        for announcer in &site.announcers {
            announcer.process().restart().await?;
        }
        for (vip, owner) in vips.iter().zip(&owners) {
            assert_eq!(site.owner(*vip).await?, *owner, "{vip}");
            assert_eq!(voices(&wire.frames(), *vip), [site.nodes[*owner].mac()], "{vip}");
        }
        site.silent(site.lan.address(220), QUIET).await
    })
}

#[test]
fn a_rolling_restart_with_another_lease_duration_never_has_two_owners() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = pair(lab, "rolling", &[]).await?;
        let vips: Vec<_> = (200..206).map(|host| site.lan.address(host)).collect();
        site.service("web", &vips).await?;
        for vip in &vips {
            site.owner(*vip).await?;
        }
        let wire = site.lan.sniff()?;
        let asking = site.lan.client().ask_every(OFTEN, &vips);
        // Longer on one node after the other, then shorter.
        for (seconds, period) in [("7", "2s"), ("2", "500ms")] {
            for announcer in &site.announcers {
                assert!(announcer.process().terminate().await?.success());
                let mut args = announcer.process().spec().args.clone();
                args.extend(["--lease-duration", seconds, "--renew-period", period].map(str::to_owned));
                let kept = args.iter().position(|arg| arg == "--lease-duration").unwrap_or(args.len());
                let tail = args.split_off(args.len() - 4);
                args.truncate(kept.min(args.len()));
                args.extend(tail);
                announcer.process().restart_with(args).await?;
                announcer.wait_ready().await?;
            }
            for vip in &vips {
                site.owner(*vip).await?;
            }
        }
        // A crash is judged by the crashed one's own duration.
        site.announcers[0].process().kill().await?;
        let (crashed, heir) = (site.lan.sniff()?, site.nodes[1].mac());
        for vip in &vips {
            crashed
                .wait_for(LONG, |f| f.source() == heir && f.arp().is_some_and(|arp| arp.answers(*vip)))
                .await?;
        }
        drop(asking);
        for vip in &vips {
            // Four planned changes at the most, and the crash.
            let spoke = voices(&wire.frames(), *vip);
            assert!(spoke.len() <= 6, "{vip}: {spoke:?}");
            assert_eq!(spoke.last(), Some(&heir));
        }
        Ok(())
    })
}
