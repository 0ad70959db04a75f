// SPDX-License-Identifier: Apache-2.0
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

const START: Duration = Duration::from_secs(1000);

fn vip(n: u16) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + u32::from(n)).into()
}

fn vip6(n: u16) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n).into()
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Everything announced up to `end`, by a driver that wakes exactly at the deadlines.
fn run(schedule: &mut Schedule, end: Duration) -> Vec<(Duration, IpAddr)> {
    let mut log = Vec::new();
    while let Some(at) = schedule.next_deadline().filter(|at| *at <= end) {
        let due = schedule.due(at);
        assert!(!due.is_empty(), "a deadline at which nothing is due would be a busy loop");
        log.extend(due.into_iter().map(|address| (at.saturating_sub(START), address)));
    }
    log
}

fn times(log: &[(Duration, IpAddr)]) -> Vec<u128> {
    log.iter().map(|(at, _)| at.as_millis()).collect()
}

#[test]
fn a24_an_ipv4_address_is_announced_at_once_repeated_four_times_and_refreshed() {
    let mut schedule = Schedule::default();
    schedule.start(vip(1), START);
    let log = run(&mut schedule, START + Duration::from_secs(130));
    assert_eq!(times(&log), [0, 1100, 2200, 3300, 4400, 64_400, 124_400]);
}

#[test]
fn n23_an_ipv6_address_is_announced_three_times_in_all_and_refreshed() {
    let mut schedule = Schedule::default();
    schedule.start(vip6(1), START);
    let log = run(&mut schedule, START + Duration::from_secs(70));
    assert_eq!(times(&log), [0, 1100, 2200, 62_200]);
}

#[test]
fn a25_the_last_of_a_thousand_addresses_begins_within_two_seconds_and_repetitions_wait() {
    let mut schedule = Schedule::default();
    schedule.sync(&(0..1000).map(vip).collect(), START);
    let log = run(&mut schedule, START + Duration::from_secs(10));
    let first = |n| log.iter().find(|(_, address)| *address == vip(n)).unwrap().0;
    assert!((0..1000).map(first).max().unwrap() < Duration::from_secs(2));
    for window in log.windows(102) {
        assert!(window[101].0 >= window[0].0 + millis(80), "more than the pace allows");
    }
    assert_eq!(log.len(), 5000, "nobody is starved");
}

#[test]
fn a_first_announcement_overtakes_repetitions_that_are_due() {
    let mut schedule = Schedule::default();
    schedule.sync(&(0..500).map(vip).collect(), START);
    run(&mut schedule, START + millis(600));
    schedule.start(vip(900), START + millis(1700));
    assert_eq!(schedule.due(START + millis(1700))[0], vip(900));
}

#[test]
fn a26_nothing_of_a_lost_address_is_left() {
    let mut schedule = Schedule::default();
    schedule.sync(&[vip(1), vip(2)].into(), START);
    run(&mut schedule, START + millis(1500));
    assert!(schedule.cancel(vip(1)));
    assert!(!schedule.cancel(vip(1)));
    let log = run(&mut schedule, START + Duration::from_mins(10));
    assert!(!log.is_empty() && log.iter().all(|(_, address)| *address == vip(2)));
    schedule.sync(&BTreeSet::new(), START);
    assert_eq!(schedule.next_deadline(), None);
}

#[test]
fn a27_a_link_that_comes_up_announces_everything_again_from_the_start() {
    let mut schedule = Schedule::default();
    schedule.sync(&[vip(1), vip6(2)].into(), START);
    run(&mut schedule, START + Duration::from_secs(30));
    schedule.restart(START + Duration::from_secs(30));
    let log = run(&mut schedule, START + Duration::from_secs(40));
    let of = |ip| times(&log.iter().copied().filter(|(_, address)| *address == ip).collect::<Vec<_>>());
    assert_eq!(of(vip(1)), [30_000, 31_100, 32_200, 33_300, 34_400]);
    assert_eq!(of(vip6(2)), [30_000, 31_100, 32_200]);
}

#[test]
fn an_address_that_stays_is_not_disturbed_by_others() {
    let mut schedule = Schedule::default();
    schedule.sync(&[vip(1)].into(), START);
    run(&mut schedule, START + millis(1200));
    schedule.sync(&[vip(1), vip(2)].into(), START + millis(1200));
    schedule.sync(&[vip(1)].into(), START + millis(1300));
    let log = run(&mut schedule, START + Duration::from_secs(5));
    assert_eq!(times(&log), [2200, 3300, 4400]);
}

#[test]
fn a29_a_frozen_process_catches_up_with_one_announcement_not_with_all_it_missed() {
    let mut schedule = Schedule::default();
    schedule.start(vip(1), START);
    run(&mut schedule, START);
    let thawed = START + Duration::from_hours(1);
    assert_eq!(schedule.due(thawed), [vip(1)]);
    assert!(schedule.due(thawed).is_empty());
    assert_eq!(schedule.next_deadline(), Some(thawed + SPACING));
}

#[derive(Clone, Debug)]
enum Op {
    Start(u16),
    Cancel(u16),
    Restart,
    /// Wakes this long after the deadline.
    Wake(u64),
    Pass(u64),
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..40_u16).prop_map(Op::Start),
        1 => (0..40_u16).prop_map(Op::Cancel),
        1 => Just(Op::Restart),
        8 => (0..30_u64).prop_map(Op::Wake),
        2 => (0..5000_u64).prop_map(Op::Pass),
    ]
}

/// What the schedule promises, checked as it runs.
#[derive(Default)]
struct Model {
    /// Addresses that are announced, with the time of the last announcement since their start.
    live: BTreeMap<IpAddr, Option<Duration>>,
    sent: Vec<Duration>,
}

impl Model {
    fn announced(&mut self, address: IpAddr, now: Duration) {
        let last = self.live.get_mut(&address).expect("announced without a start");
        assert!(last.is_none_or(|last| now >= last + SPACING), "{address} repeated too early");
        *last = Some(now);
        self.sent.push(now);
    }
}

proptest! {
    #[test]
    fn whatever_happens_only_live_addresses_are_announced_spaced_and_paced(
        ops in prop::collection::vec(any_op(), 1..200)
    ) {
        let (mut schedule, mut model, mut now) = (Schedule::default(), Model::default(), START);
        for op in ops {
            match op {
                Op::Start(n) => {
                    schedule.start(vip(n), now);
                    model.live.insert(vip(n), None);
                }
                Op::Cancel(n) => {
                    prop_assert_eq!(schedule.cancel(vip(n)), model.live.remove(&vip(n)).is_some());
                }
                Op::Restart => {
                    schedule.restart(now);
                    model.live.values_mut().for_each(|last| *last = None);
                }
                Op::Wake(late) => if let Some(at) = schedule.next_deadline() {
                    now = now.max(at) + millis(late);
                    let due = schedule.due(now);
                    prop_assert!(!due.is_empty());
                    for address in due {
                        model.announced(address, now);
                    }
                },
                Op::Pass(ms) => now += millis(ms),
            }
            prop_assert_eq!(schedule.next_deadline().is_some(), !model.live.is_empty());
        }
        let allowed = BURST as usize + 1;
        for window in model.sent.windows(allowed + 1) {
            prop_assert!(window[allowed] >= window[0] + PACE, "burst of more than {}", allowed);
        }
    }
}
