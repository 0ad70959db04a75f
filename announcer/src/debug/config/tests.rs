// SPDX-License-Identifier: Apache-2.0
use clap::Parser;

use super::*;

#[test]
fn what_was_not_given_is_shown_too() {
    let args = ["gateherald-announcer", "--node-name", "worker-1", "--namespace", "gateherald-system"];
    let extra = ["--external-ip-cidrs", "10.0.0.0/8,fd00::/8", "--load-balancer-classes", "example.com/lb"];
    let args = Args::parse_from(args.iter().chain(&extra));
    let page = serde_json::to_value(page(&args, "info".to_owned())).unwrap();
    assert_eq!(page["version"], 1);
    assert_eq!(page["node"], "worker-1");
    assert_eq!(page["claims"]["leaseDurationSeconds"], 4);
    assert_eq!(page["claims"]["freshForMilliseconds"], 3600);
    assert_eq!(page["claims"]["onApiOutage"], "hold");
    assert_eq!(page["announcing"]["ciliumPolicies"], "auto");
    assert_eq!(page["announcing"]["externalIpCidrs"], serde_json::json!(["10.0.0.0/8", "fd00::/8"]));
    let classes = ["io.cilium/l2-announcer", "gateherald.io/l2-announcer", "example.com/lb"];
    assert_eq!(page["announcing"]["loadBalancerClasses"], serde_json::json!(classes));
}
