// SPDX-License-Identifier: Apache-2.0
use serde_json::{Value, from_value};

use super::*;
use crate::authority::Authority;

const NAME: &str = "gateherald-webhook.gateherald-system.svc";
const ENTRY: &str = "services.gateherald.io";

fn now() -> Timestamp {
    "2025-03-01T12:00:00Z".parse().unwrap()
}

fn trust(authorities: &[&Authority]) -> Trust {
    Trust {
        authorities: authorities.iter().map(|ca| ca.certificate().clone()).collect(),
        leaf: authorities[0].issue(NAME, now()).unwrap().certificate,
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

/// A registration that sends nothing: planning is pure.
fn registration() -> Registration {
    gateherald_runtime::crypto::install_provider();
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    Registration::new(Client::try_from(config).unwrap(), "gateherald-webhook", ENTRY, NAME)
}

#[tokio::test]
async fn a_bundle_that_lacks_one_of_our_cas_is_completed() {
    let (ca, next, other) = (
        Authority::generate(now()).unwrap(),
        Authority::generate(now()).unwrap(),
        Authority::generate(now()).unwrap(),
    );
    let registration = registration();
    let pem = |cas: &[&Authority]| cas.iter().map(|ca| ca.certificate_pem()).collect::<String>();
    let certificates = |text: &str| bundle::read(text.as_bytes());
    for (present, ours, expected) in [
        (None, vec![&ca], Some(pem(&[&ca]))),
        (Some(String::new()), vec![&ca], Some(pem(&[&ca]))),
        (Some("garbage".to_owned()), vec![&ca], Some(pem(&[&ca]))),
        (Some(pem(&[&other])), vec![&ca], Some(pem(&[&ca, &other]))),
        (Some(pem(&[&ca])), vec![&ca, &next], Some(pem(&[&ca, &next]))),
        (Some(pem(&[&ca])), vec![&ca], None),
        (Some(pem(&[&other, &ca])), vec![&ca], None),
    ] {
        let live = live(present.as_deref(), ENTRY, &json!({}));
        match (registration.plan(&live, &trust(&ours), now()), expected) {
            (Plan::Verified, None) => {}
            (Plan::Write(text), Some(expected)) => assert_eq!(certificates(&text), certificates(&expected)),
            (plan, expected) => panic!("{plan:?} instead of {expected:?} for {present:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone_and_named() {
    let ca = Authority::generate(now()).unwrap();
    let registration = registration();
    let trust = trust(&[&ca]);
    let foreign = live(None, "other.example.com", &json!({}));
    let expected = Plan::Refuse("gateherald-webhook has no entry services.gateherald.io".into());
    assert_eq!(registration.plan(&foreign, &trust, now()), expected);
    let injected = live(None, ENTRY, &json!({ "cert-manager.io/inject-ca-from": "a/b" }));
    let Plan::Refuse(reason) = registration.plan(&injected, &trust, now()) else { panic!("not refused") };
    assert!(reason.contains("cert-manager"), "{reason}");
}

#[tokio::test]
async fn a_leaf_that_no_bundle_can_verify_is_refused_instead_of_written_for_ever() {
    let ca = Authority::generate(now()).unwrap();
    let expired = now() + crate::authority::LEAF_LIFE * 2;
    let registration = registration();
    let live = live(Some(&bundle::write(std::slice::from_ref(ca.certificate()))), ENTRY, &json!({}));
    let plan = registration.plan(&live, &trust(&[&ca]), expired);
    assert!(matches!(&plan, Plan::Refuse(reason) if reason.contains("does not verify")), "{plan:?}");
}
