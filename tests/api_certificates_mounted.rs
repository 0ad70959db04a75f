// SPDX-License-Identifier: Apache-2.0
//! Certificates that somebody else makes, against a real API server: modes `cert-manager` (the lab's stand-in writes files
//! and bundle) and `provided`.

use gateherald_lab::patience::{LONG, Look, until};
use gateherald_lab::standin::cert_manager::{INJECT, SecretVolume, inject};
use gateherald_lab::{Lab, Options, Webhook, chart, run_alone};
use gateherald_tests::certificates::{
    CONFIGURATION, HandMade, Load, SECRET, SERVER_NAME, certificates, failed_open, handshake, live_bundle,
    not_ready, write_bundle,
};
use gateherald_tests::gateways::Shop;
use gateherald_tests::metrics::metric;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::json;

/// Waits until a new connection gets this certificate.
async fn until_served(webhook: &Webhook, bundle: &str, certificate: &str) -> anyhow::Result<()> {
    let expected = certificates(certificate).remove(0);
    until("the new certificate is served", LONG, async || {
        Ok(match handshake(webhook, bundle).await {
            Ok(leaf) if leaf == expected => Look::Found(()),
            Ok(_) => Look::NotYet("another certificate".into()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    })
    .await
}

/// Waits until a version of the mounted Secret was refused for this reason.
async fn until_refused(webhook: &Webhook, reason: &str) -> anyhow::Result<()> {
    let series = format!("certificate_reload_failures_total{{reason=\"{reason}\"}}");
    until(&format!("a version is refused: {reason}"), LONG, async || {
        let refused = metric(webhook, &series).await?;
        Ok(if refused > 0.0 { Look::Found(()) } else { Look::NotYet("none".into()) })
    })
    .await
}

async fn start(lab: &Lab, mode: &str, volume: &SecretVolume) -> anyhow::Result<Webhook> {
    let directory = volume.path().to_string_lossy();
    lab.start_webhook(&["--certificates", mode, "--certificate-dir", &directory]).await
}

#[test]
fn cert_managers_certificate_is_served_and_its_bundle_is_left_to_the_injector() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let directory = tempfile::tempdir()?;
        let volume = SecretVolume::new(directory.path());
        let webhook = start(lab, "cert-manager", &volume).await?;
        not_ready(&webhook, "tls.crt: No such file or directory").await?;

        let (old, new) = (HandMade::new("old", -1, 240)?, HandMade::new("new", -1, 240)?);
        let (certificate, key) = old.sign(SERVER_NAME)?;
        volume.write(&[("tls.crt", &certificate), ("tls.key", &key), ("ca.crt", &old.certificate)])?;
        not_ready(&webhook, "does not verify the certificate: it is empty").await?;
        assert_eq!(live_bundle(lab).await?, "");
        let annotation = format!("{INJECT}={}/gateherald-webhook", chart::NAMESPACE);
        lab.kubectl(&["annotate", "mutatingwebhookconfiguration", CONFIGURATION, &annotation]).await?;
        inject(lab.client(), CONFIGURATION, &old.certificate).await?;
        webhook.wait_ready().await?;

        // Renewed: by the same CA, and then by another, which the injector brings first.
        let shop = Shop::open(lab, "cert-manager").await?;
        let gateway = shop.gateway("gw", &json!({ "labels": { "a": "1" } })).await?;
        let (before, load) = (failed_open(lab).await?, Load::start(&shop, &gateway)?);
        let (certificate, key) = old.sign(SERVER_NAME)?;
        volume.write(&[("tls.crt", &certificate), ("tls.key", &key), ("ca.crt", &old.certificate)])?;
        until_served(&webhook, &old.certificate, &certificate).await?;
        let both = format!("{}{}", old.certificate, new.certificate);
        inject(lab.client(), CONFIGURATION, &both).await?;
        let (certificate, key) = new.sign(SERVER_NAME)?;
        volume.write(&[("tls.crt", &certificate), ("tls.key", &key), ("ca.crt", &new.certificate)])?;
        until_served(&webhook, &new.certificate, &certificate).await?;
        load.finish().await?;
        assert_eq!(failed_open(lab).await?.to_bits(), before.to_bits());
        assert_eq!(live_bundle(lab).await?, both);
        let secrets: Api<Secret> = Api::namespaced(lab.client(), chart::NAMESPACE);
        assert!(secrets.get_opt(SECRET).await?.is_none(), "no CA of our own");

        // What the injector takes away is not put back, but said.
        inject(lab.client(), CONFIGURATION, &old.certificate).await?;
        not_ready(&webhook, "does not verify the certificate").await?;
        inject(lab.client(), CONFIGURATION, &both).await?;
        webhook.wait_ready().await
    })
}

#[test]
fn a_provided_certificate_is_served_and_a_broken_next_one_is_refused() -> anyhow::Result<()> {
    run_alone(&Options::default(), async |lab| {
        let directory = tempfile::tempdir()?;
        let volume = SecretVolume::new(directory.path());
        let ca = HandMade::new("provided", -1, 240)?;
        let (foreign, foreign_key) = ca.sign("webhook.example.com")?;
        volume.write(&[("tls.crt", &foreign), ("tls.key", &foreign_key)])?;
        // As the administrator's values bring it.
        write_bundle(lab, &ca.certificate).await?;
        let webhook = start(lab, "provided", &volume).await?;
        let reason =
            format!("is not for {SERVER_NAME}, by which the API server calls, but for webhook.example.com");
        not_ready(&webhook, &reason).await?;

        let (good, key) = ca.sign(SERVER_NAME)?;
        volume.write(&[("tls.crt", &good), ("tls.key", &key)])?;
        webhook.wait_ready().await?;
        let shop = Shop::open(lab, "provided").await?;
        let (next, next_key) = ca.sign(SERVER_NAME)?;
        let expired = HandMade::new("expired", -48, 240)?.sign_until(SERVER_NAME, -1)?;
        for (certificate, key, refused) in [
            (&*next, &*key, "mismatch"),
            ("garbage", &next_key, "malformed"),
            (&foreign, &foreign_key, "wrong-name"),
            (&expired.0, &expired.1, "expired"),
        ] {
            volume.write(&[("tls.crt", certificate), ("tls.key", key)])?;
            until_refused(&webhook, refused).await?;
            until_served(&webhook, &ca.certificate, &good).await?;
            assert_eq!(webhook.get("/ready").await?.status, 200, "{refused}");
        }
        volume.write(&[("tls.crt", &next), ("tls.key", &next_key)])?;
        until_served(&webhook, &ca.certificate, &next).await?;
        assert_eq!(live_bundle(lab).await?, ca.certificate);
        shop.until_labelled().await
    })
}
