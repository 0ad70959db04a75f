// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::disallowed_methods, reason = "certificates are valid by the time of day")]
use gateherald_runtime::readiness::Board;
use serde_json::{Value, from_value, to_value};
use tokio::{task::JoinHandle, time::timeout};

use super::*;
use crate::{
    authority::Authority,
    io::silence::{Mute, black_hole, told},
    lifetimes::Lifetimes,
};

const LIFETIMES: Lifetimes = Lifetimes::DEFAULT;
const NAME: &str = "gateherald-webhook.gateherald-system.svc";
const ENTRY: &str = "services.gateherald.io";

fn now() -> Timestamp {
    "2025-03-01T12:00:00Z".parse().unwrap()
}

fn ca() -> Authority {
    Authority::generate(now(), &LIFETIMES).unwrap()
}

/// All of them required, and a leaf of the first.
fn trust(authorities: &[&Authority]) -> Trust {
    Trust {
        required: authorities.iter().map(|ca| ca.certificate().clone()).collect(),
        retired: Vec::new(),
        chain: authorities[0].issue(NAME, now(), &LIFETIMES).unwrap().chain,
    }
}

fn live(bundle: Option<&str>, entry: &str, annotations: &Value) -> MutatingWebhookConfiguration {
    from_value(json!({
        "metadata": { "name": "gateherald-webhook", "annotations": annotations },
        "webhooks": [{
            "name": entry, "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": { "caBundle": bundle.map(|text| ByteString(text.as_bytes().to_vec())) },
        }],
    }))
    .unwrap()
}

/// A registration that sends nothing: judging is pure.
fn registration(writer: Writer) -> Registration {
    gateherald_runtime::crypto::install_provider();
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    Registration::new(Client::try_from(config).unwrap(), "gateherald-webhook", ENTRY, NAME, writer)
}

fn pem(cas: &[&Authority]) -> String {
    cas.iter().map(|ca| ca.certificate_pem()).collect()
}

#[tokio::test]
async fn a_bundle_that_lacks_one_of_our_cas_is_completed() {
    let (ca, next, other) = (ca(), ca(), ca());
    let registration = registration(Writer::Us);
    // The live bundle, what is required, whether our leaf verifies by it, what is written.
    for (present, required, verified, expected) in [
        (None, vec![&ca], false, Some(pem(&[&ca]))),
        (Some(String::new()), vec![&ca], false, Some(pem(&[&ca]))),
        (Some("garbage".to_owned()), vec![&ca], false, Some(pem(&[&ca]))),
        (Some(pem(&[&other])), vec![&ca], false, Some(pem(&[&ca, &other]))),
        (Some(pem(&[&ca])), vec![&ca, &next], true, Some(pem(&[&ca, &next]))),
        (Some(pem(&[&ca])), vec![&ca], true, None),
        (Some(pem(&[&other, &ca])), vec![&ca], true, None),
    ] {
        let live = live(present.as_deref(), ENTRY, &json!({}));
        let verdict = registration.judge(&live, &trust(&required), now());
        assert_eq!(verdict.verified.is_ok(), verified, "{present:?}");
        let certificates = |text: String| bundle::read(text.as_bytes());
        assert_eq!(verdict.write.map(certificates), expected.map(certificates), "{present:?}");
    }
}

#[tokio::test]
async fn a_retired_ca_is_withdrawn_and_others_stay() {
    let (ca, old, other) = (ca(), ca(), ca());
    let mut trust = trust(&[&ca]);
    trust.retired = vec![old.certificate().clone()];
    let live = live(Some(&pem(&[&old, &other, &ca])), ENTRY, &json!({}));
    let verdict = registration(Writer::Us).judge(&live, &trust, now());
    assert_eq!(verdict.verified, Ok(()));
    let written = verdict.write.map(|text| bundle::read(text.as_bytes()));
    assert_eq!(written, Some(vec![ca.certificate().clone(), other.certificate().clone()]));
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone_and_named() {
    let ca = ca();
    let registration = registration(Writer::Us);
    let trust = trust(&[&ca]);
    let refused = |live: MutatingWebhookConfiguration| {
        let Verdict { verified, write } = registration.judge(&live, &trust, now());
        assert_eq!(write, None);
        verified.unwrap_err()
    };
    let foreign = live(None, "other.example.com", &json!({}));
    assert_eq!(refused(foreign), "gateherald-webhook has no entry services.gateherald.io");
    let annotations = json!({ "cert-manager.io/inject-ca-from": "a/b" });
    let reason = refused(live(Some(ca.certificate_pem()), ENTRY, &annotations));
    assert!(reason.contains("cert-manager"), "{reason}");
}

#[tokio::test]
async fn a_bundle_that_others_write_is_only_looked_at() {
    let (ca, other) = (ca(), ca());
    let registration = registration(Writer::Others);
    let annotations = json!({ "cert-manager.io/inject-ca-from": "a/b" });
    let judge =
        |bundle: &str| registration.judge(&live(Some(bundle), ENTRY, &annotations), &trust(&[&ca]), now());
    assert_eq!(judge(&pem(&[&other, &ca])), Verdict { verified: Ok(()), write: None });
    let Verdict { verified, write } = judge(&pem(&[&other]));
    assert_eq!(write, None);
    assert!(verified.unwrap_err().contains("does not verify the certificate"));
}

#[tokio::test]
async fn a_leaf_that_no_bundle_can_verify_is_refused_instead_of_written_for_ever() {
    let ca = ca();
    let late = now() + LIFETIMES.leaf * 2;
    let live = live(Some(&bundle::write(std::slice::from_ref(ca.certificate()))), ENTRY, &json!({}));
    let Verdict { verified, write } = registration(Writer::Us).judge(&live, &trust(&[&ca]), late);
    assert_eq!(write, None);
    assert!(verified.unwrap_err().contains("does not verify"));
}

struct Bench {
    task: JoinHandle<TaskResult>,
    board: Board,
    shutdown: Shutdown,
    _trust: watch::Sender<Trust>,
}

impl Bench {
    /// The task, with a leaf of a CA that no bundle holds.
    fn start(client: Client) -> Self {
        let (mut board, shutdown) = (Board::default(), Shutdown::default());
        let ca = Authority::generate(Timestamp::now(), &LIFETIMES).unwrap();
        let chain = ca.issue(NAME, Timestamp::now(), &LIFETIMES).unwrap().chain;
        let (trust, trusted) =
            watch::channel(Trust { required: vec![ca.certificate().clone()], retired: Vec::new(), chain });
        let handle = board.part("registration", "nothing yet");
        let registration = Registration::new(client, "gateherald-webhook", ENTRY, NAME, Writer::Us);
        let (live, _) = watch::channel(None);
        let task = registration.keep(trusted, live, handle, Metrics::default(), shutdown.clone());
        Self { task: tokio::spawn(task), board, shutdown, _trust: trust }
    }

    /// Long before a request under way has reached its limit.
    async fn stops_at_once(self) {
        self.shutdown.stop();
        timeout(Duration::from_secs(1), self.task).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_swallows_everything_is_named_and_ends_in_time() {
    let (client, _) = black_hole().await;
    let bench = Bench::start(client);
    told(&bench.board, "API server silent, cannot list mutatingwebhookconfigurations").await;
    bench.stops_at_once().await;
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_never_answered_is_named_and_made_again_until_the_end() {
    let mute = Mute::new(vec![to_value(live(None, ENTRY, &json!({}))).unwrap()]);
    let bench = Bench::start(mute.client());
    told(&bench.board, "API server silent, cannot patch mutatingwebhookconfigurations").await;
    mute.next_write().await;
    bench.stops_at_once().await;
}
