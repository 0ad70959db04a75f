// SPDX-License-Identifier: Apache-2.0
//! Writes that are undone, that change nothing, that are seen late, and many decisions at once.

use super::*;

const BOTH: [(&str, &str); 2] = [("a", "1"), ("b", "1")];

#[test]
fn an_opponent_that_undoes_something_else_each_time_is_left_alone_too() {
    let mut bench = Bench::new(Mode::Repair, &BOTH);
    bench.see(service("web", 1, &[], &[]));
    let (mut version, mut written) = (1, 0);
    let mut told = 0;
    // Every ten seconds it takes away a, then b, then a.
    for round in 0..60 {
        if let Some(order) = bench.order() {
            written += 1;
            version += 1;
            bench.written(&order, service("web", version, &BOTH, &BOTH));
            assert_eq!(bench.order(), None);
            version += 1;
            bench.see(service("web", version, &[BOTH[round % 2]], &[BOTH[round % 2]]));
        }
        told += bench.told().into_iter().filter(|kind| *kind == "LabelsNotKept").count();
        bench.pass(S * 10);
    }
    // Six, and one after each of the first two pauses.
    assert_eq!((written, told), (8, 1));
    let counts = bench.reconciler.counts();
    assert_eq!((counts.fights, counts.backed_off, counts.drifted), (1, 1, 1));
}

#[test]
fn a_gateway_that_changes_often_is_no_opponent() {
    let mut bench = Bench::new(Mode::Repair, &[("a", "0")]);
    bench.see(service("web", 1, &[], &[]));
    for round in 0..30_u32 {
        let value = round.to_string();
        let labels = [("a", value.as_str())];
        bench.gateway(Some(named(&labels)));
        let order = bench.expect_order();
        bench.written(&order, service("web", round + 2, &labels, &labels));
        assert_eq!(bench.order(), None);
        bench.pass(S);
    }
    assert_eq!(bench.reconciler.counts().fights, 0);
}

#[test]
fn a_list_from_before_a_write_is_no_undo() {
    let there = service("web", 1, &[], &[]);
    let mut bench = Bench::with_services(Mode::Repair, &[("a", "1")], vec![there.clone()]);
    for round in 0..5 {
        let order = bench.expect_order();
        if round == 0 {
            bench.done(&order, Done::Written("2".into()));
        } else {
            // It was written all the while; the event is lost.
            bench.done(&order, Done::Conflict);
        }
        // Served before the write, handled after it.
        bench.reconciler.all(vec![there.clone()], bench.now);
        assert_eq!(bench.order(), None, "what is known is older than what was written");
        bench.pass(LOST_EVENT);
    }
    assert_eq!(bench.reconciler.counts().fights, 0);
    // The event at last: nothing is to be done, and the next one who takes the label is the first.
    bench.see(service("web", 2, &[("a", "1")], &[("a", "1")]));
    assert_eq!(bench.order(), None);
    bench.see(service("web", 3, &[], &[]));
    assert_eq!(bench.expect_order().version, "3");
}

#[test]
fn only_a_write_that_left_another_version_changed_something() {
    let mut bench = Bench::with_services(Mode::Repair, &[("a", "1")], vec![service("web", 7, &[], &[])]);
    let order = bench.expect_order();
    assert!(Done::Written("8".into()).changed(&order));
    for done in [Done::Written("7".into()), Done::Conflict, Done::Gone, Done::Outdated, Done::Failed] {
        assert!(!done.changed(&order), "{done:?}");
    }
}

#[test]
fn many_services_are_decided_about_in_batches() {
    let fine = |n| service(&format!("web-{n}"), 1, &[("a", "1")], &[("a", "1")]);
    let mut services: Vec<_> = (0..1000).map(fine).collect();
    services.push(service("zz-drifted", 1, &[], &[]));
    let mut bench = Bench::with_services(Mode::Repair, &[("a", "1")], services);
    for batch in 1..4 {
        assert_eq!(bench.order(), None);
        assert_eq!(bench.reconciler.counts().queued, 1001 - batch * BATCH);
        // Go on at once, after everybody else.
        assert_eq!(bench.reconciler.deadline(bench.now), Some(bench.now));
    }
    assert_eq!(bench.expect_order().service, key("zz-drifted"));
    assert_eq!((bench.order(), bench.reconciler.counts().queued), (None, 0));
}

#[test]
fn a_change_of_nothing_but_the_memory_is_told_as_that() {
    let mut bench = Bench::new(Mode::Report, &[("a", "1")]);
    let mut opted_out = service("web", 1, &[("a", "1")], &[("a", "1")]);
    bench.see(opted_out.clone());
    assert_eq!(bench.order(), None);
    bench.told();
    opted_out.metadata.annotations.insert(INJECT.into(), "false".into());
    opted_out.version = "2".into();
    bench.see(opted_out);
    assert_eq!(bench.order(), None);
    let notices = bench.reconciler.take_notices();
    assert!(notices[0].message.contains(": what Gateherald remembers."), "{notices:?}");
}
