// SPDX-License-Identifier: Apache-2.0
use super::*;

fn publisher() -> Publisher {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    Publisher::new(Client::try_from(config).unwrap(), "gateherald.io/test", "node-1")
}

fn occurrence(name: &str, uid: &str, note: &str) -> Occurrence {
    let regarding =
        ObjectReference { name: Some(name.into()), uid: Some(uid.into()), ..ObjectReference::default() };
    Occurrence { regarding, warning: true, reason: "Told", action: "Tell", note: note.into(), news: true }
}

fn name(publisher: &Publisher, occurrence: &Occurrence) -> String {
    publisher.event(occurrence, "default").metadata.name.unwrap()
}

#[tokio::test]
async fn what_says_the_same_of_the_same_object_has_the_same_name_and_nothing_else_has() {
    let publisher = publisher();
    let first = name(&publisher, &occurrence("web", "u1", "a"));
    assert_eq!(first, name(&publisher, &occurrence("web", "u1", "a")));
    assert!(first.starts_with("web."), "{first}");
    for other in [occurrence("web", "u2", "a"), occurrence("web", "u1", "b"), occurrence("we", "u1", "a")] {
        assert_ne!(first, name(&publisher, &other));
    }
}

#[tokio::test]
async fn long_names_and_notes_are_cut_to_what_the_api_server_takes() {
    let publisher = publisher();
    let long = occurrence(&"a.".repeat(126), "u", &"ä".repeat(700));
    let event = publisher.event(&long, "default");
    let name = event.metadata.name.unwrap();
    assert!(name.len() <= 253 && !name.contains(".."), "{name}");
    assert_eq!(event.note.unwrap().len(), 1024);
}

#[tokio::test(start_paused = true)]
async fn a_storm_spends_the_budget_and_warnings_have_their_own() {
    let mut budget = Budget::new(3, 60);
    let taken =
        |budget: &mut Budget, warning| (0..100).filter(|_| budget.take(warning, Instant::now())).count();
    assert_eq!(taken(&mut budget, false), 3);
    assert_eq!(taken(&mut budget, true), 3);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(taken(&mut budget, false), 2);
}

#[tokio::test]
async fn what_nobody_takes_in_time_is_counted() {
    let dropped = Counter::default();
    let (teller, mut told) = queue(2, dropped.clone());
    for number in 0..5 {
        teller.clone().tell(number);
    }
    assert_eq!(dropped.get(), 3);
    assert_eq!((told.recv().await, told.recv().await), (Some(0), Some(1)));
}
