// SPDX-License-Identifier: Apache-2.0
use k8s_openapi::api::apps::v1::DaemonSetStatus;
use serde_json::Value;

use super::*;

fn answered(labels: &Value, annotations: &Value) -> Service {
    serde_json::from_value(json!({ "metadata": {
        "namespace": "default", "labels": labels, "annotations": annotations,
    }}))
    .unwrap()
}

#[test]
fn the_service_belongs_to_the_gateway_and_has_no_label_of_its_own() {
    let mut gateway = gateway("default", "team");
    gateway.metadata.uid = Some("u1".into());
    let service = service(&gateway).unwrap();
    let owner = &service.owner_references()[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str(), owner.uid.as_str()), ("Gateway", NAME, "u1"));
    assert!(service.labels().is_empty());
    assert_eq!(service.namespace().as_deref(), Some("default"));
}

#[test]
fn an_answer_passes_only_with_label_and_memory() {
    let memory = json!({ INJECTED_LABELS: "{}" });
    assert_eq!(labelled(&answered(&json!({ "team": VALUE }), &memory), "team"), Ok(()));
    let table = [
        (json!({}), memory.clone(), "webhook.labelRules leave team out"),
        (json!({ "team": "other" }), memory, "without label team"),
        (json!({ "team": VALUE }), json!({}), "did not call the webhook"),
        (json!({}), json!({}), "selects namespace default"),
    ];
    for (labels, annotations, part) in table {
        let error = labelled(&answered(&labels, &annotations), "team").unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn an_announcer_counts_when_every_node_runs_the_present_version() {
    let set = |generation, observed, wanted, updated, ready| {
        let mut set = DaemonSet::default();
        set.metadata.generation = Some(generation);
        set.status = Some(DaemonSetStatus {
            observed_generation: Some(observed),
            desired_number_scheduled: wanted,
            updated_number_scheduled: Some(updated),
            number_ready: ready,
            ..DaemonSetStatus::default()
        });
        set
    };
    assert_eq!(rolled_out(&set(2, 2, 3, 3, 3)), Ok(3));
    for (set, part) in [
        (DaemonSet::default(), "has not been written"),
        (set(2, 1, 3, 3, 3), "newest version"),
        (set(1, 1, 0, 0, 0), "announcer.nodeSelector"),
        (set(1, 1, 3, 3, 2), "2 ready and 3 up to date of 3"),
        (set(1, 1, 3, 2, 3), "3 ready and 2 up to date of 3"),
    ] {
        let error = rolled_out(&set).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}
