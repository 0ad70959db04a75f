// SPDX-License-Identifier: Apache-2.0
use gateherald_model::{
    announcement::NotAnnounced,
    interfaces::NoLink,
    overview::{Refused, Selection},
};

use super::*;

const VIP: &str = "192.168.99.128";
const GRACE: Duration = Duration::from_secs(15);
const LATER: Duration = Duration::from_secs(100);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn id() -> PolicyId {
    PolicyId::new(PolicyKind::Gateherald, "mdhlabs-layer2-policy")
}

fn web() -> ServiceKey {
    ServiceKey::new("prod", "web")
}

fn wall(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn verdict(generation: i64, bad: bool, status: Option<L2AnnouncementPolicyStatus>) -> Verdict {
    Verdict {
        uid: "u1".to_owned(),
        generation,
        in_force: Some(if bad { generation - 1 } else { generation }),
        valid: !bad,
        reason: if bad { "BadInterfaceRegex" } else { "Valid" },
        message: if bad { "interfaces cannot be compiled" } else { "the policy is in force" }.to_owned(),
        status,
    }
}

/// One policy with two Services, one address and these nodes.
fn survey(verdict: Verdict, nodes: &[&str]) -> Survey {
    let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
    let selection = Selection { services: 2, addresses: BTreeSet::from([ip(VIP)]), nodes };
    let selected = Selected { services: [web()].into(), policies: [id()].into() };
    let overview = Overview {
        policies: BTreeMap::from([(id(), selection)]),
        addresses: BTreeMap::from([(ip(VIP), selected)]),
        refused: BTreeSet::new(),
    };
    Survey { verdicts: BTreeMap::from([(id(), verdict)]), overview }
}

/// In office since time 0, with these addresses taken.
fn office(held: &[&str]) -> Office {
    let mut office = Office::new(GRACE);
    office.claims(held.iter().map(|address| ip(address)).collect());
    office
}

fn review(office: &mut Office, survey: Survey, now: Duration) -> Vec<Tale> {
    office.review(survey, &Evaluation::default(), now, wall(0))
}

/// What is written now, as the watch then shows it.
fn write(office: &mut Office, now: Duration) -> L2AnnouncementPolicyStatus {
    let write = office.next_write(now).unwrap();
    office.written(&write, now);
    assert_eq!(office.next_write(now), None);
    write.status
}

#[test]
fn a_status_is_written_once_and_whoever_is_elected_next_finds_nothing_to_write() {
    let mut first = office(&[VIP]);
    assert!(review(&mut first, survey(verdict(1, false, None), &["n1", "n2"]), LATER).is_empty());
    let status = write(&mut first, LATER);
    let condition = &status.conditions[0];
    assert_eq!((status.observed_generation, status.in_force_generation), (Some(1), Some(1)));
    assert_eq!((status.selected_services, status.selected_addresses), (2, 1));
    assert_eq!((status.announced_addresses, status.eligible_nodes), (1, 2));
    assert_eq!((condition.type_.as_str(), condition.status.as_str()), ("Valid", "True"));
    assert_eq!((condition.reason.as_str(), condition.observed_generation), ("Valid", Some(1)));
    for office in [&mut first, &mut office(&[VIP])] {
        review(office, survey(verdict(1, false, Some(status.clone())), &["n1", "n2"]), LATER * 2);
        assert_eq!(office.next_write(LATER * 3), None);
        assert_eq!(office.next_deadline(LATER * 3), None);
    }
}

#[test]
fn nothing_is_written_before_the_claims_are_known() {
    let mut office = Office::new(GRACE);
    review(&mut office, survey(verdict(1, false, None), &["n1"]), LATER);
    assert_eq!(office.next_write(LATER), None);
}

#[test]
fn the_time_of_transition_changes_with_the_verdict_alone() {
    let mut office = office(&[VIP]);
    let mut status = None;
    let mut times = Vec::new();
    for (n, (generation, bad)) in
        [(1, false), (2, false), (3, true), (4, true), (5, false)].into_iter().enumerate()
    {
        let second = i64::try_from(n).unwrap() * 60;
        let now = LATER + Duration::from_secs(60 * n as u64);
        office.review(
            survey(verdict(generation, bad, status), &["n1"]),
            &Evaluation::default(),
            now,
            wall(second),
        );
        let written = write(&mut office, now);
        times.push(written.conditions[0].last_transition_time.0.as_second() - wall(0).as_second());
        assert_eq!(written.observed_generation, Some(generation));
        status = Some(written);
    }
    assert_eq!(times, [0, 0, 120, 120, 240]);
}

#[test]
fn counts_alone_are_written_every_five_seconds_and_a_verdict_after_one() {
    let mut office = office(&[VIP]);
    review(&mut office, survey(verdict(1, false, None), &["n1"]), LATER);
    let status = write(&mut office, LATER);
    review(&mut office, survey(verdict(1, false, Some(status.clone())), &["n1", "n2"]), LATER);
    assert_eq!(office.next_deadline(LATER), Some(LATER + COUNTS_EVERY));
    assert_eq!(office.next_write(LATER + Duration::from_secs(4)), None);
    review(&mut office, survey(verdict(2, true, Some(status)), &["n1"]), LATER);
    assert_eq!(office.next_deadline(LATER), Some(LATER + VERDICT_EVERY));
    assert_eq!(write(&mut office, LATER + VERDICT_EVERY).conditions[0].reason, "BadInterfaceRegex");
}

#[test]
fn what_others_add_to_a_status_is_no_difference_and_what_they_change_is() {
    let mut office = office(&[VIP]);
    review(&mut office, survey(verdict(1, false, None), &["n1"]), LATER);
    let mut status = write(&mut office, LATER);
    let foreign = PolicyCondition { type_: "Seen".to_owned(), ..status.conditions[0].clone() };
    status.conditions.push(foreign);
    review(&mut office, survey(verdict(1, false, Some(status.clone())), &["n1"]), LATER * 2);
    assert_eq!(office.next_write(LATER * 2), None);
    status.selected_services = 77;
    review(&mut office, survey(verdict(1, false, Some(status)), &["n1"]), LATER * 3);
    assert_eq!(write(&mut office, LATER * 3).selected_services, 2);
}

#[test]
fn no_status_is_written_of_cilium_s_kind_and_its_bad_versions_are_told() {
    let cilium = PolicyId::new(PolicyKind::Cilium, "theirs");
    let verdicts = BTreeMap::from([(cilium.clone(), verdict(3, true, None))]);
    let survey = Survey { verdicts, overview: Overview::default() };
    let mut office = office(&[]);
    let tales = review(&mut office, survey.clone(), LATER);
    assert_eq!(tales.len(), 1);
    assert_eq!(tales[0].about, About::Policy(cilium, "u1".to_owned()));
    assert_eq!((tales[0].reason, tales[0].warning, tales[0].elected), ("BadInterfaceRegex", true, true));
    assert!(!tales[0].news, "whoever was elected before may have told it");
    assert!(review(&mut office, survey, LATER * 2).is_empty(), "told once");
    assert_eq!(office.next_write(LATER * 2), None);
}

#[test]
fn each_bad_version_is_told_of() {
    let mut office = office(&[VIP]);
    for generation in [1, 2] {
        let tales = review(&mut office, survey(verdict(generation, true, None), &["n1"]), LATER);
        assert_eq!(tales.len(), 1, "generation {generation}");
        assert!(tales[0].note.starts_with(&format!("generation {generation}: ")));
    }
    assert!(review(&mut office, survey(verdict(3, false, None), &["n1"]), LATER).is_empty());
}

#[test]
fn an_address_without_a_holder_fails_after_a_grace_and_again_after_it_was_held() {
    let mut office = office(&[]);
    let seen = || survey(verdict(1, false, None), &["n1", "n2", "n3", "n4", "n5"]);
    assert!(review(&mut office, seen(), LATER).is_empty());
    assert_eq!(office.next_review(LATER), Some(LATER + GRACE));
    let tales = review(&mut office, seen(), LATER + GRACE);
    assert_eq!(tales.len(), 1);
    assert_eq!((tales[0].reason, &tales[0].about), (ANNOUNCE_FAILED, &About::Service(web())));
    let note = "no node announces 192.168.99.128: NotTaken: none of the eligible Nodes has taken it (n1, n2, n3 and 2 more)";
    assert!(tales[0].note.starts_with(note), "{}", tales[0].note);
    assert!(!tales[0].news, "it was so when the term began");
    assert!(review(&mut office, seen(), LATER * 2).is_empty(), "told once");
    assert!(office.claim(ip(VIP), true));
    assert!(!office.claim(ip(VIP), true), "no news");
    review(&mut office, seen(), LATER * 3);
    assert_eq!(office.next_review(LATER * 3), None);
    office.claim(ip(VIP), false);
    review(&mut office, seen(), LATER * 4);
    let tales = review(&mut office, seen(), LATER * 5);
    assert!(tales.len() == 1 && tales[0].news);
}

#[test]
fn a_failure_has_the_reason_that_is_known() {
    let refused = NotAnnounced {
        service: Some(web()),
        address: Some(ip(VIP)),
        policy: Some(id()),
        why: Why::NoInterface(NoLink::NoneMatches(Vec::new().into())),
    };
    let here = Evaluation { not_announced: vec![refused], ..Evaluation::default() };
    for (nodes, here, reason) in [
        (&[][..], &here, "NoEligibleNode"),
        (&["n1"][..], &here, "NoInterface"),
        (&["n1"][..], &Evaluation::default(), "NotTaken"),
    ] {
        let mut office = office(&[]);
        office.review(survey(verdict(1, false, None), nodes), here, LATER, wall(0));
        let tales = office.review(survey(verdict(1, false, None), nodes), here, LATER * 2, wall(0));
        assert!(tales.len() == 1 && tales[0].note.contains(reason), "{reason}: {tales:?}");
    }
}

#[test]
fn what_no_node_can_announce_is_told_at_once() {
    let mut seen = survey(verdict(1, false, None), &["n1"]);
    let why = Why::OutsideAddresses;
    seen.overview.refused.insert(Refused { service: web(), address: Some(ip("10.0.0.1")), why });
    let mut office = office(&[VIP]);
    let tales = review(&mut office, seen.clone(), LATER);
    assert_eq!(tales.len(), 1);
    assert_eq!(tales[0].note, "no node announces 10.0.0.1: OutsideAddresses");
    assert!(review(&mut office, seen, LATER).is_empty());
}

#[test]
fn a_policy_that_selects_nobody_is_valid_and_says_so() {
    for (services, nodes, said) in
        [(0, 1, "no Service matches its serviceSelector"), (1, 0, "no Node that may announce matches")]
    {
        let mut seen = survey(verdict(1, false, None), if nodes == 0 { &[] } else { &["n1"] });
        seen.overview.policies.get_mut(&id()).unwrap().services = services;
        let mut office = office(&[VIP]);
        review(&mut office, seen, LATER);
        let condition = write(&mut office, LATER).conditions[0].clone();
        assert!(condition.status == "True" && condition.message.contains(said), "{condition:?}");
    }
}

#[test]
fn a_policy_that_was_made_again_is_written_at_once() {
    let mut office = office(&[VIP]);
    review(&mut office, survey(verdict(1, false, None), &["n1"]), LATER);
    write(&mut office, LATER);
    let again = Verdict { uid: "u2".to_owned(), ..verdict(1, false, None) };
    review(&mut office, survey(again, &["n1"]), LATER);
    assert_eq!(office.next_write(LATER).unwrap().uid, "u2");
}
