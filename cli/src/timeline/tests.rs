// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::{
    fixtures::{now, remove, story, traces},
    vips::rows,
};

fn seen(timeline: &mut Timeline, claimed: bool, seconds: i64) {
    let snapshot = story(|o| {
        if !claimed {
            remove(o, "Lease", "gateherald-vip-");
        }
    });
    let traces = traces(&snapshot);
    let at = Timestamp::from_second(now().as_second() + seconds).unwrap();
    timeline.see(&rows(&traces.iter().collect::<Vec<_>>()), at);
}

#[test]
fn changes_of_hands_are_kept_newest_first() {
    let mut timeline = Timeline::default();
    seen(&mut timeline, true, 0);
    seen(&mut timeline, true, 1);
    seen(&mut timeline, false, 2);
    seen(&mut timeline, true, 3);
    let told: Vec<(Option<&str>, Option<&str>)> =
        timeline.changes().iter().map(|c| (c.from.as_deref(), c.to.as_deref())).collect();
    let worker = Some("worker-1");
    assert_eq!(told, [(None, worker), (worker, None), (None, worker)]);
    // What was there at the first look has been so since its claim was taken.
    assert_eq!(timeline.changes().back().unwrap().at, "2026-01-01T11:57:00Z".parse().unwrap());
}

#[test]
fn an_address_that_goes_is_a_change_too() {
    let mut timeline = Timeline::default();
    seen(&mut timeline, true, 0);
    timeline.see(&[], now());
    assert_eq!(timeline.changes().front().unwrap().to, None);
}
