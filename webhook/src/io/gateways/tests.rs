// SPDX-License-Identifier: Apache-2.0
use gateherald_runtime::readiness::{Board, State};
use kube::core::{ObjectMeta, PartialObjectMetaExt};
use prometheus_client::registry::Registry;

use super::*;

fn object(namespace: &str, name: &str, uid: &str) -> Named {
    let metadata = ObjectMeta {
        namespace: Some(namespace.into()),
        name: Some(name.into()),
        uid: Some(uid.into()),
        ..ObjectMeta::default()
    };
    super::name(metadata.into_response_partial(), &Rules::default())
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
        age: Age::new(),
    };
    (watch, board)
}

fn uid(watch: &Watch, namespace: &str, name: &str) -> Option<String> {
    watch.gateways.get(namespace, name).map(|gateway| gateway.uid.clone())
}

fn all(gateways: &[(&str, &str, &str)]) -> News<Named> {
    News::All(
        gateways.iter().map(|(namespace, name, uid)| object(namespace, name, uid)).collect(),
        "1".into(),
    )
}

fn trouble() -> Trouble {
    Trouble::new("gateways")
}

#[test]
fn a_list_replaces_what_was_known() {
    let (watch, board) = watch();
    assert!(!*watch.synced.borrow());
    watch.see(all(&[("a", "one", "1")]), &Arc::default(), &mut trouble());
    assert!(*watch.synced.borrow() && board.report().is_ready());
    assert_eq!(uid(&watch, "a", "one").unwrap(), "1");
    watch.see(all(&[("a", "three", "3")]), &Arc::default(), &mut trouble());
    assert_eq!(watch.gateways.len(), 1);
    assert_eq!(uid(&watch, "a", "three").unwrap(), "3");
}

#[test]
fn single_events_change_single_gateways_and_are_told_after_they_did() {
    let (watch, _board) = watch();
    let mut changes = watch.gateways.changes();
    for news in [
        News::Applied(object("a", "one", "1")),
        News::Applied(object("b", "one", "2")),
        News::Applied(object("a", "one", "3")),
        News::Deleted(object("b", "one", "2")),
        News::Deleted(object("c", "unknown", "4")),
        all(&[("a", "one", "3")]),
    ] {
        watch.see(news, &Arc::default(), &mut trouble());
    }
    assert_eq!(uid(&watch, "a", "one").unwrap(), "3");
    assert_eq!(uid(&watch, "b", "one"), None);
    assert_eq!(watch.gateways.len(), 1);
    let told: Vec<_> = std::iter::from_fn(|| changes.try_recv().ok()).collect();
    let one = |namespace: &str, name: &str| Change::One { namespace: namespace.into(), name: name.into() };
    let expected = [one("a", "one"), one("b", "one"), one("a", "one"), one("b", "one"), one("c", "unknown")];
    assert_eq!(told, [expected.as_slice(), &[Change::All]].concat());
}

#[test]
fn of_annotations_only_those_that_the_rules_mention_are_kept() {
    let (watch, _board) = watch();
    let text = "apiVersion: config.gateherald.io/v1alpha1\nkind: LabelRules\nannotations: {include: [kept]}";
    let rules = Arc::new(Rules::parse(text).unwrap());
    let annotation = |key: &str| (key.to_owned(), "x".repeat(100_000));
    let metadata = ObjectMeta {
        namespace: Some("a".into()),
        name: Some("one".into()),
        annotations: Some([annotation("kept"), annotation("last-applied")].into()),
        ..ObjectMeta::default()
    };
    let listed = super::name(metadata.into_response_partial(), &rules);
    watch.see(News::All(vec![listed], "1".into()), &rules, &mut trouble());
    let gateway = watch.gateways.get("a", "one").unwrap();
    assert_eq!(gateway.annotations.keys().collect::<Vec<_>>(), ["kept"]);
    // From then on the rules decide.
    assert_eq!(*watch.in_force.borrow(), rules);
}

#[test]
fn a_watch_that_fails_says_why_and_keeps_what_it_knows() {
    let (watch, board) = watch();
    let failed = |problem, reason: &str| News::Failed(problem, reason.into());
    let reason = |board: &Board| match &board.report().parts()[0].1 {
        State::Ready => String::new(),
        State::Waiting(reason) => reason.clone(),
    };
    watch.see(failed(Problem::NotFound, "404"), &Arc::default(), &mut trouble());
    assert_eq!(reason(&board), "waiting for the Gateway API CRDs (gateways.gateway.networking.k8s.io)");
    watch.see(failed(Problem::Forbidden, "no rights"), &Arc::default(), &mut trouble());
    assert_eq!(reason(&board), "no rights");
    watch.see(all(&[("a", "one", "1")]), &Arc::default(), &mut trouble());
    watch.see(failed(Problem::Refused, "later"), &Arc::default(), &mut trouble());
    assert_eq!(reason(&board), "");
    assert_eq!(uid(&watch, "a", "one").unwrap(), "1");
    // A moment without the CRDs, as when an API server starts, ends when the watch is open again.
    watch.see(failed(Problem::NotFound, "404"), &Arc::default(), &mut trouble());
    assert_ne!(reason(&board), "");
    watch.see(News::Connected, &Arc::default(), &mut trouble());
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
