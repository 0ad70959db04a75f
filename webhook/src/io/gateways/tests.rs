// SPDX-License-Identifier: Apache-2.0
use gateherald_runtime::readiness::{Board, State};
use kube::core::{ObjectMeta, PartialObjectMetaExt, Status};
use prometheus_client::registry::Registry;

use super::*;

fn object(namespace: &str, name: &str, uid: &str) -> PartialObjectMeta<DynamicObject> {
    ObjectMeta {
        namespace: Some(namespace.into()),
        name: Some(name.into()),
        uid: Some(uid.into()),
        ..ObjectMeta::default()
    }
    .into_response_partial()
}

fn watch() -> (Watch, Board) {
    let mut board = Board::default();
    let watch = Watch {
        gateways: Arc::default(),
        synced: watch::Sender::new(false),
        wanted: watch::Sender::default().subscribe(),
        in_force: watch::Sender::default(),
        handle: board.part("gateways", "the first list is under way"),
        metrics: Metrics::register(&mut Registry::default()),
    };
    (watch, board)
}

fn uid(watch: &Watch, namespace: &str, name: &str) -> Option<String> {
    watch.gateways.get(namespace, name).map(|gateway| gateway.uid.clone())
}

#[test]
fn a_list_counts_when_it_is_complete_and_replaces_what_was_known() {
    let (watch, board) = watch();
    let mut listing = Listing::default();
    watch.see(Event::Init, &mut listing);
    watch.see(Event::InitApply(object("a", "one", "1")), &mut listing);
    assert!(!*watch.synced.borrow() && uid(&watch, "a", "one").is_none());
    watch.see(Event::InitDone, &mut listing);
    assert!(*watch.synced.borrow() && board.report().is_ready());
    assert_eq!(uid(&watch, "a", "one").unwrap(), "1");
    // A later list that fails half-way leaves what is known.
    watch.see(Event::Init, &mut listing);
    watch.see(Event::InitApply(object("b", "two", "2")), &mut listing);
    watch.see(Event::Init, &mut listing);
    assert_eq!(uid(&watch, "a", "one").unwrap(), "1");
    watch.see(Event::InitApply(object("a", "three", "3")), &mut listing);
    watch.see(Event::InitDone, &mut listing);
    assert_eq!(watch.gateways.len(), 1);
    assert_eq!(uid(&watch, "a", "three").unwrap(), "3");
}

#[test]
fn single_events_change_single_gateways() {
    let (watch, _board) = watch();
    let mut listing = Listing::default();
    for event in [
        Event::Apply(object("a", "one", "1")),
        Event::Apply(object("b", "one", "2")),
        Event::Apply(object("a", "one", "3")),
        Event::Delete(object("b", "one", "2")),
        Event::Delete(object("c", "unknown", "4")),
    ] {
        watch.see(event, &mut listing);
    }
    assert_eq!(uid(&watch, "a", "one").unwrap(), "3");
    assert_eq!(uid(&watch, "b", "one"), None);
    assert_eq!(watch.gateways.len(), 1);
}

#[test]
fn of_annotations_only_those_that_the_rules_mention_are_kept() {
    let (watch, _board) = watch();
    let text = "apiVersion: config.gateherald.io/v1alpha1\nkind: LabelRules\nannotations: {include: [kept]}";
    let rules = Arc::new(Rules::parse(text).unwrap());
    let mut listing = Listing { rules: Arc::clone(&rules), ..Listing::default() };
    let mut listed = object("a", "one", "1");
    let annotation = |key: &str| (key.to_owned(), "x".repeat(100_000));
    listed.metadata.annotations = Some([annotation("kept"), annotation("last-applied")].into());
    watch.see(Event::InitApply(listed), &mut listing);
    watch.see(Event::InitDone, &mut listing);
    let gateway = watch.gateways.get("a", "one").unwrap();
    assert_eq!(gateway.annotations.keys().collect::<Vec<_>>(), ["kept"]);
    // From then on the rules decide.
    assert_eq!(*watch.in_force.borrow(), rules);
}

fn refused(code: u16) -> watcher::Error {
    watcher::Error::InitialListFailed(kube::Error::Api(Status::failure("no", "x").with_code(code).boxed()))
}

#[test]
fn a_watch_that_fails_says_why_and_keeps_what_it_knows() {
    let (watch, board) = watch();
    let mut trouble = Trouble::new("gateways");
    let reason = |board: &Board| match &board.report().parts()[0].1 {
        State::Ready => String::new(),
        State::Waiting(reason) => reason.clone(),
    };
    watch.failed(&refused(404), &mut trouble);
    assert_eq!(reason(&board), "waiting for the Gateway API CRDs (gateways.gateway.networking.k8s.io)");
    watch.failed(&refused(403), &mut trouble);
    assert_eq!(reason(&board), "RBAC does not allow to list gateways.gateway.networking.k8s.io: no");
    watch.see(Event::InitDone, &mut Listing::default());
    watch.failed(&refused(500), &mut trouble);
    assert_eq!(reason(&board), "");
}

#[test]
fn what_is_no_name_is_not_put_into_a_url() {
    for name in ["a", "cd-arp-gw", "1", "a.b-c.d", &"x".repeat(253)] {
        assert!(is_name(name), "{name}");
    }
    for name in
        ["", ".", "..", "../secrets", "a/b", "a?b", "a#b", "a%2fb", "A", "-a", "a-", "a..b", "a\0", "\u{e9}"]
    {
        assert!(!is_name(name), "{name}");
    }
    assert!(!is_name(&"x".repeat(254)));
}
