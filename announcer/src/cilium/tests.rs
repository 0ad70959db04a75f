// SPDX-License-Identifier: Apache-2.0
use super::*;

const LEASE: &str = "cilium-l2announce-prod-cilium-gateway-cd-arp-gw";

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn quiet() -> Signs {
    let mut signs = Signs::default();
    signs.configured(false);
    signs.leases([(LEASE.to_owned(), "7".to_owned(), at(15))], at(100));
    signs
}

#[test]
fn policies_are_honoured_only_after_a_time_without_signs() {
    let signs = quiet();
    assert_eq!(signs.judge(at(100)), (Stance::Undecided, Some(at(115))));
    assert_eq!(signs.judge(at(114)), (Stance::Undecided, Some(at(115))));
    assert_eq!(signs.judge(at(115)), (Stance::Honoured, None));
}

#[test]
fn nothing_is_decided_before_both_signs_could_be_read() {
    let mut signs = Signs::default();
    assert_eq!(signs.judge(at(900)), (Stance::Undecided, None));
    signs.configured(false);
    assert_eq!(signs.judge(at(900)), (Stance::Undecided, None));
    let mut signs = Signs::default();
    signs.leases([], at(0));
    assert_eq!(signs.judge(at(900)), (Stance::Undecided, None));
}

#[test]
fn the_configuration_alone_forbids_it() {
    let mut signs = quiet();
    signs.configured(true);
    assert_eq!(signs.judge(at(900)), (Stance::ConfiguredInCilium, None));
}

#[test]
fn a_lease_forbids_it_while_it_is_renewed() {
    let mut signs = quiet();
    signs.lease(LEASE.to_owned(), "8".to_owned(), at(15), at(120));
    assert_eq!(signs.judge(at(134)), (Stance::LeaseRenewed(LEASE.to_owned()), Some(at(135))));
    assert_eq!(signs.judge(at(135)), (Stance::Honoured, None));
}

#[test]
fn a_change_that_a_new_list_shows_counts_and_a_mere_existence_does_not() {
    let mut signs = quiet();
    signs.leases([(LEASE.to_owned(), "7".to_owned(), at(15))], at(130));
    assert_eq!(signs.judge(at(130)), (Stance::Honoured, None));
    signs.leases([(LEASE.to_owned(), "9".to_owned(), at(15))], at(140));
    assert_eq!(signs.judge(at(140)).0, Stance::LeaseRenewed(LEASE.to_owned()));
    signs.gone(LEASE);
    assert_eq!(signs.judge(at(141)).0, Stance::Honoured);
}
