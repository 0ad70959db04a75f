// SPDX-License-Identifier: Apache-2.0
use super::*;

#[test]
fn evaluations_take_a_quarter_of_the_time_at_the_most_and_none_waits_for_long() {
    for (took, pause) in [(0, 0), (100, 300), (40_000, 120_000), (2_000_000, 250_000)] {
        assert_eq!(rest(Duration::from_micros(took)), Duration::from_micros(pause));
    }
}
