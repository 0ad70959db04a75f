// SPDX-License-Identifier: Apache-2.0
use super::*;

fn parse(flags: &[&str]) -> Result<Args, clap::Error> {
    let base = ["gateherald-announcer", "--node-name", "worker-1", "--namespace", "gateherald-system"];
    Args::try_parse_from(base.iter().chain(flags))
}

#[test]
fn the_defaults_work() {
    let args = parse(&[]).unwrap();
    assert_eq!(args.timing.lease_duration, 4);
    assert_eq!(args.timing.renew_period, Duration::from_secs(1));
    assert_eq!((args.timing.on_api_outage, args.timing.rebalance), (Outage::Hold, Balancing::Off));
    assert_eq!(args.announcing.cilium_policies, CiliumPolicies::Auto);
    assert_eq!(args.debug_listen.to_string(), "127.0.0.1:9472");
}

#[test]
fn wrong_values_are_refused_by_name() {
    for (flags, part) in [
        (["--lease-duration", "2.5"], "--lease-duration"),
        (["--lease-duration", "1500ms"], "no whole number of seconds"),
        (["--renew-period", "soon"], "no duration like 1s"),
        (["--cilium-policies", "maybe"], "--cilium-policies"),
        (["--external-ip-cidrs", "10.0.0.0/33"], "--external-ip-cidrs"),
        (["--admin-listen", "9471"], "--admin-listen"),
        (["--on-api-outage", "wait"], "--on-api-outage"),
        (["--rebalance", "fast"], "--rebalance"),
        (["--unknown", "x"], "--unknown"),
    ] {
        let error = parse(&flags).unwrap_err().to_string();
        assert!(error.contains(part), "{flags:?}: {error}");
    }
}

#[test]
fn lists_are_separated_by_commas() {
    let args =
        parse(&["--external-ip-cidrs", "10.0.0.0/8,192.168.0.0/16", "--load-balancer-classes=a,b"]).unwrap();
    assert_eq!(args.announcing.external_ip_cidrs.len(), 2);
    assert_eq!(args.announcing.load_balancer_classes, ["a", "b"]);
}

#[test]
fn the_admin_port_takes_a_nodes_address_of_either_family() {
    for (text, expected) in [
        ("192.0.2.1:9471", "192.0.2.1:9471"),
        ("2001:db8::1:9471", "[2001:db8::1]:9471"),
        ("[2001:db8::1]:9471", "[2001:db8::1]:9471"),
    ] {
        assert_eq!(parse(&["--admin-listen", text]).unwrap().admin_listen.to_string(), expected);
    }
    for text in ["9471", "192.0.2.1", "worker-1:9471", "192.0.2.1:port"] {
        let error = parse(&["--admin-listen", text]).unwrap_err().to_string();
        assert!(error.contains("no address with a port"), "{error}");
    }
}
