// SPDX-License-Identifier: Apache-2.0
use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::{
    fixtures::{bundle, certificate, object, objects, remove, report, snapshot, story},
    snapshot::{Listing, Snapshot, questions::ServerVersion},
};

const SERVICE: &str = "cilium-gateway-cd-arp-gw";
const POLICY: (&str, &str) = ("CiliumL2AnnouncementPolicy", "mdhlabs-layer2-policy");
const CLAIM: &str = "gateherald-vip-192.168.99.128";
const SESSION: &str = "gateherald-node-worker-1";

/// A code, and a snapshot in which it fails.
type Case = (u16, fn() -> Snapshot);

fn bad_questions(change: fn(&mut crate::snapshot::Questions)) -> Snapshot {
    let mut snapshot = snapshot(&objects());
    change(&mut snapshot.questions);
    snapshot
}

fn unlabelled(objects: &mut [serde_json::Value]) {
    object(objects, "Service", SERVICE)["metadata"]["labels"] = json!({});
    object(objects, "Service", SERVICE)["metadata"]["annotations"] = json!({});
}

const SERVER: &[Case] = &[
    (1, || {
        bad_questions(|q| q.version = Ok(ServerVersion { major: 1, minor: 30, text: "v1.30.2".to_owned() }))
    }),
    (2, || {
        let mut snapshot = story(|o| remove(o, "Gateway", "cd-arp-gw"));
        snapshot.gateways = Listing::missing(Gap::Absent("gateways.gateway.networking.k8s.io".to_owned()));
        snapshot
    }),
    (3, || {
        let mut snapshot = story(|o| remove(o, POLICY.0, ""));
        snapshot.policies = Listing::missing(Gap::Absent("l2announcementpolicies.gateherald.io".to_owned()));
        snapshot.cilium_policies =
            Listing::missing(Gap::Absent("ciliuml2announcementpolicies.cilium.io".to_owned()));
        snapshot
    }),
    (4, || {
        story(|o| {
            object(o, "Pod", "gateherald-webhook-a")["metadata"]["labels"]["app.kubernetes.io/version"] =
                json!("0.0.1");
        })
    }),
    (26, || {
        story(|o| {
            object(o, "ConfigMap", "gateherald-label-rules")["data"]["rules.yaml"] = json!("kind: Nonsense");
        })
    }),
];

const WEBHOOK: &[Case] = &[
    (10, || story(|o| remove(o, "MutatingWebhookConfiguration", ""))),
    (11, || story(|o| object(o, "EndpointSlice", "gateherald-webhook")["endpoints"] = json!([]))),
    (12, || {
        bad_questions(|q| {
            q.served.as_mut().unwrap()[0].leaf = Err("invalid peer certificate: UnknownIssuer".to_owned());
        })
    }),
    (13, || bad_questions(|q| q.served.as_mut().unwrap()[0].leaf = Ok(certificate("2025-12-31T00:00:00Z")))),
    (13, || {
        story(|o| {
            object(o, "MutatingWebhookConfiguration", "gateherald-webhook")["webhooks"][0]["clientConfig"]
                ["caBundle"] = json!(bundle("2026-01-10T00:00:00Z"));
        })
    }),
    (14, || {
        story(|o| {
            object(o, "MutatingWebhookConfiguration", "gateherald-webhook")["webhooks"][0]["failurePolicy"] =
                json!("Fail");
        })
    }),
    (14, || {
        story(|o| {
            object(o, "MutatingWebhookConfiguration", "gateherald-webhook")["webhooks"][0]["matchConditions"] =
                json!([]);
        })
    }),
    (15, || bad_questions(|q| q.dry_run.as_mut().unwrap().got.clear())),
    (16, || bad_questions(|q| q.fail_open = Ok(3))),
];

const LABELS: &[Case] = &[
    (20, || story(|o| remove(o, "Service", SERVICE))),
    (21, || story(|o| unlabelled(o))),
    (22, || {
        story(|o| {
            object(o, "Gateway", "cd-arp-gw")["metadata"]["labels"] = json!({ "mdhlabs-arp": "disable" });
        })
    }),
    (23, || {
        story(|o| {
            unlabelled(o);
            object(o, "Gateway", "cd-arp-gw")["metadata"]["annotations"] =
                json!({ "gateherald.io/inject-labels": "other" });
        })
    }),
    (23, || {
        story(|o| {
            unlabelled(o);
            object(o, "Gateway", "cd-arp-gw")["metadata"]["annotations"] =
                json!({ "gateherald.io/inject": "false" });
        })
    }),
    (24, || {
        story(|o| {
            object(o, "Service", SERVICE)["metadata"]["annotations"] = json!({});
            object(o, "Gateway", "cd-arp-gw")["metadata"]["labels"] = json!({ "mdhlabs-arp": "other" });
        })
    }),
    (25, || story(|o| remove(o, "Gateway", "cd-arp-gw"))),
    (25, || story(|o| object(o, "Gateway", "cd-arp-gw")["metadata"]["uid"] = json!("another"))),
];

const SELECTION: &[Case] = &[
    (30, || {
        story(|o| {
            object(o, "CiliumLoadBalancerIPPool", "mdhlabs-pool")["spec"]["serviceSelector"]["matchLabels"] =
                json!({ "mdhlabs-arp": "enabled" });
        })
    }),
    (30, || {
        story(|o| {
            object(o, "CiliumLoadBalancerIPPool", "mdhlabs-pool")["spec"]["serviceSelector"] =
                json!({ "matchExpressions": [{ "key": "a", "operator": "Near" }] });
        })
    }),
    (31, || {
        story(|o| {
            object(o, POLICY.0, POLICY.1)["spec"]["serviceSelector"]["matchLabels"] =
                json!({ "mdhlabs-arp": "enabled" });
        })
    }),
    (32, || story(|o| object(o, POLICY.0, POLICY.1)["spec"]["interfaces"] = json!(["ens(18"]))),
    (32, || {
        story(|o| {
            let policy = object(o, POLICY.0, POLICY.1);
            (policy["spec"]["loadBalancerIPs"], policy["spec"]["externalIPs"]) = (json!(false), json!(false));
        })
    }),
    (33, || {
        story(|o| object(o, "Service", SERVICE)["spec"]["loadBalancerClass"] = json!("example.com/other"))
    }),
    (34, || story(|o| object(o, "Service", SERVICE)["status"] = json!({}))),
    (34, || {
        story(|o| {
            object(o, "Service", SERVICE)["status"]["loadBalancer"]["ingress"] =
                json!([{ "hostname": "lb.example.com" }]);
        })
    }),
    (35, || story(|o| object(o, POLICY.0, POLICY.1)["spec"]["loadBalancerIPs"] = json!(false))),
    (35, || {
        story(|o| {
            object(o, "Service", SERVICE)["status"]["loadBalancer"]["ingress"] =
                json!([{ "ip": "192.168.99.21" }]);
        })
    }),
];

const ANNOUNCING: &[Case] = &[
    (40, || {
        story(|o| {
            remove(o, "Lease", SESSION);
            remove(o, "Lease", CLAIM);
        })
    }),
    (41, || story(|o| remove(o, "Lease", CLAIM))),
    (42, || {
        story(|o| object(o, "Lease", SESSION)["spec"]["renewTime"] = json!("2026-01-01T11:00:00.000000Z"))
    }),
    (42, || story(|o| object(o, "Lease", SESSION)["spec"]["holderIdentity"] = json!(""))),
    (43, || {
        story(|o| {
            object(o, POLICY.0, POLICY.1)["spec"]["nodeSelector"] =
                json!({ "matchLabels": { "lan": "yes" } });
        })
    }),
    (44, || {
        story(|o| {
            object(o, "Node", "worker-1")["status"]["conditions"] =
                json!([{ "type": "Ready", "status": "Unknown" }]);
        })
    }),
    (45, || {
        story(|o| {
            remove(o, "Lease", CLAIM);
            object(o, "Lease", SESSION)["metadata"]["annotations"]["gateherald.io/policies"] = json!("[]");
        })
    }),
    (45, || {
        story(|o| {
            object(o, "Lease", SESSION)["metadata"]["annotations"]["gateherald.io/links"] =
                json!(r#"[{"name":"ens18","mac":"02:00:00:00:00:21","up":false}]"#);
        })
    }),
    (46, || {
        story(|o| {
            object(o, "Node", "worker-1")["status"]["addresses"] =
                json!([{ "type": "InternalIP", "address": "10.9.8.7" }]);
        })
    }),
    (47, || {
        story(|o| {
            object(o, "Service", SERVICE)["spec"]["externalTrafficPolicy"] = json!("Local");
            object(o, "EndpointSlice", SERVICE)["endpoints"] = json!([{ "addresses": ["10.0.0.9"], "nodeName": "control-1", "conditions": { "ready": true } }]);
        })
    }),
    (48, || {
        story(|o| {
            object(o, "Service", SERVICE)["metadata"]["annotations"]["gateherald.io/announce"] =
                json!("false");
        })
    }),
    (48, || {
        story(|o| {
            object(o, "Node", "worker-1")["metadata"]["labels"]["gateherald.io/announce"] = json!("false");
        })
    }),
    (49, || {
        story(|o| {
            object(o, "Lease", CLAIM)["metadata"]["managedFields"] = json!([{
                "manager": "kubectl-edit", "operation": "Update", "apiVersion": "coordination.k8s.io/v1",
                "fieldsType": "FieldsV1",
                "fieldsV1": { "f:metadata": { "f:annotations": { "f:gateherald.io/session": {} } } },
            }]);
        })
    }),
];

const NEIGHBOURS: &[Case] = &[
    (60, || {
        story(|o| object(o, "ConfigMap", "cilium-config")["data"]["enable-l2-announcements"] = json!("true"))
    }),
    (61, || {
        story(|o| {
            o.push(json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": { "namespace": "kube-system", "name": "cilium-l2announce-prod-cilium-gateway-cd-arp-gw" },
                "spec": { "holderIdentity": "worker-2", "renewTime": "2026-01-01T12:00:00.000000Z" },
            }));
        })
    }),
    (62, || story(|o| o.push(daemon_set("metallb-speaker", "quay.io/metallb/speaker:v0.15")))),
    (63, || story(|o| o.push(daemon_set("kube-vip-ds", "ghcr.io/kube-vip/kube-vip:v1.0")))),
    (64, || {
        story(|o| {
            o.push(json!({
                "apiVersion": "v1", "kind": "Service", "metadata": { "namespace": "prod", "name": "other" },
                "spec": { "type": "LoadBalancer" },
                "status": { "loadBalancer": { "ingress": [{ "ip": "192.168.99.128" }] } },
            }));
        })
    }),
    (64, || {
        story(|o| {
            o.push(json!({
                "node": "worker-1", "notAnnounced": [],
                "addresses": [{ "address": "192.168.99.128", "state": "owned",
                    "conflict": { "claimant": "02:00:00:00:00:99", "stage": "Yielded" } }],
            }));
        })
    }),
    (65, || {
        story(|o| {
            object(o, "DaemonSet", "gateherald-announcer")["spec"]["template"]["spec"]["containers"][0]["args"] =
                json!(["--on-api-outage", "fence"]);
        })
    }),
    (66, || {
        story(|o| {
            object(o, "ConfigMap", "kube-proxy")["data"]["config.conf"] =
                json!("mode: ipvs\nipvs: {strictARP: false}\n");
        })
    }),
];

fn daemon_set(name: &str, image: &str) -> serde_json::Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "namespace": "other", "name": name },
        "spec": { "selector": {}, "template": { "spec": { "containers": [{ "name": "speaker", "image": image }] } } },
    })
}

fn cases() -> impl Iterator<Item = &'static Case> {
    [SERVER, WEBHOOK, LABELS, SELECTION, ANNOUNCING, NEIGHBOURS].into_iter().flatten()
}

fn failed(report: &Report, code: u16) -> Option<&[Finding]> {
    let result = report.results.iter().find(|result| result.check.code == Code(code)).unwrap();
    match &result.outcome {
        Outcome::Failed { findings } => Some(findings),
        Outcome::Passed | Outcome::Skipped { .. } => None,
    }
}

#[test]
fn the_story_as_it_should_be_passes_every_check() {
    for result in report(&snapshot(&objects())).results {
        assert_eq!(result.outcome, Outcome::Passed, "{}", result.check.code);
    }
}

#[test]
fn each_code_fails_in_a_state_that_it_is_about() {
    for (number, (code, state)) in cases().enumerate() {
        let report = report(&state());
        let findings = failed(&report, *code);
        let findings = findings.unwrap_or_else(|| panic!("case {number}: GH{code:03} did not fail"));
        for finding in findings {
            assert!(!finding.object.is_empty() && !finding.says.is_empty(), "{finding:?}");
            assert!(finding.mend.ends_with('.') || finding.mend.contains("kubectl"), "{finding:?}");
        }
    }
}

#[test]
fn every_code_has_such_a_state() {
    let covered: BTreeSet<u16> = cases().map(|(code, _)| *code).collect();
    let all: BTreeSet<u16> = CHECKS.iter().map(|check| check.code.0).collect();
    assert_eq!(covered, all);
}

#[test]
fn reports_do_not_depend_on_the_order_of_what_was_read() {
    for (code, state) in cases() {
        let straight = crate::render::report::json(&report(&state()));

        let mut objects = objects();
        objects.reverse();
        // Lists are sorted when they are taken, so the same objects in another order make the same snapshot.
        assert_eq!(
            crate::render::report::json(&report(&snapshot(&objects))),
            crate::render::report::json(&report(&snapshot(&crate::fixtures::objects())))
        );
        assert_eq!(straight, crate::render::report::json(&report(&state())), "GH{code:03}");
    }
}

#[test]
fn what_may_not_be_read_is_skipped_with_the_name_of_the_right() {
    let mut snapshot = snapshot(&objects());
    let right = "list nodes in all namespaces";
    snapshot.nodes = Listing::missing(Gap::Denied(right.to_owned()));
    snapshot.questions.fail_open = Err(Gap::Denied("get /metrics".to_owned()));
    let report = report(&snapshot);
    for (code, right) in [(43, right), (44, right), (16, "get /metrics")] {
        let result = report.results.iter().find(|result| result.check.code == Code(code)).unwrap();
        let expected = Outcome::Skipped { why: format!("needs the right to {right}") };
        assert_eq!(result.outcome, expected, "GH{code:03}");
    }
    assert!(!report.has_errors());
}

#[test]
fn warnings_are_no_errors() {
    let with_metallb =
        report(&story(|o| o.push(daemon_set("metallb-speaker", "quay.io/metallb/speaker:v0.15"))));
    assert!(!with_metallb.has_errors() && with_metallb.findings().count() == 1);
    assert!(report(&story(|o| unlabelled(o))).has_errors());
}
