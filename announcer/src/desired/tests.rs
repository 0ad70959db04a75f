// SPDX-License-Identifier: Apache-2.0
use gateherald_model::{crd::L2AnnouncementPolicySpec, service::AddressSource};

use super::*;

const VIP: &str = "192.168.99.128";
const OTHER: &str = "192.168.99.129";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn link(up: bool) -> Link {
    Link {
        index: 2,
        name: "ens18".to_owned(),
        mac: Some([2, 0, 0, 0, 0, 2]),
        up,
        addresses: vec!["192.168.99.10/24".parse().unwrap()],
        ..Link::default()
    }
}

fn service(addresses: &[&str]) -> Seen {
    let key = ServiceKey::new("prod", "cilium-gateway-cd-arp-gw");
    let view = ServiceView {
        key: key.clone(),
        labels: [("mdhlabs-arp".to_owned(), "enable".to_owned())].into(),
        load_balancer_class: None,
        entries: addresses
            .iter()
            .map(|a| AddressEntry::Address(ip(a), AddressSource::LoadBalancer))
            .collect(),
        opted_out: false,
        preferred_node: None,
        local: false,
    };
    Seen::Services(Change::Set(key, Box::new(view)))
}

fn policy(kind: PolicyKind) -> Seen {
    let spec = L2AnnouncementPolicySpec { load_balancer_ips: true, ..L2AnnouncementPolicySpec::default() };
    Seen::Policies(kind, Change::All(vec![(PolicyId::new(kind, "mdhlabs-layer2-policy"), (&spec).into())]))
}

fn node() -> Seen {
    let view = NodeView { name: "worker-1".to_owned(), ..NodeView::default() };
    Seen::Nodes(Change::All(vec![("worker-1".to_owned(), view)]))
}

fn desires(seen: impl IntoIterator<Item = Seen>) -> Desires {
    let mut desires = Desires::new("worker-1".to_owned(), Rules::default());
    for seen in seen {
        desires.see(seen);
    }
    desires
}

fn complete() -> Desires {
    let links = Seen::Links([link(true)].into());
    desires([policy(PolicyKind::Gateherald), node(), links, service(&[VIP])])
}

fn wanted(plan: &Plan) -> Vec<IpAddr> {
    plan.wants.keys().copied().collect()
}

fn answered(plan: &Plan) -> Vec<IpAddr> {
    plan.reach.keys().copied().collect()
}

#[test]
fn nothing_is_announced_before_everything_that_could_forbid_it_was_seen() {
    let all = || [policy(PolicyKind::Gateherald), node(), Seen::Links([link(true)].into()), service(&[VIP])];
    for (missing, name) in ["policies", "nodes", "links", "services"].iter().enumerate() {
        let seen = all().into_iter().enumerate().filter(|(i, _)| *i != missing).map(|(_, seen)| seen);
        let (plan, transitions) = desires(seen).plan(ms(0));
        assert_eq!(plan.outlook.waiting_for, [*name]);
        assert!(plan.wants.is_empty() && plan.reach.is_empty() && transitions.is_empty());
    }
    let (plan, transitions) = complete().plan(ms(0));
    assert_eq!(wanted(&plan), [ip(VIP)]);
    assert_eq!(plan.reach[&ip(VIP)], [2].into());
    assert_eq!(plan.notes.policies, ["L2AnnouncementPolicy/mdhlabs-layer2-policy".to_owned()].into());
    assert_eq!(plan.notes.links.len(), 1);
    assert!(matches!(&transitions[..], [Transition::Selected(address, _)] if *address == ip(VIP)));
}

#[test]
fn a_vanished_address_is_silent_at_once_and_its_claim_stays_for_half_a_second() {
    let mut desires = complete();
    desires.plan(ms(0));
    desires.see(service(&[]));
    let (plan, _) = desires.plan(ms(1000));
    assert!(answered(&plan).is_empty());
    assert_eq!(wanted(&plan), [ip(VIP)]);
    assert_eq!(desires.next_deadline(), Some(ms(1500)));
    assert_eq!(wanted(&desires.plan(ms(1499)).0), [ip(VIP)]);
    assert!(wanted(&desires.plan(ms(1500)).0).is_empty());
    assert_eq!(desires.next_deadline(), None);
}

#[test]
fn an_address_that_comes_back_in_time_never_left() {
    let mut desires = complete();
    desires.plan(ms(0));
    desires.see(service(&[]));
    desires.plan(ms(100));
    desires.see(service(&[VIP]));
    let (plan, _) = desires.plan(ms(300));
    assert_eq!((answered(&plan), wanted(&plan)), (vec![ip(VIP)], vec![ip(VIP)]));
    assert_eq!(desires.next_deadline(), None);
}

#[test]
fn a_lost_link_releases_the_claim_after_a_debounce() {
    let mut desires = complete();
    desires.plan(ms(0));
    desires.see(Seen::Links([link(false)].into()));
    let (plan, _) = desires.plan(ms(1000));
    assert!(answered(&plan).is_empty());
    assert_eq!(desires.next_deadline(), Some(ms(1150)));
    assert!(wanted(&desires.plan(ms(1150)).0).is_empty());
}

#[test]
fn what_somebody_decided_takes_effect_at_once() {
    for decision in [
        Seen::Policies(
            PolicyKind::Gateherald,
            Change::Gone(PolicyId::new(PolicyKind::Gateherald, "mdhlabs-layer2-policy")),
        ),
        Seen::Nodes(Change::Gone("worker-1".to_owned())),
    ] {
        let mut desires = complete();
        desires.plan(ms(0));
        desires.see(decision);
        let (plan, transitions) = desires.plan(ms(1));
        assert!(wanted(&plan).is_empty() && answered(&plan).is_empty());
        assert!(transitions.contains(&Transition::Unselected(ip(VIP))));
    }
}

#[test]
fn one_of_two_addresses_goes_and_the_other_does_not_notice() {
    let mut desires = complete();
    desires.see(service(&[VIP, OTHER]));
    desires.plan(ms(0));
    desires.see(service(&[VIP]));
    let (plan, transitions) = desires.plan(ms(1));
    assert_eq!(answered(&plan), [ip(VIP)]);
    assert_eq!(transitions, [Transition::Unselected(ip(OTHER))]);
}

#[test]
fn cilium_policies_count_only_while_they_are_honoured() {
    let links = Seen::Links([link(true)].into());
    let mut desires = desires([policy(PolicyKind::Cilium), node(), links, service(&[VIP])]);
    assert!(desires.has_cilium_policies());
    assert!(wanted(&desires.plan(ms(0)).0).is_empty());
    desires.see(Seen::Cilium(Stance::Honoured));
    assert_eq!(wanted(&desires.plan(ms(1)).0), [ip(VIP)]);
    desires.see(Seen::Cilium(Stance::LeaseRenewed("cilium-l2announce-x".to_owned())));
    assert!(answered(&desires.plan(ms(2)).0).is_empty());
}

#[test]
fn a_list_forgets_what_is_not_in_it() {
    let mut desires = complete();
    desires.plan(ms(0));
    desires.see(Seen::Policies(PolicyKind::Gateherald, Change::All(Vec::new())));
    assert!(wanted(&desires.plan(ms(1)).0).is_empty());
    desires.see(policy(PolicyKind::Gateherald));
    desires.see(Seen::Services(Change::All(Vec::new())));
    assert!(answered(&desires.plan(ms(2)).0).is_empty());
}

#[test]
fn a_reason_is_told_once() {
    let mut desires = complete();
    desires.see(service(&["192.168.99.10"]));
    let (_, first) = desires.plan(ms(0));
    let refusals = |transitions: &[Transition]| {
        let mut refused = transitions.iter().filter(|t| matches!(t, Transition::Refused(_))).count();
        refused += transitions.iter().filter(|t| matches!(t, Transition::Selected(..))).count();
        refused
    };
    assert_eq!(refusals(&first), 1, "{first:?}");
    assert!(matches!(&first[0], Transition::Refused(r) if r.why.name() == "NotAVirtualAddress"));
    assert!(desires.plan(ms(1)).1.is_empty());
}

#[test]
fn both_families_are_wanted() {
    let mut link = link(true);
    link.addresses.push("fd00:99::10/64".parse().unwrap());
    let links = Seen::Links([link].into());
    let mut desires =
        desires([policy(PolicyKind::Gateherald), node(), links, service(&[VIP, "fd00:99::128"])]);
    let (plan, _) = desires.plan(ms(0));
    assert_eq!(wanted(&plan), [ip(VIP), ip("fd00:99::128")]);
    assert_eq!(plan.reach.len(), 2);
}

#[test]
fn a_node_that_is_taken_out_answers_on_while_it_hands_over_and_for_no_longer() {
    let mut desires = complete();
    desires.plan(ms(0));
    let labels = BTreeMap::from([(gateherald_model::service::ANNOUNCE.to_owned(), "false".to_owned())]);
    let out = NodeView { name: "worker-1".to_owned(), labels, ..NodeView::default() };
    desires.see(Seen::Nodes(Change::Set("worker-1".to_owned(), out)));
    let (plan, _) = desires.plan(ms(1000));
    assert!(plan.wants[&ip(VIP)].leaving && plan.outlook.evaluation.desired.is_empty());
    assert_eq!(plan.reach[&ip(VIP)], [2].into());
    assert_eq!(desires.next_deadline(), Some(ms(6000)));
    // What leaves its Service meanwhile is silent like anything that does.
    desires.see(service(&[]));
    let (gone, _) = desires.plan(ms(5999));
    assert!(answered(&gone).is_empty() && wanted(&gone).is_empty());
    desires.see(service(&[VIP]));
    assert!(wanted(&desires.plan(ms(6000)).0).is_empty(), "it is not taken up again");
    desires.see(node());
    let (plan, _) = desires.plan(ms(6001));
    assert!(!plan.wants[&ip(VIP)].leaving);
    let labels = BTreeMap::from([(gateherald_model::service::ANNOUNCE.to_owned(), "false".to_owned())]);
    let out = NodeView { name: "worker-1".to_owned(), labels, ..NodeView::default() };
    desires.see(Seen::Nodes(Change::Set("worker-1".to_owned(), out)));
    assert_eq!(answered(&desires.plan(ms(7000)).0), [ip(VIP)]);
    assert_eq!(answered(&desires.plan(ms(11_999)).0), [ip(VIP)]);
    let (plan, _) = desires.plan(ms(12_000));
    assert!(wanted(&plan).is_empty() && answered(&plan).is_empty());
}

#[test]
fn a_services_preferred_node_is_wanted_with_its_addresses() {
    let mut desires = complete();
    let Seen::Services(Change::Set(key, view)) = service(&[VIP]) else { panic!("a Service") };
    let view = Box::new(ServiceView { preferred_node: Some("worker-2".to_owned()), ..*view });
    desires.see(Seen::Services(Change::Set(key, view)));
    let (plan, _) = desires.plan(ms(0));
    assert_eq!(plan.wants[&ip(VIP)].preferred_node.as_deref(), Some("worker-2"));
}

fn local_service() -> Seen {
    let Seen::Services(Change::Set(key, view)) = service(&[VIP]) else { panic!("a Service") };
    Seen::Services(Change::Set(key, Box::new(ServiceView { local: true, ..*view })))
}

fn slice_of(service: &str, node: &str) -> (SliceKey, SliceView) {
    let view = SliceView {
        service: Some(ServiceKey::new("prod", service)),
        family: Some(gateherald_model::interfaces::Family::V4),
        ready: BTreeSet::from([node.to_owned()]),
        placed: true,
        ..SliceView::default()
    };
    (SliceKey { namespace: "prod".to_owned(), name: format!("{service}-1") }, view)
}

const GATEWAY_SERVICE: &str = "cilium-gateway-cd-arp-gw";

fn reasons(plan: &Plan) -> Vec<&'static str> {
    plan.outlook.evaluation.not_announced.iter().map(|refused| refused.why.name()).collect()
}

#[test]
fn endpoints_are_asked_for_only_while_a_service_is_bound_to_them() {
    let mut desires = complete();
    desires.plan(ms(0));
    assert!(!desires.needs_endpoints());
    desires.see(local_service());
    let (plan, _) = desires.plan(ms(1));
    assert!(desires.needs_endpoints());
    assert_eq!((answered(&plan), reasons(&plan)), (vec![], vec!["EndpointsUnknown"]));
    assert_eq!(wanted(&plan), [ip(VIP)], "the claim stays while they are listed");
    let (here, elsewhere) = (slice_of(GATEWAY_SERVICE, "worker-1"), slice_of(GATEWAY_SERVICE, "worker-2"));
    assert!(desires.see(Seen::Slices(Change::All(vec![here.clone()]))));
    assert_eq!(answered(&desires.plan(ms(2)).0), [ip(VIP)]);
    // The last endpoint here goes, and the address at once.
    assert!(desires.see(Seen::Slices(Change::Set(elsewhere.0, elsewhere.1))));
    let (plan, _) = desires.plan(ms(3));
    assert_eq!((wanted(&plan), reasons(&plan)), (vec![], vec!["NoLocalEndpoint"]));
    assert!(desires.see(Seen::Slices(Change::Gone(here.0.clone()))));
    assert_eq!(reasons(&desires.plan(ms(4)).0), ["NoEndpoints"]);
    desires.see(service(&[VIP]));
    assert_eq!(answered(&desires.plan(ms(5)).0), [ip(VIP)]);
    assert!(!desires.needs_endpoints());
    // The watch has ended: what it still had to tell counts for nothing.
    desires.see(Seen::SlicesUnknown(UNLISTED.to_owned()));
    assert!(!desires.see(Seen::Slices(Change::Set(here.0, here.1))));
    desires.see(local_service());
    assert_eq!(reasons(&desires.plan(ms(6)).0), ["EndpointsUnknown"]);
}

#[test]
fn slices_that_bear_on_nothing_are_remembered_and_not_evaluated() {
    let mut desires = complete();
    desires.see(local_service());
    desires.plan(ms(0));
    let (key, view) = slice_of(GATEWAY_SERVICE, "worker-1");
    let (other_key, other) = slice_of("db", "worker-1");
    desires.see(Seen::Slices(Change::All(vec![(key.clone(), view.clone())])));
    desires.plan(ms(1));
    assert!(!desires.see(Seen::Slices(Change::Set(key.clone(), view.clone()))), "nothing changed");
    assert!(!desires.see(Seen::Slices(Change::Set(other_key.clone(), other))));
    assert!(!desires.see(Seen::Slices(Change::Gone(other_key))));
    // One that is given to another Service is missed by its old one.
    let given = SliceView { service: Some(ServiceKey::new("prod", "db")), ..view };
    assert!(desires.see(Seen::Slices(Change::Set(key, given))));
}

#[test]
fn nobody_may_look_at_endpoints_and_that_is_the_reason_told() {
    let mut desires = complete();
    desires.see(local_service());
    desires.plan(ms(0));
    let said = "RBAC does not allow to list endpointslices.discovery.k8s.io";
    desires.see(Seen::SlicesUnknown(said.to_owned()));
    let (plan, transitions) = desires.plan(ms(1));
    assert!(answered(&plan).is_empty());
    let told =
        |t: &Transition| matches!(t, Transition::Refused(refused) if refused.why.to_string().contains(said));
    assert!(transitions.iter().any(told), "{transitions:?}");
}

fn version(uid: &str, generation: i64, interfaces: &str) -> PolicyVersion {
    let spec = L2AnnouncementPolicySpec {
        load_balancer_ips: true,
        interfaces: vec![interfaces.to_owned()],
        ..L2AnnouncementPolicySpec::default()
    };
    PolicyVersion { uid: uid.to_owned(), generation, spec: Ok(spec), status: None }
}

fn ours(name: &str) -> PolicyId {
    PolicyId::new(PolicyKind::Gateherald, name)
}

fn listed(versions: &[(&str, PolicyVersion)]) -> Seen {
    let all = versions.iter().map(|(name, version)| (ours(name), version.clone())).collect();
    Seen::Policies(PolicyKind::Gateherald, Change::All(all))
}

fn permutations<T: Clone>(of: &[T]) -> Vec<Vec<T>> {
    let Some((first, rest)) = of.split_first() else { return vec![Vec::new()] };
    let insert = |tail: Vec<T>| {
        (0..=tail.len())
            .map(move |at| [&tail[..at], std::slice::from_ref(first), &tail[at..]].concat())
            .collect::<Vec<_>>()
    };
    permutations(rest).into_iter().flat_map(insert).collect()
}

#[test]
fn happy_path_in_every_order_of_events_ends_alike() {
    let events = [policy(PolicyKind::Gateherald), node(), Seen::Links([link(true)].into()), service(&[VIP])];
    let mut transitions = Vec::new();
    for order in permutations(&events) {
        let mut desires = desires([]);
        let mut told = Vec::new();
        for (number, seen) in order.into_iter().enumerate() {
            assert!(answered(&desires.plan(ms(number as u64)).0).is_empty());
            desires.see(seen);
            told.extend(desires.plan(ms(number as u64)).1);
        }
        let (plan, _) = desires.plan(ms(10));
        assert_eq!((wanted(&plan), answered(&plan)), (vec![ip(VIP)], vec![ip(VIP)]));
        transitions.push(told.into_iter().filter(|t| matches!(t, Transition::Selected(..))).count());
    }
    assert_eq!(transitions, [1; 24]);
}

#[test]
fn policy_redundancy_leaves_no_gap() {
    let mut desires = complete();
    desires.see(listed(&[("a", version("a", 1, "ens18")), ("b", version("b", 1, "ens18"))]));
    desires.plan(ms(0));
    desires.see(Seen::Policies(PolicyKind::Gateherald, Change::Gone(ours("a"))));
    let (plan, transitions) = desires.plan(ms(1));
    assert_eq!((answered(&plan), wanted(&plan)), (vec![ip(VIP)], vec![ip(VIP)]));
    assert!(transitions.iter().all(|t| matches!(t, Transition::Selected(..))), "{transitions:?}");
    desires.see(Seen::Policies(PolicyKind::Gateherald, Change::Gone(ours("b"))));
    let (plan, transitions) = desires.plan(ms(2));
    assert!(answered(&plan).is_empty() && wanted(&plan).is_empty(), "DelPolicy takes effect at once");
    assert!(transitions.contains(&Transition::Unselected(ip(VIP))));
}

#[test]
fn change_interfaces_moves_the_address_and_keeps_its_claim() {
    let mut desires = complete();
    let second = Link { index: 3, name: "ens19".to_owned(), ..link(true) };
    desires.see(Seen::Links([link(true), second].into()));
    desires.see(listed(&[("p", version("u", 1, "ens18"))]));
    assert_eq!(desires.plan(ms(0)).0.reach[&ip(VIP)], [2].into());
    desires.see(listed(&[("p", version("u", 2, "ens19"))]));
    let (plan, _) = desires.plan(ms(1));
    assert_eq!(plan.reach[&ip(VIP)], [3].into());
    assert_eq!((wanted(&plan), desires.next_deadline()), (vec![ip(VIP)], None));
}

#[test]
fn a_load_balancer_class_counts_also_when_only_a_policy_comes_later() {
    for (class, expected) in [("io.cilium/l2-announcer", vec![ip(VIP)]), ("other", Vec::new())] {
        let mut desires = complete();
        desires.see(Seen::Policies(PolicyKind::Gateherald, Change::All(Vec::new())));
        let Seen::Services(Change::Set(key, mut view)) = service(&[VIP]) else { unreachable!() };
        view.load_balancer_class = Some(class.to_owned());
        desires.see(Seen::Services(Change::Set(key, view)));
        assert!(answered(&desires.plan(ms(0)).0).is_empty());
        desires.see(policy(PolicyKind::Gateherald));
        assert_eq!(answered(&desires.plan(ms(1)).0), expected, "{class}");
    }
}

#[test]
fn a_bad_edit_stays_without_effect_also_when_a_new_list_brings_it() {
    let (good, bad) = (version("u", 1, "ens18"), version("u", 2, "("));
    let undecodable = PolicyVersion { spec: Err("no".to_owned()), ..version("u", 3, "ens18") };
    let mut desires = complete();
    desires.see(listed(&[("p", good)]));
    desires.plan(ms(0));
    for (edit, reason) in [(bad.clone(), "BadInterfaceRegex"), (undecodable, "Undecodable")] {
        desires.see(listed(&[("p", edit.clone())]));
        let (plan, _) = desires.plan(ms(1));
        assert_eq!(answered(&plan), [ip(VIP)]);
        let verdict = &plan.outlook.verdicts[&ours("p")];
        assert_eq!(
            (verdict.reason, verdict.generation, verdict.in_force),
            (reason, edit.generation, Some(1))
        );
        let refused =
            plan.outlook.evaluation.not_announced.iter().find(|refused| refused.why.name() == reason);
        assert!(refused.unwrap().why.to_string().ends_with("; generation 1 stays in force"));
    }
    // Deleted and made again while nobody watched: the old one's version is not the new one's.
    desires.see(listed(&[("p", PolicyVersion { uid: "other".to_owned(), ..bad })]));
    let (plan, _) = desires.plan(ms(2));
    assert!(answered(&plan).is_empty());
    assert_eq!(plan.outlook.verdicts[&ours("p")].in_force, None);
}

#[test]
fn policies_that_are_left_to_cilium_have_that_reason_and_keep_their_last_good_version() {
    let mut desires = complete();
    let id = PolicyId::new(PolicyKind::Cilium, "theirs");
    let set = |version| Seen::Policies(PolicyKind::Cilium, Change::Set(id.clone(), version));
    desires.see(Seen::Policies(PolicyKind::Gateherald, Change::All(Vec::new())));
    desires.see(Seen::Cilium(Stance::Honoured));
    desires.see(set(version("u", 1, "ens18")));
    assert_eq!(answered(&desires.plan(ms(0)).0), [ip(VIP)]);
    desires.see(Seen::Cilium(Stance::ConfiguredInCilium));
    let (plan, transitions) = desires.plan(ms(1));
    assert!(answered(&plan).is_empty() && plan.outlook.verdicts.is_empty());
    let left = |t: &Transition| matches!(t, Transition::Refused(r) if matches!(&r.why, Why::LeftToCilium(_)));
    assert_eq!(transitions.iter().filter(|t| left(t)).count(), 1, "{transitions:?}");
    assert!(!desires.plan(ms(2)).1.iter().any(left), "told once");
    desires.see(set(version("u", 2, "(")));
    desires.see(Seen::Cilium(Stance::Honoured));
    let (plan, _) = desires.plan(ms(3));
    assert_eq!(answered(&plan), [ip(VIP)]);
    assert_eq!(plan.outlook.verdicts[&id].in_force, Some(1));
}

#[test]
fn a_survey_waits_for_everything_and_then_counts_what_this_node_may_not_announce() {
    let mut desires = desires([policy(PolicyKind::Gateherald), node(), service(&[VIP])]);
    assert!(desires.survey().is_none());
    desires.see(Seen::Links([link(false)].into()));
    let survey = desires.survey().unwrap();
    let selection = &survey.overview.policies[&ours("mdhlabs-layer2-policy")];
    assert_eq!((selection.services, selection.addresses.len(), selection.nodes.len()), (1, 1, 1));
    assert_eq!(survey.verdicts.len(), 1);
}
