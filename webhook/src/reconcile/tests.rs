// SPDX-License-Identifier: Apache-2.0
//! Given what the watches show, the reconciler orders and tells exactly this.

use std::collections::HashMap;

use gateherald_model::{
    memory::INJECTED_LABELS,
    metadata::OwnerReference,
    owner::INJECT,
    selector::{LabelSelector, Selector},
};
use serde_json::json;

use super::{judgement::Reason, *};

mod writes;

const S: Duration = Duration::from_secs(1);

fn map(pairs: &[(&str, &str)]) -> LabelMap {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

fn named(labels: &[(&str, &str)]) -> Gateway {
    Gateway { uid: "gw-uid".into(), labels: map(labels).into(), ..Gateway::default() }
}

/// A Service `prod/name` of Gateway `prod/gw` with these labels and this memory, in this version.
fn service(name: &str, version: u32, labels: &[(&str, &str)], memory: &[(&str, &str)]) -> Seen {
    let owner = OwnerReference {
        api_version: "gateway.networking.k8s.io/v1".into(),
        kind: "Gateway".into(),
        name: "gw".into(),
        uid: "gw-uid".into(),
        controller: Some(true),
    };
    let mut metadata = Metadata {
        namespace: "prod".into(),
        name: name.into(),
        uid: format!("{name}-uid"),
        labels: map(labels),
        owner_references: vec![owner],
        ..Metadata::default()
    };
    if !memory.is_empty() {
        metadata.annotations.insert(INJECTED_LABELS.into(), json!(map(memory)).to_string());
    }
    Seen { metadata, version: version.to_string() }
}

fn key(name: &str) -> ServiceKey {
    ServiceKey { namespace: "prod".into(), name: name.into() }
}

fn gateway_key() -> GatewayKey {
    GatewayKey { namespace: "prod".into(), name: "gw".into() }
}

struct Bench {
    reconciler: Reconciler,
    gateways: Arc<Gateways>,
    now: Instant,
}

impl Bench {
    /// Everything is known, and there is no Service.
    fn new(mode: Mode, labels: &[(&str, &str)]) -> Self {
        Self::with_services(mode, labels, Vec::new())
    }

    fn with_services(mode: Mode, labels: &[(&str, &str)], services: Vec<Seen>) -> Self {
        let mut bench = Self::blind(mode);
        bench.gateway(Some(named(labels)));
        bench.reconciler.gateways_changed();
        bench.reconciler.registered(everything());
        bench.reconciler.all_namespaces(HashMap::from([("prod".into(), LabelMap::new())]));
        bench.reconciler.all(services, bench.now);
        bench
    }

    fn blind(mode: Mode) -> Self {
        let gateways = Arc::new(Gateways::default());
        let pace = Pace { in_flight: 4, per_second: 1000 };
        let reconciler = Reconciler::new(mode, pace, Arc::default(), Arc::clone(&gateways));
        Self { reconciler, gateways, now: Instant::now() }
    }

    fn gateway(&mut self, gateway: Option<Gateway>) {
        match gateway {
            Some(gateway) => self.gateways.set("prod".into(), "gw".into(), gateway),
            None => self.gateways.remove("prod".into(), "gw".into()),
        }
        self.reconciler.gateway_changed(&gateway_key());
    }

    fn see(&mut self, seen: Seen) {
        self.reconciler.applied(seen, self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn order(&mut self) -> Option<Order> {
        self.reconciler.order(self.now)
    }

    fn expect_order(&mut self) -> Order {
        self.order().expect("an order")
    }

    #[expect(clippy::needless_pass_by_value, reason = "literals read better without a reference")]
    fn done(&mut self, order: &Order, done: Done) {
        self.reconciler.done(order, &done, self.now);
    }

    /// A write that succeeds, and the event that shows what it did.
    fn written(&mut self, order: &Order, after: Seen) {
        self.done(order, Done::Written(after.version.clone()));
        self.see(after);
    }

    fn told(&mut self) -> Vec<&'static str> {
        self.reconciler.take_notices().into_iter().map(|notice| notice.kind.reason()).collect()
    }
}

fn everything() -> Registration {
    Registration::Selects { namespaces: Selector::default(), services: Selector::default() }
}

#[test]
fn nothing_is_ordered_before_everything_was_seen_that_decides() {
    type Step = fn(&mut Bench);
    let steps: [Step; 4] = [
        |bench| bench.reconciler.all(vec![service("web", 1, &[], &[])], bench.now),
        |bench| bench.reconciler.gateways_changed(),
        |bench| bench.reconciler.registered(everything()),
        |bench| bench.reconciler.all_namespaces(HashMap::from([("prod".into(), LabelMap::new())])),
    ];
    for first in 0..steps.len() {
        let mut bench = Bench::blind(Mode::Repair);
        bench.gateway(Some(named(&[("a", "1")])));
        for step in 0..steps.len() {
            assert_eq!(bench.order(), None, "beginning with {first}, before {step}");
            steps[(first + step) % steps.len()](&mut bench);
        }
        assert_eq!(bench.expect_order().service, key("web"), "beginning with {first}");
    }
}

#[test]
fn a_service_that_lacks_labels_is_patched_in_the_version_that_was_decided_for() {
    let mut bench =
        Bench::with_services(Mode::Repair, &[("a", "1")], vec![service("web", 7, &[("x", "9")], &[])]);
    let order = bench.expect_order();
    assert_eq!((order.uid.as_str(), order.version.as_str()), ("web-uid", "7"));
    assert_eq!(order.need.reason, Reason::Injected);
    let metadata = &order.need.patch["metadata"];
    assert_eq!(metadata["labels"], json!({ "a": "1" }));
    assert_eq!(metadata["annotations"], json!({ INJECTED_LABELS: r#"{"a":"1"}"# }));
    assert!(order.confirm);
    // Until its event comes nothing else is known, whatever happens to the Gateway.
    bench.done(&order, Done::Written("8".into()));
    bench.gateway(Some(named(&[("a", "2")])));
    assert_eq!(bench.order(), None);
    bench.see(service("web", 8, &[("a", "1"), ("x", "9")], &[("a", "1")]));
    let order = bench.expect_order();
    assert_eq!((order.version.as_str(), order.need.reason), ("8", Reason::Updated));
    assert_eq!(order.need.patch["metadata"]["labels"], json!({ "a": "2" }));
}

#[test]
fn what_is_in_order_or_none_of_our_business_is_left_alone() {
    let ok = service("ok", 1, &[("a", "1")], &[("a", "1")]);
    let mut opted_out = service("opted-out", 1, &[], &[]);
    opted_out.metadata.annotations.insert(INJECT.into(), "false".into());
    let mut going = service("going", 1, &[], &[]);
    going.metadata.deletion_timestamp = Some("2024-01-02T03:04:05Z".into());
    let mut replaced = service("replaced", 1, &[("a", "0")], &[("a", "0")]);
    replaced.metadata.owner_references[0].uid = "another".into();
    let mut elsewhere = service("elsewhere", 1, &[], &[]);
    elsewhere.metadata.namespace = "unknown".into();
    let all = vec![ok, opted_out, going, replaced, elsewhere];
    let mut bench = Bench::with_services(Mode::Repair, &[("a", "1")], all);
    assert_eq!(bench.order(), None);
    assert_eq!(bench.told(), [""; 0]);
}

#[test]
fn a_service_that_opts_out_is_forgotten_and_a_missing_gateway_takes_nothing() {
    let mut opted_out = service("web", 1, &[("a", "1")], &[("a", "1")]);
    opted_out.metadata.annotations.insert(INJECT.into(), "false".into());
    let mut bench = Bench::with_services(Mode::Repair, &[("a", "1")], vec![opted_out]);
    let order = bench.expect_order();
    assert_eq!(order.need.reason, Reason::Memory);
    assert_eq!(order.need.patch["metadata"]["annotations"], json!({ INJECTED_LABELS: null }));
    let mut bench = Bench::with_services(
        Mode::Repair,
        &[("a", "1")],
        vec![service("web", 1, &[("a", "1")], &[("a", "1")])],
    );
    bench.gateway(None);
    assert_eq!(bench.order(), None);
    bench.gateway(Some(Gateway { deleting: true, ..named(&[]) }));
    assert_eq!(bench.order(), None);
    bench.gateway(Some(named(&[])));
    assert_eq!(bench.expect_order().need.reason, Reason::Removed);
}

#[test]
fn the_registration_decides_which_services_are_ours() {
    let selector = |text: serde_json::Value| {
        Selector::compile(Some(&serde_json::from_value::<LabelSelector>(text).unwrap())).unwrap()
    };
    let mut bench = Bench::with_services(Mode::Repair, &[("a", "1")], vec![service("web", 1, &[], &[])]);
    bench.reconciler.registered(Registration::Selects {
        namespaces: selector(json!({ "matchLabels": { "in": "yes" } })),
        services: selector(
            json!({ "matchExpressions": [{ "key": "hands-off", "operator": "DoesNotExist" }] }),
        ),
    });
    assert_eq!(bench.order(), None);
    bench.reconciler.namespace("prod", Some(map(&[("in", "yes")])));
    bench.see(service("web", 2, &[("hands-off", "")], &[]));
    assert_eq!(bench.order(), None);
    bench.see(service("web", 3, &[], &[]));
    assert_eq!(bench.expect_order().version, "3");
    bench.reconciler.registered(Registration::Unusable("gone".into()));
    bench.see(service("other", 4, &[], &[]));
    assert_eq!(bench.order(), None);
}

#[test]
fn other_rules_decide_about_everything_anew() {
    let there = service("web", 1, &[("a", "1")], &[("a", "1")]);
    let mut bench = Bench::with_services(Mode::Repair, &[("a", "1")], vec![there]);
    assert_eq!(bench.order(), None);
    let text = "apiVersion: config.gateherald.io/v1alpha1\nkind: LabelRules\nlabels: {exclude: [a]}";
    bench.reconciler.rules_changed(Arc::new(Rules::parse(text).unwrap()));
    let order = bench.expect_order();
    assert_eq!(order.need.patch["metadata"]["labels"], json!({ "a": null }));
}

#[test]
fn a_conflict_is_decided_about_again_at_the_next_event() {
    let mut bench = Bench::with_services(Mode::Repair, &[("a", "1")], vec![service("web", 1, &[], &[])]);
    let order = bench.expect_order();
    bench.done(&order, Done::Conflict);
    assert_eq!(bench.order(), None);
    bench.see(service("web", 2, &[], &[]));
    let order = bench.expect_order();
    assert_eq!(order.version, "2");
    // The event may be faster than the answer,
    bench.see(service("web", 3, &[], &[]));
    bench.done(&order, Done::Conflict);
    let order = bench.expect_order();
    assert_eq!(order.version, "3");
    // and it may be lost.
    bench.done(&order, Done::Conflict);
    bench.pass(LOST_EVENT);
    assert_eq!(bench.expect_order().version, "3");
}

#[test]
fn a_failed_write_is_tried_again_later_and_later() {
    let mut bench = Bench::with_services(Mode::Repair, &[("a", "1")], vec![service("web", 1, &[], &[])]);
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        let order = bench.expect_order();
        bench.done(&order, Done::Failed);
        // Events of other things do not make it faster.
        bench.gateway(Some(named(&[("a", "1")])));
        bench.pass(Duration::from_millis(1000 * seconds - 1));
        assert_eq!(bench.order(), None, "after {seconds} s");
        let due = bench.now + Duration::from_millis(1);
        assert_eq!(bench.reconciler.deadline(bench.now), Some(due));
        bench.pass(Duration::from_millis(1));
    }
    assert_eq!(bench.reconciler.counts().drifted, 1);
}

#[test]
fn a_gateway_is_confirmed_once_for_all_services_that_were_seen_before() {
    let services = (0..3).map(|n| service(&format!("web-{n}"), 1, &[], &[])).collect();
    let mut bench = Bench::with_services(Mode::Repair, &[("a", "1")], services);
    let first = bench.expect_order();
    assert!(first.confirm);
    bench.pass(S);
    let (gateway, known) = first.gateway.clone().unwrap();
    bench.reconciler.confirm(gateway, known, bench.now);
    assert!(!bench.expect_order().confirm);
    // One that was seen later may have been written by somebody who knows a newer Gateway,
    bench.pass(S);
    bench.see(service("web-2", 2, &[], &[]));
    let order = bench.expect_order();
    assert!(order.confirm);
    // and when it turns out to be so, it waits for the cache.
    bench.done(&order, Done::Outdated);
    assert_eq!(bench.order(), None);
    bench.gateway(Some(named(&[("a", "2")])));
    let order = bench.expect_order();
    assert_eq!((order.confirm, &order.need.patch["metadata"]["labels"]), (true, &json!({ "a": "2" })));
}

#[test]
fn a_change_that_is_undone_twice_is_left_for_a_while_and_told_once() {
    let mut bench = Bench::new(Mode::Repair, &[("a", "1")]);
    bench.see(service("web", 1, &[], &[]));
    let mut version = 1;
    let mut round = |bench: &mut Bench| {
        let order = bench.expect_order();
        version += 1;
        bench.written(&order, service("web", version, &[("a", "1")], &[("a", "1")]));
        assert_eq!(bench.order(), None);
        version += 1;
        // Whoever undoes it may leave the memory or not.
        let memory: &[_] = if version % 4 == 1 { &[("a", "1")] } else { &[] };
        bench.see(service("web", version, &[], memory));
    };
    round(&mut bench);
    round(&mut bench);
    assert_eq!(bench.order(), None);
    let counts = bench.reconciler.counts();
    assert_eq!((counts.backed_off, counts.fights, counts.drifted), (1, 1, 1));
    assert_eq!(bench.told().into_iter().filter(|kind| *kind == "LabelsNotKept").count(), 1);
    for minutes in [2, 4, 8, 16, 32, 64, 120, 120] {
        bench.pass(S * (60 * minutes - 1));
        bench.gateway(Some(named(&[("a", "1")])));
        assert_eq!(bench.order(), None, "after {minutes} min");
        bench.pass(S);
        round(&mut bench);
        assert_eq!(bench.order(), None);
    }
    assert!(!bench.told().contains(&"LabelsNotKept"));
    assert_eq!(bench.reconciler.counts().fights, 1);
    // Another value is another matter.
    bench.gateway(Some(named(&[("a", "2")])));
    assert!(bench.order().is_some());
    assert_eq!(bench.reconciler.counts().backed_off, 0);
}

#[test]
fn a_write_that_changed_nothing_counts_as_undone() {
    let mut bench = Bench::with_services(Mode::Repair, &[("a", "1")], vec![service("web", 1, &[], &[])]);
    for _ in 0..2 {
        let order = bench.expect_order();
        // An admission plugin took it back, so there is no event.
        bench.done(&order, Done::Written("1".into()));
        assert_eq!(bench.order(), None);
        bench.pass(AGAIN);
    }
    assert_eq!(bench.order(), None);
    assert_eq!(bench.told(), ["LabelsNotKept"]);
}

#[test]
fn no_more_is_under_way_or_written_per_second_than_the_pace_allows() {
    let services: Vec<_> = (0..100).map(|n| service(&format!("web-{n}"), 1, &[], &[])).collect();
    let mut bench = Bench::with_services(Mode::Repair, &[("a", "1")], services);
    let mut under_way: Vec<_> = std::iter::from_fn(|| bench.order()).collect();
    assert_eq!(under_way.len(), 4);
    assert_eq!(bench.reconciler.counts().in_flight, 4);
    let begin = bench.now;
    let mut written = 0;
    while let Some(order) = under_way.pop() {
        let after = service(&order.service.name, 2, &[("a", "1")], &[("a", "1")]);
        bench.written(&order, after);
        written += 1;
        if let Some(at) = bench.reconciler.deadline(bench.now) {
            bench.now = bench.now.max(at);
        }
        under_way.extend(std::iter::from_fn(|| bench.order()));
        assert!(under_way.len() <= 4);
    }
    assert_eq!(written, 100);
    // 1000 per second, less the first handful.
    assert!(bench.now - begin >= Duration::from_millis(96), "{:?}", bench.now - begin);
}

#[test]
fn a_service_that_goes_while_it_is_written_frees_its_place() {
    let mut bench = Bench::with_services(Mode::Repair, &[("a", "1")], vec![service("web", 1, &[], &[])]);
    let order = bench.expect_order();
    bench.reconciler.gone(&key("web"));
    assert_eq!(bench.reconciler.counts(), Counts::default());
    // One of the same name comes, and the old one's answer after it.
    let mut again = service("web", 9, &[], &[]);
    again.metadata.uid = "new".into();
    bench.see(again);
    let new = bench.expect_order();
    bench.done(&order, Done::Gone);
    assert_eq!(bench.reconciler.counts().in_flight, 1);
    bench.done(&new, Done::Gone);
    assert_eq!(bench.reconciler.counts().in_flight, 0);
}

#[test]
fn the_first_list_is_told_to_nobody_and_every_change_after_it_once() {
    let mut missing = service("missing", 1, &[], &[]);
    missing.metadata.owner_references[0].name = "none".into();
    let there = service("web", 1, &[("a", "1")], &[("a", "1")]);
    let mut bench = Bench::with_services(Mode::Repair, &[("a", "1")], vec![there.clone(), missing.clone()]);
    assert_eq!(bench.order(), None);
    bench.pass(CONFIRM * 2);
    assert_eq!(bench.order(), None);
    assert_eq!(bench.told(), [""; 0]);
    // A new list after a gap, and events that change nothing for us.
    bench.reconciler.all(vec![there, missing], bench.now);
    bench.see(service("web", 2, &[("a", "1"), ("own", "x")], &[("a", "1")]));
    assert_eq!(bench.order(), None);
    assert_eq!(bench.told(), [""; 0]);
    // What reviews did shows too.
    bench.see(service("web", 3, &[("a", "2"), ("b", "1")], &[("a", "2"), ("b", "1")]));
    bench.see(service("new", 4, &[("a", "1")], &[("a", "1")]));
    bench.see(service("web", 5, &[("b", "1")], &[("b", "1")]));
    let notices = bench.reconciler.take_notices();
    let told: Vec<_> = notices.iter().map(|n| (n.service.name.as_str(), n.kind.reason())).collect();
    assert_eq!(
        told,
        [
            ("web", "LabelsInjected"),
            ("web", "LabelsUpdated"),
            ("new", "LabelsInjected"),
            ("web", "LabelsRemoved")
        ]
    );
    assert!(notices[0].message.contains("Gateway prod/gw: b=1"), "{}", notices[0].message);
}

#[test]
fn a_gateway_that_is_missing_is_told_once_it_stays_missing() {
    let mut bench = Bench::new(Mode::Repair, &[("a", "1")]);
    bench.gateway(None);
    // The Gateway is seen a moment after its Service: no news.
    bench.see(service("web", 1, &[("a", "1")], &[("a", "1")]));
    bench.told();
    assert_eq!(bench.order(), None);
    bench.pass(CONFIRM / 2);
    bench.gateway(Some(named(&[("a", "1")])));
    assert_eq!(bench.order(), None);
    bench.pass(CONFIRM);
    assert_eq!(bench.order(), None);
    assert_eq!(bench.told(), [""; 0]);
    for _ in 0..2 {
        bench.gateway(None);
        assert_eq!(bench.order(), None);
        assert_eq!(bench.reconciler.deadline(bench.now), Some(bench.now + CONFIRM));
        bench.pass(CONFIRM);
        bench.see(service("web", 1, &[("a", "1")], &[("a", "1")]));
        assert_eq!(bench.order(), None);
        assert_eq!(bench.told(), ["GatewayMissing"]);
        bench.pass(CONFIRM * 2);
        bench.gateway(None);
        assert_eq!(bench.order(), None);
        assert_eq!(bench.told(), [""; 0]);
        bench.gateway(Some(named(&[("a", "1")])));
        assert_eq!(bench.order(), None);
    }
}

#[test]
fn report_mode_tells_drift_once_and_orders_nothing() {
    let first = service("first", 1, &[], &[]);
    let mut bench = Bench::with_services(Mode::Report, &[("a", "1")], vec![first]);
    assert_eq!(bench.order(), None);
    // What drifted before is a number, not news.
    assert_eq!((bench.told().len(), bench.reconciler.counts().drifted), (0, 1));
    bench.see(service("web", 2, &[("a", "1")], &[("a", "1")]));
    assert_eq!(bench.order(), None);
    bench.told();
    bench.gateway(Some(named(&[("a", "2")])));
    for version in 3..6 {
        assert_eq!(bench.order(), None);
        bench.see(service("web", version, &[("a", "1")], &[("a", "1")]));
    }
    assert_eq!(bench.order(), None);
    // The first one now needs something else than before.
    assert_eq!(bench.told(), ["LabelsDrifted", "LabelsDrifted"]);
    assert_eq!(bench.reconciler.counts().drifted, 2);
    bench.see(service("web", 6, &[("a", "2")], &[("a", "2")]));
    assert_eq!(bench.order(), None);
    assert_eq!(bench.reconciler.counts().drifted, 1);
}
