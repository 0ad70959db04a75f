// SPDX-License-Identifier: Apache-2.0
use std::time::Duration;

use gateherald_model::{announcement::Why, interfaces::Interface, policy::PolicyKind};
use gateherald_wire::MacAddr;

use super::*;
use crate::claims::{LossReason, time::Now};

const VIP: &str = "192.168.99.128";
const STRANGER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn web() -> ServiceKey {
    ServiceKey::new("prod", "web")
}

fn policy() -> PolicyId {
    PolicyId::new(PolicyKind::Gateherald, "mdhlabs-layer2-policy")
}

fn announced(services: &[ServiceKey]) -> Evaluation {
    let desired = Desired {
        services: services.iter().cloned().collect(),
        policies: [policy()].into(),
        interfaces: [Interface { index: 2, name: "ens18".to_owned() }].into(),
        preferred_node: None,
    };
    Evaluation { desired: BTreeMap::from([(ip(VIP), Arc::new(desired))]), ..Evaluation::default() }
}

fn refused(service: Option<ServiceKey>, policy: Option<PolicyId>, why: Why) -> Evaluation {
    let not_announced = vec![NotAnnounced { service, address: None, policy, why }];
    Evaluation { not_announced, ..Evaluation::default() }
}

fn took(ground: Ground) -> Notice {
    Notice::Took { address: ip(VIP), ground, after: Duration::ZERO }
}

fn released(favours: Option<&str>) -> Notice {
    Notice::Released { address: ip(VIP), favours: favours.map(str::to_owned) }
}

fn teller() -> Teller {
    Teller::new("worker-1".to_owned())
}

#[test]
fn an_address_that_is_taken_is_told_of_each_of_its_services() {
    let both = [ServiceKey::new("prod", "dns"), web()];
    let tales = teller().notice(&took(Ground::Unclaimed), &announced(&both));
    let about: Vec<_> = tales.iter().map(|tale| tale.about.clone()).collect();
    assert_eq!(about, both.map(About::Service));
    assert_eq!(tales[0].note, "node worker-1 announces 192.168.99.128 on ens18");
    assert!(tales.iter().all(|t| t.reason == ANNOUNCING && t.news && !t.warning && !t.elected));
}

#[test]
fn a_session_that_was_lost_and_a_process_that_was_replaced_are_no_news() {
    let mut told = teller();
    let evaluation = announced(&[web()]);
    assert_eq!(told.notice(&took(Ground::Released), &evaluation).len(), 1);
    let again = Ground::Ended(EndedBy::Lapse);
    assert!(told.notice(&took(again), &evaluation).is_empty(), "people never saw it stop");
    let tales = teller().notice(&took(Ground::Ended(EndedBy::Successor)), &evaluation);
    assert!(tales.len() == 1 && !tales[0].news, "the predecessor told it");
}

#[test]
fn what_was_lost_to_another_is_news_when_it_comes_back() {
    let mut told = teller();
    let evaluation = announced(&[web()]);
    told.notice(&took(Ground::Released), &evaluation);
    let lost = Notice::Lost { address: ip(VIP), reason: LossReason::Taken };
    assert!(told.notice(&lost, &evaluation).is_empty(), "whoever has it now tells");
    assert_eq!(told.notice(&took(Ground::Released), &evaluation).len(), 1);
}

#[test]
fn what_is_given_up_has_its_reason() {
    let no_policy = refused(Some(web()), None, Why::NoPolicy);
    let opted_out = refused(None, Some(policy()), Why::NodeOptedOut);
    let elsewhere = refused(None, Some(PolicyId::new(PolicyKind::Cilium, "x")), Why::NodeNotSelected);
    for (evaluation, favours, why) in [
        (&no_policy, None, "NoPolicy"),
        (&opted_out, None, "NodeOptedOut (L2AnnouncementPolicy/mdhlabs-layer2-policy)"),
        (&elsewhere, None, "no Service has it any more"),
        (&no_policy, Some("worker-2"), "it is handed over to node worker-2"),
    ] {
        let mut told = teller();
        told.notice(&took(Ground::Unclaimed), &announced(&[web()]));
        let tales = told.notice(&released(favours), evaluation);
        assert_eq!(tales.len(), 1);
        assert_eq!(tales[0].reason, RELEASED);
        assert_eq!(tales[0].note, format!("node worker-1 no longer announces {VIP}: {why}"));
        assert!(told.notice(&released(favours), evaluation).is_empty(), "told once");
    }
}

#[test]
fn a_conflict_is_told_when_it_begins_and_when_it_is_lost() {
    let mut told = teller();
    let evaluation = announced(&[web()]);
    let now = Now::default();
    let at = |stage| Arc::new(Contests::from([(ip(VIP), Standoff { claimant: STRANGER, stage })]));
    let tales = told.contests(at(Stage::Suspended { since: now }), &evaluation);
    assert_eq!((tales.len(), tales[0].reason, tales[0].warning), (1, ADDRESS_CONFLICT, true));
    assert!(tales[0].note.contains("02:00:00:00:00:09") && tales[0].note.contains(VIP), "{}", tales[0].note);
    assert!(told.contests(at(Stage::Defended { at: now.raw }), &evaluation).is_empty());
    let silenced = Stage::Silenced { until: now.raw };
    assert!(told.contests(at(silenced), &evaluation)[0].note.contains("goes on doing so"));
    assert!(told.contests(at(Stage::Asking { until: now.raw }), &evaluation).is_empty());
    assert!(told.contests(at(silenced), &evaluation).is_empty());
    assert!(told.contests(Arc::default(), &evaluation).is_empty());
    assert_eq!(told.contests(at(silenced), &evaluation).len(), 1);
}
