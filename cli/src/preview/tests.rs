// SPDX-License-Identifier: Apache-2.0
use serde_json::{Value, json};

use super::*;
use crate::{
    fixtures::{object, objects, remove, snapshot},
    trace,
};

fn preview(before: &[Value], after: &[Value]) -> Preview {
    let (before, after) = (snapshot(before), snapshot(after));
    let pictures = (Picture::new(&before, None), Picture::new(&after, None));
    let traces = (trace::all(&pictures.0), trace::all(&pictures.1));
    Preview::new(
        &Side { picture: &pictures.0, traces: &traces.0 },
        &Side { picture: &pictures.1, traces: &traces.1 },
    )
}

#[test]
fn files_that_say_what_is_there_change_nothing() {
    let same = preview(&objects(), &objects());
    assert!(same.services.is_empty() && same.addresses.is_empty() && same.gateways.is_empty());
    assert!(same.introduced.is_empty() && same.fixed.is_empty());
}

#[test]
fn a_label_on_the_gateway_comes_to_its_service() {
    let mut after = objects();
    object(&mut after, "Gateway", "cd-arp-gw")["metadata"]["labels"]["team"] = json!("edge");
    let change = &preview(&objects(), &after).services[0];
    assert_eq!(change.service, "prod/cilium-gateway-cd-arp-gw");
    assert_eq!(json!(change.added), json!({ "team": "edge" }));
}

#[test]
fn a_policy_that_no_longer_selects_silences_the_address() {
    let mut after = objects();
    object(&mut after, "CiliumL2AnnouncementPolicy", "mdhlabs-layer2-policy")["spec"]["serviceSelector"]["matchLabels"] =
        json!({ "mdhlabs-arp": "enabled" });
    let preview = preview(&objects(), &after);
    assert!(preview.introduces_errors());
    assert_eq!(preview.introduced[0].code.to_string(), "GH031");
    let change = &preview.addresses[0];
    assert_eq!(change.before.nodes.iter().collect::<Vec<_>>(), ["worker-1"]);
    assert!(change.after.policies.is_empty());
}

#[test]
fn mending_a_policy_fixes_what_it_broke() {
    let mut before = objects();
    object(&mut before, "CiliumL2AnnouncementPolicy", "mdhlabs-layer2-policy")["spec"]["loadBalancerIPs"] =
        json!(false);
    let preview = preview(&before, &objects());
    assert!(preview.fixed.iter().any(|finding| finding.code.to_string() == "GH035"), "{preview:?}");
    assert!(preview.introduced.is_empty());
}

#[test]
fn a_new_gateway_is_told_what_its_service_will_get() {
    let mut after = objects();
    let mut gateway = object(&mut after, "Gateway", "cd-arp-gw").clone();
    gateway["metadata"]["name"] = json!("next");
    gateway["metadata"]["labels"]["helm.sh/chart"] = json!("shop-1");
    after.push(gateway);
    let preview = preview(&objects(), &after);
    let next = &preview.gateways[0];
    assert_eq!(next.gateway, "prod/next");
    assert_eq!(json!(next.labels), json!({ "mdhlabs-arp": "enable" }));
    assert_eq!(json!(next.kept_off), json!([{ "key": "helm.sh/chart", "reason": "denied" }]));
    assert_eq!(next.pools, ["CiliumLoadBalancerIPPool/mdhlabs-pool"]);
    assert_eq!(next.policies, ["CiliumL2AnnouncementPolicy/mdhlabs-layer2-policy"]);
}

#[test]
fn a_service_that_is_missing_is_a_problem_before_and_after() {
    let mut both = objects();
    remove(&mut both, "Service", "cilium-gateway-cd-arp-gw");
    let preview = preview(&both, &both);
    assert!(preview.unchanged.iter().any(|finding| finding.code.to_string() == "GH020"));
}
