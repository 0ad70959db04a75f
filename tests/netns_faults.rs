// SPDX-License-Identifier: Apache-2.0
//! What the announcer does, and says, when something it needs is missing.

use std::time::Duration;

use gateherald_lab::Options;
use gateherald_lab::chart::NAMESPACE;
use gateherald_lab::frame::tenures;
use gateherald_lab::node::Privilege;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::standin::cilium;
use gateherald_lab::{Announcer, Lab};
use gateherald_tests::vips::Site;
use serde_json::json;

/// Long enough for an answer that should not come; a right one takes a few milliseconds.
const QUIET: Duration = Duration::from_millis(700);
const OFTEN: Duration = Duration::from_millis(5);
/// The default lease duration.
const D: Duration = Duration::from_secs(4);

/// Waits until `/ready` answers 503 with a text that contains all of `parts`.
async fn not_ready(announcer: &Announcer, parts: &[&str]) -> anyhow::Result<String> {
    until(&format!("/ready says {parts:?}"), LONG, async || {
        let Ok(answer) = announcer.get("/ready").await else {
            return Ok(Look::NotYet("no answer".to_owned()));
        };
        let all = answer.status == 503 && parts.iter().all(|part| answer.body.contains(part));
        Ok(if all { Look::Found(answer.body) } else { Look::NotYet(answer.body) })
    })
    .await
}

#[test]
fn without_net_raw_it_ends_with_one_clear_line_and_its_own_exit_code() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::without_policy(lab, "raw").await?;
        let node = site.lan.add_node().await?;
        let announcer = node.start_announcer_as(&Privilege::None, node.kubeconfig()?, &[])?;
        let status = announcer.process().exited(LONG).await?;
        assert_eq!(status.code(), Some(77));
        let log = announcer.process().log();
        let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
        assert!(errors.len() == 1 && errors[0].contains("NET_RAW"), "{log}");
        Ok(())
    })
}

#[test]
fn missing_rights_are_named_by_verb_and_resource() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::without_policy(lab, "rbac").await?;
        let node = site.lan.add_node().await?;
        lab.kubectl(&["create", "serviceaccount", "nobody", "-n", NAMESPACE]).await?;
        let stranger = lab.control_plane().kubeconfig_of(NAMESPACE, "nobody").await?;
        let announcer = node.start_announcer_as(&Privilege::NetRaw, &stranger, &[])?;
        let said = [
            "RBAC does not allow to list services",
            "RBAC does not allow to list nodes",
            "RBAC does not allow to list l2announcementpolicies.gateherald.io",
            "RBAC does not allow to get namespaces",
        ];
        not_ready(&announcer, &said).await?;
        for said in said {
            announcer.process().log_line(LONG, |line| line.contains("WARN") && line.contains(said)).await?;
        }
        assert!(announcer.process().is_running());
        Ok(())
    })
}

#[test]
fn bad_flags_are_refused_with_a_reason() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = Site::without_policy(lab, "flag").await?;
        let node = site.lan.add_node().await?;
        let announcer = node.start_announcer(&["--lease-duration", "3"])?;
        assert_eq!(announcer.process().exited(LONG).await?.code(), Some(2));
        let log = announcer.process().log();
        assert!(log.contains("--lease-duration 3s is too short for --renew-period 1s"), "{log}");
        Ok(())
    })
}

#[test]
fn a_policy_kind_that_is_installed_later_is_picked_up() -> anyhow::Result<()> {
    gateherald_lab::run_alone(&Options::default(), async |lab| {
        let mut site = Site::without_policy(lab, "late").await?;
        site.add_node(&["--cilium-policies", "always"]).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        site.silent(vip, QUIET).await?;
        cilium::install_policy_kind(lab.control_plane()).await?;
        cilium_policy(lab, &site).await?;
        assert_eq!(site.owner(vip).await?, 0);
        lab.kubectl(&["delete", "ciliuml2announcementpolicies.cilium.io", site.lan.name()]).await?;
        site.claimed_by(vip, None).await?;
        site.silent(vip, QUIET).await
    })
}

#[test]
fn policies_of_cilium_are_left_alone_while_cilium_announces_itself() -> anyhow::Result<()> {
    gateherald_lab::run_alone(&Options::default(), async |lab| {
        cilium::install_policy_kind(lab.control_plane()).await?;
        let config = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": "cilium-config", "namespace": "kube-system" },
            "data": { "enable-l2-announcements": "true" },
        });
        lab.apply(&config.to_string()).await?;
        let mut site = Site::without_policy(lab, "theirs").await?;
        cilium_policy(lab, &site).await?;
        site.add_node(&[]).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        site.announcers[0].process().log_line(LONG, |line| line.contains("Cilium announces itself")).await?;
        assert_eq!(site.announcers[0].vips().await?["ciliumPolicies"]["stance"], "ConfiguredInCilium");
        let entry = site.refused(0, None, "LeftToCilium").await?;
        assert!(entry["detail"].to_string().contains("enable-l2-announcements"), "{entry}");
        assert!(site.metric(0, "not_announced", "LeftToCilium").await? > 0.5);
        assert!(site.metric(0, "cilium_policies_honoured", "").await?.abs() < 0.5);
        let log = site.announcers[0].process().log();
        let told =
            log.lines().filter(|line| line.contains("stance=") && line.contains("Cilium announces itself"));
        assert_eq!(told.count(), 1, "once per change: {log}");
        site.silent(vip, QUIET).await?;
        assert_eq!(site.claim_holder(vip).await?, None);
        Ok(())
    })
}

#[test]
fn an_api_server_that_is_away_silences_at_the_deadline_and_not_for_longer() -> anyhow::Result<()> {
    gateherald_lab::run_alone(&Options::default(), async |lab| {
        let mut site = Site::without_policy(lab, "away").await?;
        site.policy(&json!({})).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        let node = site.lan.add_node().await?;
        // At start: it waits, says so, and neither panics nor ends.
        let api = lab.control_plane().api_server();
        api.freeze()?;
        let announcer = node.start_announcer(&["--on-api-outage", "fence"])?;
        not_ready(&announcer, &["unreachable"]).await?;
        assert!(announcer.process().is_running());
        api.thaw()?;
        announcer.wait_ready().await?;
        site.announcers.push(announcer);
        site.nodes.push(node);
        assert_eq!(site.owner(vip).await?, 0);
        // Later: silent at the deadline, back afterwards.
        let wire = site.lan.sniff()?;
        let asking = site.lan.client().ask_every(OFTEN, &[vip]);
        site.owner(vip).await?;
        api.freeze()?;
        let frozen_at = wire
            .wait_for(LONG, |f| f.arp().is_some_and(|arp| arp.answers(vip)))
            .await
            .map(|_| wire.frames())?;
        let frozen_at = frozen_at.last().map(|frame| frame.at).unwrap_or_default();
        site.announcers[0].process().log_line(LONG, |line| line.contains("session lost")).await?;
        let last = tenures(&wire.frames(), vip).last().map(|t| t.last).unwrap_or_default();
        assert!(last < frozen_at + D, "the last answer came {:?} after", last.saturating_sub(frozen_at));
        not_ready(&site.announcers[0], &["leases"]).await?;
        site.silent(vip, QUIET).await?;
        api.thaw()?;
        assert_eq!(site.owner(vip).await?, 0);
        drop(asking);
        site.announcers[0].wait_ready().await
    })
}

/// The LAN's policy as one of Cilium's kind.
async fn cilium_policy(lab: &Lab, site: &Site<'_>) -> anyhow::Result<()> {
    let policy = json!({
        "apiVersion": "cilium.io/v2alpha1",
        "kind": "CiliumL2AnnouncementPolicy",
        "metadata": { "name": site.lan.name() },
        "spec": {
            "nodeSelector": { "matchLabels": { gateherald_lab::lan::LAN_LABEL: site.lan.name() } },
            "serviceSelector": { "matchLabels": { gateherald_tests::vips::SERVICE_LABEL: site.lan.name() } },
            "interfaces": ["^ens18$"],
            "loadBalancerIPs": true,
        },
    });
    lab.apply(&policy.to_string()).await
}
