// SPDX-License-Identifier: Apache-2.0
//! The webhook's own certificates against a real API server: what rotates, what breaks, and that it heals by itself.

use std::time::Duration;

use anyhow::Context;
use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::{Lab, Options, Webhook, chart, run_alone};
use gateherald_tests::callers::Callers;
use gateherald_tests::certificates::{
    HandMade, Load, SECONDS, SECRET, SERVER_NAME, certificates, edit, failed_open, handshake, live_bundle,
    secret, text, write_bundle,
};
use gateherald_tests::gateways::Shop;
use gateherald_tests::metrics::metric;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

/// Three rotations of a CA take one and a half minutes.
const ROTATIONS: Duration = Duration::from_mins(5);

async fn with_gateway<'a>(lab: &'a Lab, name: &str) -> anyhow::Result<(Shop<'a>, DynamicObject)> {
    let shop = Shop::open(lab, name).await?;
    let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
    Ok((shop, gateway))
}

/// Waits until the Secret is as wanted.
async fn until_secret(
    lab: &Lab,
    what: &str,
    within: Duration,
    wanted: impl Fn(&Secret) -> bool,
) -> anyhow::Result<Secret> {
    let api: Api<Secret> = Api::namespaced(lab.client(), chart::NAMESPACE);
    until(what, within, async || {
        Ok(match api.get_opt(SECRET).await? {
            Some(secret) if wanted(&secret) => Look::Found(secret),
            Some(secret) => {
                Look::NotYet(format!("{:?}", secret.data.map(|data| data.into_keys().collect::<Vec<_>>())))
            }
            None => Look::NotYet("there is no Secret".into()),
        })
    })
    .await
}

/// Waits until a new connection is served a leaf that this CA signed.
async fn until_signed_by(webhook: &Webhook, ca: &str) -> anyhow::Result<()> {
    until("a leaf of the CA is served", LONG, async || {
        Ok(match handshake(webhook, ca).await {
            Ok(_) => Look::Found(()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    })
    .await
}

#[test]
fn ca_and_leaves_rotate_under_load_and_no_service_misses_its_label() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let (one, two) = tokio::try_join!(lab.run_webhook(&SECONDS), lab.run_webhook(&SECONDS))?;
        let (shop, gateway) = with_gateway(lab, "rotation").await?;
        let before = failed_open(lab).await?;
        let (load, callers) = (Load::start(&shop, &gateway)?, Callers::start(lab, &[&one, &two]));
        let mut cas = vec![text(&secret(lab).await?, "ca.crt")];
        while cas.len() <= 3 {
            let what = format!("rotation {}", cas.len());
            let last = cas.last().context("a CA")?.clone();
            let next = until_secret(lab, &what, ROTATIONS, |secret| text(secret, "ca.crt") != last).await?;
            let next = text(&next, "ca.crt");
            assert!(!cas.contains(&next), "an old CA is back");
            tokio::try_join!(until_signed_by(&one, &next), until_signed_by(&two, &next))?;
            cas.push(next);
        }
        let services = load.finish().await?;
        let handshakes = callers.finish().await?;
        assert!(services > 1_000 && handshakes > 1_000, "only {services} and {handshakes}: no load");
        assert_eq!(failed_open(lab).await?.to_bits(), before.to_bits());
        // The one before the last may still be trusted, all others are gone.
        let live = certificates(&live_bundle(lab).await?);
        for old in &cas[..2] {
            assert!(!live.contains(&certificates(old)[0]), "a dropped CA is still trusted");
        }
        let mut steps = 0.0;
        for webhook in [&one, &two] {
            steps += metric(webhook, r#"ca_secret_writes_total{reason="promoted"}"#).await?;
            assert_eq!(webhook.get("/ready").await?.status, 200);
        }
        assert!((3.0..5.0).contains(&steps), "{steps} promotions: each is done once");
        Ok(())
    })
}

#[test]
fn a_lost_or_broken_secret_is_rewritten_at_once_with_the_ca_in_use() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let _replicas = tokio::try_join!(lab.run_webhook(&[]), lab.run_webhook(&[]))?;
        let (shop, gateway) = with_gateway(lab, "lost").await?;
        let load = Load::start(&shop, &gateway)?;
        let first = secret(lab).await?;
        let whole = |secret: &Secret| secret.data == first.data;
        let api: Api<Secret> = Api::namespaced(lab.client(), chart::NAMESPACE);
        api.delete(SECRET, &DeleteParams::default()).await?;
        let again = until_secret(lab, "the deleted Secret is back", LONG, whole).await?;
        assert_ne!(again.uid(), first.uid());
        assert_eq!(again.owner_references(), first.owner_references());
        for broken in [
            &[("ca.crt", Some("garbage"))][..],
            &[("ca.key", None)],
            &[("ca.crt", None), ("ca.key", None)],
            &[("next-ca.crt", Some("garbage"))],
        ] {
            edit(lab, broken).await?;
            until_secret(lab, &format!("the Secret heals from {broken:?}"), LONG, whole).await?;
        }
        load.finish().await.map(drop)
    })
}

#[test]
fn a_secret_that_broke_while_nobody_ran_is_saved_as_far_as_it_can_be_read() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let webhook = lab.run_webhook(&[]).await?;
        let ca = text(&secret(lab).await?, "ca.crt");
        webhook.process().kill().await?;
        edit(lab, &[("next-ca.crt", Some("garbage"))]).await?;
        webhook.process().restart().await?;
        until_secret(lab, "the second slot is empty", LONG, |secret| text(secret, "next-ca.crt").is_empty())
            .await?;
        assert_eq!(text(&secret(lab).await?, "ca.crt"), ca);

        webhook.process().kill().await?;
        edit(lab, &[("ca.key", Some("garbage"))]).await?;
        webhook.process().restart().await?;
        let new = until_secret(lab, "a new CA", LONG, |secret| text(secret, "ca.crt") != ca).await?;
        until_signed_by(&webhook, &text(&new, "ca.crt")).await?;
        webhook.wait_ready().await?;
        Shop::open(lab, "saved").await.map(drop)
    })
}

#[test]
fn a_ca_that_somebody_else_puts_into_the_secret_is_followed_without_a_failed_call() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let args = ["--ca-settle=3s"];
        let (one, two) = tokio::try_join!(lab.run_webhook(&args), lab.run_webhook(&args))?;
        let (shop, gateway) = with_gateway(lab, "followed").await?;
        let before = failed_open(lab).await?;
        let (load, callers) = (Load::start(&shop, &gateway)?, Callers::start(lab, &[&one, &two]));
        let old = text(&secret(lab).await?, "ca.crt");
        let ca = HandMade::new("another", -1, 24 * 300)?;
        edit(lab, &[("ca.crt", Some(&ca.certificate)), ("ca.key", Some(&ca.key))]).await?;
        tokio::try_join!(until_signed_by(&one, &ca.certificate), until_signed_by(&two, &ca.certificate))?;
        // The leaves of the old one were needed until now.
        assert!(certificates(&live_bundle(lab).await?).contains(&certificates(&old)[0]));
        callers.finish().await?;
        load.finish().await?;
        assert_eq!(failed_open(lab).await?.to_bits(), before.to_bits());
        Ok(())
    })
}

/// Where a replica stopped: the Secret's second slot, and whether the bundle holds its CA.
struct Stopped {
    at: &'static str,
    second: &'static [(&'static str, &'static str)],
    /// Whether the second slot holds the CA that signed before.
    promoted: bool,
    in_bundle: bool,
}

const EVERY_STEP: [Stopped; 6] = [
    Stopped { at: "prepared", second: &[], promoted: false, in_bundle: false },
    Stopped { at: "merged", second: &[], promoted: false, in_bundle: true },
    Stopped {
        at: "published",
        second: &[("next-published-at", "2024-01-01T00:00:00Z")],
        promoted: false,
        in_bundle: true,
    },
    Stopped {
        at: "published, and the bundle was wiped since",
        second: &[("next-published-at", "2024-01-01T00:00:00Z")],
        promoted: false,
        in_bundle: false,
    },
    Stopped {
        at: "promoted",
        second: &[("next-drop-after", "2024-01-01T00:00:00Z")],
        promoted: true,
        in_bundle: true,
    },
    Stopped {
        at: "withdrawn",
        second: &[("next-drop-after", "2024-01-01T00:00:00Z")],
        promoted: true,
        in_bundle: false,
    },
];

#[test]
fn a_replica_that_restarts_in_the_middle_of_a_rotation_completes_it_from_every_step() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let webhook = lab.run_webhook(&["--ca-settle=1s"]).await?;
        let (shop, _) = with_gateway(lab, "middle").await?;
        for Stopped { at, second, promoted, in_bundle } in EVERY_STEP {
            webhook.process().kill().await?;
            let current = text(&secret(lab).await?, "ca.crt");
            let other = HandMade::new(at, -1, 24 * 300)?;
            let mut data =
                vec![("next-ca.crt", Some(&*other.certificate)), ("next-ca.key", Some(&*other.key))];
            data.extend(second.iter().map(|(key, value)| (*key, Some(*value))));
            edit(lab, &data).await?;
            let bundle = if in_bundle { format!("{current}{}", other.certificate) } else { current.clone() };
            write_bundle(lab, &bundle).await?;

            webhook.process().restart().await?;
            let expected = if promoted { &current } else { &other.certificate };
            until_secret(lab, &format!("the rotation goes on from: {at}"), LONG, |secret| {
                text(secret, "ca.crt") == *expected && text(secret, "next-ca.crt").is_empty() == promoted
            })
            .await?;
            until_signed_by(&webhook, expected).await?;
            webhook.wait_ready().await?;
            shop.until_labelled().await?;
            if !promoted {
                // The old one leaves a leaf's life later; here by hand.
                let gone = [("next-ca.crt", None), ("next-ca.key", None), ("next-drop-after", None)];
                edit(lab, &gone).await?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_replica_killed_whenever_the_secret_changes_does_not_stop_the_rotation() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let webhook = lab.run_webhook(&SECONDS).await?;
        let (shop, _) = with_gateway(lab, "killed").await?;
        let first = secret(lab).await?;
        let mut version = first.resource_version();
        let mut cas = vec![text(&first, "ca.crt")];
        // Each of a rotation's four writes, and the first of the next one.
        for kill in 0..5 {
            let what = format!("write {kill} of the rotation");
            let changed =
                until_secret(lab, &what, ROTATIONS, |secret| secret.resource_version() != version).await?;
            webhook.process().kill().await?;
            version = secret(lab).await?.resource_version();
            cas.push(text(&changed, "ca.crt"));
            webhook.process().restart().await?;
        }
        webhook.wait_ready().await?;
        assert!(cas.iter().any(|ca| *ca != cas[0]), "it was not promoted");
        shop.until_labelled().await
    })
}

#[test]
fn two_replicas_that_merge_different_cas_lose_none() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let role = ["role", "-n", chart::NAMESPACE, "other-ca"];
        lab.kubectl(&[&["create"], &role[..], &["--verb=list,watch,update", "--resource=secrets"]].concat())
            .await?;
        let account = format!("--serviceaccount={}:gateherald-webhook", chart::NAMESPACE);
        let binding =
            ["create", "rolebinding", "-n", chart::NAMESPACE, "other-ca", "--role=other-ca", &account];
        lab.kubectl(&binding).await?;
        // As if two Secrets had been made: each replica knows a CA that the other does not.
        let (one, two) =
            tokio::try_join!(lab.start_webhook(&[]), lab.start_webhook(&["--ca-secret=other-ca"]))?;
        tokio::try_join!(one.wait_ready(), two.wait_ready())?;
        for _ in 0..3 {
            let bundle = live_bundle(lab).await?;
            tokio::try_join!(handshake(&one, &bundle), handshake(&two, &bundle))?;
            assert_eq!(certificates(&bundle).len(), 2);
            write_bundle(lab, "").await?;
            until("both CAs are back", LONG, async || {
                let live = live_bundle(lab).await?;
                Ok(if certificates(&live).len() == 2 { Look::Found(()) } else { Look::NotYet(live) })
            })
            .await?;
        }
        tokio::try_join!(one.wait_ready(), two.wait_ready())?;
        Ok(())
    })
}

#[test]
fn the_configuration_applied_again_keeps_its_bundle() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let _webhook = lab.run_webhook(&[]).await?;
        let (shop, gateway) = with_gateway(lab, "applied").await?;
        let load = Load::start(&shop, &gateway)?;
        let bundle = live_bundle(lab).await?;
        let directory = chart::directory();
        let directory = directory.to_string_lossy();
        let only = ["--namespace", chart::NAMESPACE, "--show-only", "templates/webhook/registration.yaml"];
        let template = [&["template", chart::RELEASE, &*directory], &only[..]].concat();
        let yaml = lab.control_plane().helm(&template).await?;
        // With a change, so that something is written.
        let yaml = yaml.replace("timeoutSeconds: 3", "timeoutSeconds: 4");
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), yaml)?;
        let path = file.path().to_string_lossy();
        for force in [&["--force-conflicts"][..], &[]] {
            lab.kubectl(&[&["apply", "--server-side", "-f", &*path], force].concat()).await?;
            assert_eq!(live_bundle(lab).await?, bundle);
        }
        load.finish().await.map(drop)
    })
}

#[test]
fn an_expired_ca_is_replaced_after_long_downtime() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let webhook = lab.run_webhook(&[]).await?;
        webhook.process().kill().await?;
        let (expired, next) = (HandMade::new("expired", -48, -1)?, HandMade::new("next", -24, 24)?);
        edit(lab, &[("ca.crt", Some(&expired.certificate)), ("ca.key", Some(&expired.key))]).await?;
        write_bundle(lab, &expired.certificate).await?;
        webhook.process().restart().await?;
        webhook.wait_ready().await?;
        let ca = text(&secret(lab).await?, "ca.crt");
        assert_ne!(ca, expired.certificate);
        assert!(!certificates(&live_bundle(lab).await?).contains(&certificates(&expired.certificate)[0]));
        let shop = Shop::open(lab, "expired").await?;

        // In the middle of a rotation: the next CA is there, and better than a new one.
        webhook.process().kill().await?;
        let data = [
            ("ca.crt", Some(&*expired.certificate)),
            ("ca.key", Some(&*expired.key)),
            ("next-ca.crt", Some(&*next.certificate)),
            ("next-ca.key", Some(&*next.key)),
        ];
        edit(lab, &data).await?;
        webhook.process().restart().await?;
        until_signed_by(&webhook, &next.certificate).await?;
        webhook.wait_ready().await?;
        shop.until_labelled().await
    })
}

#[test]
fn replicas_that_start_at_the_same_instant_share_the_one_ca_that_one_of_them_makes() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let (one, two) = tokio::try_join!(lab.start_webhook(&[]), lab.start_webhook(&[]))?;
        tokio::try_join!(one.wait_ready(), two.wait_ready())?;
        let ca = text(&secret(lab).await?, "ca.crt");
        tokio::try_join!(handshake(&one, &ca), handshake(&two, &ca))?;
        let writes = async |reason: &str| {
            let series = format!("ca_secret_writes_total{{reason=\"{reason}\"}}");
            anyhow::Ok(metric(&one, &series).await? + metric(&two, &series).await?)
        };
        assert_eq!(writes("created").await?.to_bits(), 1.0_f64.to_bits());
        for again in ["restored", "replaced"] {
            assert_eq!(writes(again).await?.to_bits(), 0.0_f64.to_bits(), "{again}");
        }
        Ok(())
    })
}

#[test]
fn a_secret_that_is_there_before_the_first_replica_is_used() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let ca = HandMade::new("by hand", -1, 24 * 300)?;
        let made: Secret = serde_json::from_value(json!({
            "metadata": { "name": SECRET },
            "stringData": { "ca.crt": ca.certificate, "ca.key": ca.key },
        }))?;
        let api: Api<Secret> = Api::namespaced(lab.client(), chart::NAMESPACE);
        api.create(&PostParams::default(), &made).await?;
        let webhook = lab.run_webhook(&[]).await?;
        let leaf = handshake(&webhook, &ca.certificate).await?;
        assert!(!leaf.is_empty(), "{SERVER_NAME}");
        Ok(())
    })
}

#[test]
fn clocks_five_minutes_wrong_either_way_are_harmless() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let args = ["--ca-settle=2s"];
        let ahead = lab.start_webhook_by_clock("+5m", &args).await?;
        // Its CA is from the other's future, and its leaf from the API server's.
        ahead.wait_ready().await?;
        let behind = lab.start_webhook_by_clock("-5m", &args).await?;
        behind.wait_ready().await?;
        let expiry = r#"certificate_not_after_timestamp_seconds{certificate="leaf"}"#;
        let apart = metric(&ahead, expiry).await? - metric(&behind, expiry).await?;
        assert!(apart > 500.0, "the clocks are not wrong: leaves expire {apart} s apart");

        let (shop, gateway) = with_gateway(lab, "clocks").await?;
        let (before, load) = (failed_open(lab).await?, Load::start(&shop, &gateway)?);
        // A rotation begins, as at two thirds of the CA's life.
        let next = HandMade::new("next", -1, 24 * 300)?;
        edit(lab, &[("next-ca.crt", Some(&next.certificate)), ("next-ca.key", Some(&next.key))]).await?;
        until_secret(lab, "the promotion", LONG, |secret| text(secret, "ca.crt") == next.certificate).await?;
        tokio::try_join!(
            until_signed_by(&ahead, &next.certificate),
            until_signed_by(&behind, &next.certificate)
        )?;
        let writes = async |webhook| metric(webhook, "ca_bundle_writes_total").await;
        let (bundle, written) = (live_bundle(lab).await?, writes(&ahead).await? + writes(&behind).await?);
        load.finish().await?;
        assert_eq!(failed_open(lab).await?.to_bits(), before.to_bits());
        // Nobody undoes what the other wrote.
        assert_eq!(live_bundle(lab).await?, bundle);
        let again = writes(&ahead).await? + writes(&behind).await?;
        assert_eq!(again.to_bits(), written.to_bits());
        Ok(())
    })
}
