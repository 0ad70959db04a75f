// SPDX-License-Identifier: Apache-2.0
//! What people are told about policies and addresses: statuses by one elected announcer, and Events.

use gateherald_lab::chart::NAMESPACE;
use gateherald_lab::frame::Arp;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::standin::cilium;
use gateherald_lab::{Lab, Options};
use gateherald_tests::vips::Site;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

/// Takeovers well within [`LONG`], and five seconds for what the elected one is about to write.
const QUICK: [&str; 4] = ["--leader-lease-duration", "15", "--leader-renew-period", "5"];
/// RE2, and so the API server, takes this expression; the announcer's library does not.
const BAD: &str = r"\Qens18\E";

/// A LAN with its policy and nodes whose announcers stand for election often.
async fn site<'a>(lab: &'a Lab, prefix: &str, nodes: usize) -> anyhow::Result<Site<'a>> {
    let mut site = Site::without_policy(lab, prefix).await?;
    site.policy(&json!({})).await?;
    for _ in 0..nodes {
        site.add_node(&QUICK).await?;
    }
    Ok(site)
}

/// The LAN's policy, with its status.
async fn policy(site: &Site<'_>) -> anyhow::Result<Value> {
    let text = site.lab.kubectl(&["get", "ghl2", site.lan.name(), "-o", "json"]).await?;
    Ok(serde_json::from_str(&text)?)
}

/// Waits until the policy's status has these fields; returns the whole policy.
async fn status_is(site: &Site<'_>, wanted: &Value) -> anyhow::Result<Value> {
    until(&format!("a status with {wanted}"), LONG, async || {
        let policy = policy(site).await?;
        let mut seen = policy["status"].clone();
        for field in ["status", "reason", "message", "lastTransitionTime"] {
            seen[field] = policy["status"]["conditions"][0][field].clone();
        }
        let all =
            wanted.as_object().is_some_and(|fields| fields.iter().all(|(key, value)| seen[key] == *value));
        Ok(if all { Look::Found(policy) } else { Look::NotYet(seen.to_string()) })
    })
    .await
}

/// The announcers' Events about an object: reason, note and count.
async fn events(lab: &Lab, namespace: &str, name: &str) -> anyhow::Result<Vec<(String, String, i32)>> {
    let api: Api<Event> = Api::namespaced(lab.client(), namespace);
    let all = api.list(&ListParams::default()).await?.items.into_iter();
    let ours = all.filter(|event| {
        let regarding = event.regarding.as_ref().and_then(|regarding| regarding.name.as_deref());
        event.reporting_controller.as_deref() == Some("gateherald.io/announcer") && regarding == Some(name)
    });
    let told = |event: Event| {
        let count = event.series.map_or(1, |series| series.count);
        (event.reason.unwrap_or_default(), event.note.unwrap_or_default(), count)
    };
    Ok(ours.map(told).collect())
}

/// Waits for an Event with this reason whose note has `part`; returns the note.
async fn until_event(
    lab: &Lab,
    (namespace, name): (&str, &str),
    reason: &str,
    part: &str,
) -> anyhow::Result<String> {
    until(&format!("an Event {reason} on {name}: {part}"), LONG, async || {
        let all = events(lab, namespace, name).await?;
        let found = all.iter().find(|(why, note, _)| why == reason && note.contains(part));
        Ok(match found {
            Some((_, note, _)) => Look::Found(note.clone()),
            None => Look::NotYet(format!("{all:?}")),
        })
    })
    .await
}

/// The node whose announcer is elected.
async fn elected(site: &Site<'_>, but: Option<usize>) -> anyhow::Result<usize> {
    until("an announcer is elected", LONG, async || {
        for node in (0..site.nodes.len()).filter(|node| Some(*node) != but) {
            if site.metric(node, "leader", "").await? > 0.0 {
                return Ok(Look::Found(node));
            }
        }
        Ok(Look::NotYet("none".to_owned()))
    })
    .await
}

#[test]
fn a_status_follows_what_is_selected_and_a_bad_edit_leaves_the_last_good_version_in_force()
-> anyhow::Result<()> {
    gateherald_lab::run_alone(&Options::default(), async |lab| {
        let site = site(lab, "status", 2).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        site.owner(vip).await?;
        let counts = |announced| {
            json!({
                "status": "True", "reason": "Valid", "message": "the policy is in force", "observedGeneration": 1,
                "inForceGeneration": 1, "selectedServices": 1, "selectedAddresses": 1,
                "announcedAddresses": announced, "eligibleNodes": 2,
            })
        };
        let good = status_is(&site, &counts(1)).await?;
        // What does not concern it is looked at, and nothing is written.
        let node = elected(&site, None).await?;
        let writes = site.metric(node, "policy_status_writes_total", "").await?;
        lab.kubectl(&["create", "service", "clusterip", "other", "--tcp=80", "-n", &site.namespace]).await?;
        site.policy(&json!({ "interfaces": [BAD] })).await?;
        let bad = json!({
            "status": "False", "reason": "BadInterfaceRegex", "observedGeneration": 2, "inForceGeneration": 1,
            "selectedAddresses": 1, "announcedAddresses": 1,
        });
        let bad = status_is(&site, &bad).await?;
        let message = bad["status"]["conditions"][0]["message"].to_string();
        assert!(
            message.contains("interfaces") && message.contains("generation 1 stays in force"),
            "{message}"
        );
        let more = site.metric(node, "policy_status_writes_total", "").await? - writes;
        assert!((more - 1.0).abs() < 0.5, "{more} writes");
        site.owner(vip).await?;
        site.refused(0, None, "BadInterfaceRegex").await?;
        let shown = site.announcers[0].vips().await?["policies"].clone();
        let shown = &shown[format!("L2AnnouncementPolicy/{}", site.lan.name())];
        assert_eq!((&shown["generation"], &shown["inForce"]), (&json!(2), &json!(1)), "{shown}");
        until_event(lab, ("default", site.lan.name()), "BadInterfaceRegex", "generation 1 stays in force")
            .await?;
        // A process that starts now has never seen a good version.
        for announcer in &site.announcers {
            assert!(announcer.process().terminate().await?.success());
        }
        site.announcers[0].process().restart().await?;
        let never = json!({ "reason": "BadInterfaceRegex", "selectedAddresses": 0, "announcedAddresses": 0 });
        let never = status_is(&site, &never).await?;
        assert_eq!(never["status"]["inForceGeneration"], Value::Null);
        let since = |policy: &Value| policy["status"]["conditions"][0]["lastTransitionTime"].clone();
        assert_eq!(since(&bad), since(&never), "it was bad before");
        assert_ne!(since(&good), Value::Null);
        site.policy(&json!({ "interfaces": ["^ens18$"] })).await?;
        status_is(&site, &json!({ "status": "True", "observedGeneration": 3, "announcedAddresses": 1 }))
            .await?;
        assert_eq!(site.owner(vip).await?, 0);
        Ok(())
    })
}

#[test]
fn when_the_elected_announcer_is_killed_another_writes_and_repeats_nothing() -> anyhow::Result<()> {
    gateherald_lab::run_alone(&Options::default(), async |lab| {
        let site = site(lab, "elect", 2).await?;
        site.policy(&json!({ "interfaces": [BAD] })).await?;
        status_is(&site, &json!({ "reason": "BadInterfaceRegex" })).await?;
        let about = ("default", site.lan.name());
        until_event(lab, about, "BadInterfaceRegex", "").await?;
        let first = elected(&site, None).await?;
        site.announcers[first].process().kill().await?;
        let second = elected(&site, Some(first)).await?;
        until("the Event was found to be known", LONG, async || {
            let known = site.metric(second, "events_total", "known").await?;
            Ok(if known > 0.0 { Look::Found(()) } else { Look::NotYet(known.to_string()) })
        })
        .await?;
        let told = events(lab, about.0, about.1).await?;
        assert!(told.len() == 1 && told[0].2 == 1, "{told:?}");
        // Its Lease is deleted by hand: somebody is elected again, and writes.
        lab.kubectl(&["delete", "lease", "-n", NAMESPACE, "gateherald-announcer-leader"]).await?;
        site.policy(&json!({ "interfaces": [], "loadBalancerIPs": false })).await?;
        status_is(&site, &json!({ "reason": "SelectsNothing", "status": "False" })).await?;
        Ok(())
    })
}

#[test]
fn without_the_right_to_write_statuses_it_says_so_and_goes_on() -> anyhow::Result<()> {
    gateherald_lab::run_alone(&Options::default(), async |lab| {
        let role = lab.kubectl(&["get", "clusterrole", "gateherald-announcer", "-o", "json"]).await?;
        let role: Value = serde_json::from_str(&role)?;
        let rules = role["rules"].as_array().cloned().unwrap_or_default();
        let with = |rules: &[Value]| {
            let (kind, metadata) = ("ClusterRole", json!({ "name": "gateherald-announcer" }));
            json!({ "apiVersion": role["apiVersion"], "kind": kind, "metadata": metadata, "rules": rules })
        };
        let kept = |rule: &&Value| {
            !rule["resources"].to_string().contains("/status")
                && !rule["apiGroups"].to_string().contains("events")
        };
        let fewer: Vec<Value> = rules.iter().filter(kept).cloned().collect();
        assert_eq!(fewer.len() + 2, rules.len());
        lab.apply(&with(&fewer).to_string()).await?;
        let site = site(lab, "right", 1).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        for what in [
            "RBAC does not allow to patch l2announcementpolicies.gateherald.io/status",
            "RBAC does not allow to create events.events.k8s.io",
        ] {
            site.announcers[0]
                .process()
                .log_line(LONG, |line| line.contains("WARN") && line.contains(what))
                .await?;
        }
        assert_eq!(site.owner(vip).await?, 0);
        lab.apply(&with(&rules).to_string()).await?;
        status_is(&site, &json!({ "status": "True", "announcedAddresses": 1 })).await?;
        Ok(())
    })
}

#[test]
fn people_are_told_who_announces_who_interferes_and_why_nobody_does() -> anyhow::Result<()> {
    gateherald_lab::run_alone(&Options::default(), async |lab| {
        let site = site(lab, "told", 2).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        let owner = site.owner(vip).await?;
        let about = (site.namespace.as_str(), "web");
        let who = format!("node {} announces {vip} on ens18", site.nodes[owner].name());
        until_event(lab, about, "Announcing", &who).await?;
        // Another host uses the address.
        let stranger = site.lan.add_host("stranger")?;
        let claim = Arp { sender_ip: vip, ..stranger.request(vip) };
        stranger.send(&claim.bytes())?;
        until_event(lab, about, "AddressConflict", &stranger.mac().to_string()).await?;
        // The node is taken out, and then there is no other.
        site.nodes[owner].label(&[("gateherald.io/announce", Some("false"))]).await?;
        until_event(lab, about, "Released", site.nodes[owner].name()).await?;
        let heir = format!("node {} announces {vip}", site.nodes[1 - owner].name());
        until_event(lab, about, "Announcing", &heir).await?;
        site.nodes[1 - owner].label(&[("gateherald.io/announce", Some("false"))]).await?;
        let note = until_event(lab, about, "AnnounceFailed", "NoEligibleNode").await?;
        assert!(note.contains(&format!("L2AnnouncementPolicy/{}", site.lan.name())), "{note}");
        Ok(())
    })
}

#[test]
fn an_address_without_an_interface_has_no_owner_and_people_are_told_why() -> anyhow::Result<()> {
    gateherald_lab::run_alone(&Options::default(), async |lab| {
        let site = site(lab, "nowhere", 1).await?;
        site.policy(&json!({ "interfaces": ["^bond7$"] })).await?;
        let vip = site.lan.address(200);
        site.service("web", &[vip]).await?;
        until_event(lab, (&site.namespace, "web"), "AnnounceFailed", "NoInterface").await?;
        assert_eq!(site.claim_holder(vip).await?, None);
        status_is(&site, &json!({ "status": "True", "selectedAddresses": 1, "announcedAddresses": 0 }))
            .await?;
        // Nobody means to announce an address of a node.
        let taken = site.nodes[0].ip();
        site.service("node", &[taken]).await?;
        until_event(lab, (&site.namespace, "node"), "AnnounceFailed", "NotAVirtualAddress").await?;
        Ok(())
    })
}

#[test]
fn many_addresses_that_move_make_no_storm_of_events() -> anyhow::Result<()> {
    gateherald_lab::run(async |lab| {
        let site = site(lab, "storm", 2).await?;
        let vips: Vec<_> = (50..200).map(|host| site.lan.address(host)).collect();
        for (number, vips) in vips.chunks(50).enumerate() {
            site.service(&format!("web-{number}"), vips).await?;
        }
        for vip in &vips {
            site.owner(*vip).await?;
        }
        let owner = site.owner(vips[0]).await?;
        assert!(site.announcers[owner].process().terminate().await?.success());
        let heir = 1 - owner;
        until("the heir has all addresses", LONG, async || {
            let sum = site.metric(heir, "addresses_owned", "").await?;
            Ok(if sum >= 150.0 { Look::Found(()) } else { Look::NotYet(sum.to_string()) })
        })
        .await?;
        // Each of them is told of, or dropped and counted.
        until("all are accounted for", LONG, async || {
            let told = site.metric(heir, "events_total", "").await?;
            let dropped = site.metric(heir, "events_dropped_total", "").await?;
            Ok(if told + dropped >= 150.0 {
                Look::Found(())
            } else {
                Look::NotYet(format!("{told} {dropped}"))
            })
        })
        .await?;
        assert!(site.metric(heir, "events_dropped_total", "budget").await? >= 50.0);
        let told = site.metric(heir, "events_total", "").await?;
        assert!(told < 100.0, "30 at once, and one every five seconds: {told}");
        Ok(())
    })
}

#[test]
fn a_bad_policy_of_cilium_s_kind_is_told_by_an_event_and_its_status_stays_theirs() -> anyhow::Result<()> {
    let options = Options { cilium_policies: true, ..Options::default() };
    gateherald_lab::run_alone(&options, async |lab| {
        cilium::install_policy_kind(lab.control_plane()).await?;
        let mut site = Site::without_policy(lab, "kind").await?;
        site.add_node(&[QUICK.as_slice(), &["--cilium-policies", "always"]].concat()).await?;
        let policy = json!({
            "apiVersion": "cilium.io/v2alpha1",
            "kind": "CiliumL2AnnouncementPolicy",
            "metadata": { "name": "theirs" },
            "spec": { "interfaces": ["ens18("], "loadBalancerIPs": true },
        });
        lab.apply(&policy.to_string()).await?;
        let note =
            until_event(lab, ("default", "theirs"), "BadInterfaceRegex", "no generation is in force").await?;
        assert!(note.contains("ens18("), "{note}");
        let status = ["get", "ciliuml2announcementpolicies", "theirs", "-o=jsonpath={.status}"];
        assert_eq!(lab.kubectl(&status).await?, "");
        assert!(site.metric(0, "policy_status_writes_total", "").await?.abs() < 0.5);
        Ok(())
    })
}
