// SPDX-License-Identifier: Apache-2.0
use std::time::Duration;

use gateherald_model::{
    announcement::{Evaluation, Why},
    policy::{PolicyId, PolicyKind},
    service::ServiceKey,
};
use serde_json::{Value, json};

use super::*;
use crate::standoff::Stage;

const VIP: &str = "192.168.99.128";
const OTHER: &str = "192.168.99.129";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(milliseconds: u64) -> Now {
    let time = Duration::from_millis(milliseconds);
    Now { boot: time, raw: time }
}

fn link(up: bool) -> Link {
    Link {
        index: 2,
        name: "ens18".to_owned(),
        mac: Some([2, 0, 0, 0, 0, 2]),
        up,
        addresses: vec!["192.168.99.11/24".parse().unwrap()],
        ..Link::default()
    }
}

fn outlook() -> Outlook {
    let interface = gateherald_model::interfaces::Interface::from(&link(true));
    let desired = Desired {
        services: [ServiceKey::new("prod", "web"), ServiceKey::new("prod", "api")].into(),
        policies: [PolicyId::new(PolicyKind::Gateherald, "p")].into(),
        interfaces: [interface].into(),
        preferred_node: None,
    };
    let refused = NotAnnounced {
        service: Some(ServiceKey::new("prod", "db")),
        address: None,
        policy: None,
        why: Why::NoPolicy,
    };
    let evaluation = Evaluation {
        desired: BTreeMap::from([(ip(VIP), Arc::new(desired))]),
        not_announced: vec![refused],
        ..Evaluation::default()
    };
    Outlook { evaluation, ..Outlook::default() }
}

fn claim(title: bool, holder: Option<&str>) -> ClaimState {
    ClaimState {
        holder: holder.map(str::to_owned),
        session: holder.map(|_| "5e55".to_owned()),
        title,
        held: false,
        transitions: 3,
        since: Some(at(1_000)),
    }
}

fn standing(claims: &[(&str, ClaimState)], fresh: bool) -> Standing {
    Standing {
        session: "5e55".to_owned(),
        fresh_for: fresh.then_some(Duration::from_millis(2_500)),
        claims: claims.iter().map(|(address, claim)| (ip(address), claim.clone())).collect(),
        peers: BTreeMap::new(),
        now: at(4_000),
    }
}

fn shown(links: &[Link], contests: &Contests, standing: Option<Standing>) -> Value {
    let picture = Picture { node: "worker-1", outlook: &outlook(), links, contests };
    serde_json::to_value(page(&picture, standing)).unwrap()
}

#[test]
fn the_shape_of_a_page_is_as_documented() {
    let page =
        shown(&[link(true)], &Contests::new(), Some(standing(&[(VIP, claim(true, Some("worker-1")))], true)));
    let expected = json!({
        "version": 1,
        "node": "worker-1",
        "session": "5e55",
        "freshForMilliseconds": 2500,
        "waitingFor": [],
        "ciliumPolicies": { "stance": "Undecided", "detail": page["ciliumPolicies"]["detail"] },
        "addresses": [{
            "address": VIP, "desired": true, "owned": true, "state": "owned",
            "services": ["prod/api", "prod/web"], "policies": ["L2AnnouncementPolicy/p"], "preferredNode": null,
            "interfaces": [{
                "index": 2, "name": "ens18", "mac": "02:00:00:00:00:02", "networks": ["192.168.99.11/24"],
                "up": true, "answers": true, "reason": null,
            }],
            "holder": "worker-1", "session": "5e55", "transitions": 3, "sinceMilliseconds": 3000,
        }],
        "notAnnounced": [{
            "service": "prod/db", "address": null, "policy": null, "reason": "NoPolicy", "detail": "NoPolicy",
        }],
        "policies": {},
    });
    assert_eq!(page, expected);
}

#[test]
fn an_interface_that_does_not_answer_says_why() {
    let silenced = |stage| Contests::from([(ip(VIP), Standoff { claimant: MacAddr([2; 6]), stage })]);
    let quiet = Contests::new();
    let own = || claim(true, Some("worker-1"));
    for (up, contests, claim, fresh, state, reason) in [
        (false, &quiet, own(), true, "owned", json!("link-down")),
        (true, &quiet, own(), false, "not-fresh", json!("not-fresh")),
        (true, &quiet, claim(false, Some("worker-2")), true, "held-elsewhere", json!("not-owner")),
        (true, &quiet, claim(false, None), true, "waiting", json!("not-owner")),
        (true, &quiet, ClaimState { held: true, ..claim(false, None) }, false, "held", Value::Null),
        (true, &silenced(Stage::Silenced { until: Duration::ZERO }), own(), true, "owned", json!("silenced")),
        (true, &silenced(Stage::Suspended { since: at(1) }), own(), true, "owned", json!("suspended")),
        (true, &silenced(Stage::Defended { at: Duration::ZERO }), own(), true, "owned", Value::Null),
    ] {
        let page = shown(&[link(up)], contests, Some(standing(&[(VIP, claim)], fresh)));
        let vip = &page["addresses"][0];
        assert_eq!((&vip["state"], &vip["interfaces"][0]["reason"]), (&json!(state), &reason));
        assert_eq!(vip["interfaces"][0]["answers"], json!(reason.is_null()));
    }
}

#[test]
fn what_is_owned_and_no_longer_desired_is_shown_until_it_is_given_up() {
    let claims = [(OTHER, claim(true, Some("worker-1"))), (VIP, claim(false, None))];
    let page = shown(&[link(true)], &Contests::new(), Some(standing(&claims, true)));
    let addresses: Vec<_> =
        page["addresses"].as_array().unwrap().iter().map(|v| v["address"].clone()).collect();
    assert_eq!(addresses, [VIP, OTHER], "in order");
    assert_eq!(page["addresses"][1]["desired"], false);
    // Nothing is known of ownership before the API server was reached.
    let page = shown(&[link(true)], &Contests::new(), None);
    assert_eq!((&page["session"], &page["addresses"][0]["state"]), (&json!(""), &json!("waiting")));
    assert_eq!(page["freshForMilliseconds"], Value::Null);
}
