// SPDX-License-Identifier: Apache-2.0
//! What policies, Services and nodes select, and the reasons that people see for the rest.

use std::time::Duration;

use gateherald_lab::patience::LONG;
use gateherald_tests::vips::Site;
use serde_json::json;

/// Long enough for an answer that should not come; a right one takes a few milliseconds.
const QUIET: Duration = Duration::from_millis(700);
/// RE2, and so the API server, takes this expression; the announcer's library does not.
const BAD: &str = r"\Qens18\E";

#[test]
fn a_policy_that_cannot_work_claims_nothing_and_says_why() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let mut site = Site::without_policy(lab, "bad").await?;
        site.add_node(&[]).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        for (changes, reason) in [
            (json!({ "interfaces": [BAD] }), "BadInterfaceRegex"),
            (json!({ "interfaces": ["^bond7$"] }), "NoInterface"),
            (json!({ "loadBalancerIPs": false }), "SelectsNothing"),
        ] {
            site.policy(&changes).await?;
            site.refused(0, None, reason).await?;
            let metrics = site.announcers[0].get("/metrics").await?.body;
            let series = format!("gateherald_announcer_not_announced{{reason=\"{reason}\"}}");
            assert!(metrics.contains(&series), "{series} in {metrics}");
            site.silent(vip, QUIET).await?;
            assert_eq!(site.claim_holder(vip).await?, None, "{reason}");
            site.delete_policy().await?;
        }
        site.policy(&json!({})).await?;
        assert_eq!(site.owner(vip).await?, 0);
        // A bad new version leaves the last good one in force.
        site.policy(&json!({ "interfaces": [BAD] })).await?;
        site.refused(0, None, "BadInterfaceRegex").await?;
        assert_eq!(site.owner(vip).await?, 0);
        Ok(())
    })
}

#[test]
fn addresses_of_nodes_and_routers_are_never_answered() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let mut site = Site::without_policy(lab, "taken").await?;
        let cidr = format!("{}/24", site.lan.address(0));
        site.policy(&json!({ "externalIPs": true, "addresses": [cidr] })).await?;
        site.add_node(&[]).await?;
        site.add_node(&[]).await?;
        let (router, other, vip) = (site.lan.router(), site.nodes[1].ip(), site.lan.address(200));
        let broadcast = site.lan.address(255);
        site.service("status", &[router, other, broadcast, vip]).await?;
        site.service_with("external", json!({ "externalIPs": [router, other] }), &[]).await?;
        let wire = site.lan.sniff()?;
        let first = site.owner(vip).await?;
        for address in [router, other, broadcast] {
            for node in 0..2 {
                site.refused(node, Some(address), "NotAVirtualAddress").await?;
            }
            assert_eq!(site.claim_holder(address).await?, None);
        }
        let router_mac = site.lan.client().ask(router, LONG).await?.sender_mac;
        assert!(site.nodes.iter().all(|node| node.mac() != router_mac));
        assert_eq!(
            site.lan.client().ask(other, LONG).await?.sender_mac,
            site.nodes[1].mac(),
            "its own kernel"
        );
        let told = |f: &gateherald_lab::Frame| f.arp().map(|arp| (arp.source, arp.sender_ip));
        let frames = wire.frames();
        let wrong = frames.iter().filter_map(told).filter(|(source, spa)| {
            site.nodes
                .iter()
                .any(|n| n.mac() == *source && *spa != n.ip() && *spa != vip && !spa.is_unspecified())
        });
        assert_eq!(wrong.count(), 0);
        assert_eq!(site.owner(vip).await?, first);
        Ok(())
    })
}

#[test]
fn labels_of_nodes_and_services_take_effect_at_once() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "label", 2).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        let owner = site.owner(vip).await?;
        site.nodes[owner].label(&[("gateherald.io/announce", Some("false"))]).await?;
        site.claimed_by(vip, Some(site.nodes[1 - owner].name())).await?;
        assert_eq!(site.owner(vip).await?, 1 - owner);
        site.refused(owner, None, "NodeOptedOut").await?;
        site.patch("web", json!({ "metadata": { "annotations": { "gateherald.io/announce": "false" } } }))
            .await?;
        site.claimed_by(vip, None).await?;
        site.silent(vip, QUIET).await?;
        site.refused(1 - owner, None, "ServiceOptedOut").await?;
        Ok(())
    })
}

#[test]
fn an_address_that_is_rewritten_within_half_a_second_stays_on_its_node() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::new(lab, "flap", 3).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        let owner = site.owner(vip).await?;
        let transitions = site.transitions(vip).await?;
        for _ in 0..3 {
            site.addresses("web", &[]).await?;
            site.addresses("web", &[vip]).await?;
            assert_eq!(site.owner(vip).await?, owner);
        }
        assert_eq!(site.transitions(vip).await?, transitions, "the claim never changed hands");
        Ok(())
    })
}
