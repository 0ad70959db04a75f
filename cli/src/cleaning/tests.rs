// SPDX-License-Identifier: Apache-2.0
use serde_json::json;

use super::*;
use crate::fixtures::{object, remove, story};

#[test]
fn what_was_injected_and_still_has_its_value_goes_with_the_memory() {
    let snapshot = story(|_| {});
    let all = leftovers(&Picture::new(&snapshot, None));
    let patch = json!({ "metadata": {
        "labels": { "mdhlabs-arp": null },
        "annotations": { "gateherald.io/injected-labels": null },
    } });
    assert_eq!(all[0].patch(false), patch);
    assert_eq!(all[0].patch(true)["metadata"]["labels"], json!({}));
}

#[test]
fn what_a_user_changed_since_is_the_users() {
    let snapshot = story(|o| {
        object(o, "Service", "cilium-gateway-cd-arp-gw")["metadata"]["labels"]["mdhlabs-arp"] = json!("mine");
    });
    let all = leftovers(&Picture::new(&snapshot, None));
    assert_eq!(all[0].patch(false)["metadata"]["labels"], json!({}));
}

#[test]
fn leases_are_left_over_only_without_an_announcer() {
    let with = story(|_| {});
    assert!(leases(&Picture::new(&with, None), None).is_empty() && is_registered(&with));
    let without = story(|o| {
        remove(o, "DaemonSet", "gateherald-announcer");
        remove(o, "MutatingWebhookConfiguration", "gateherald-webhook");
    });
    let picture = Picture::new(&without, None);
    assert_eq!(leases(&picture, None).len(), 2);
    assert!(leases(&picture, Some("prod")).is_empty(), "another namespace than the one that was named");
    assert!(!is_registered(&without));
}
