// SPDX-License-Identifier: Apache-2.0
use super::*;

fn seconds(ca: i64, leaf: i64, settle: i64, clock_skew: i64) -> Lifetimes {
    let [ca, leaf, settle, clock_skew] = [ca, leaf, settle, clock_skew].map(SignedDuration::from_secs);
    Lifetimes { ca, leaf, settle, clock_skew }
}

#[test]
fn the_defaults_can_rotate() {
    assert_eq!(Lifetimes::DEFAULT.check(), Ok(()));
    assert_eq!(Lifetimes::DEFAULT.backdate(), SignedDuration::from_mins(10));
}

#[test]
fn what_cannot_rotate_names_the_flags() {
    assert_eq!(seconds(39, 9, 1, 1).check(), Ok(()));
    let least = SignedDuration::from_secs(39);
    for (lifetimes, expected) in [
        (seconds(38, 9, 1, 1), LifetimesError::CaTooShort { least }),
        (seconds(39, 8, 1, 1), LifetimesError::LeafTooShort { least: SignedDuration::from_secs(9) }),
        (seconds(39, 9, -1, 1), LifetimesError::Negative),
        (seconds(39, 9, 1, -1), LifetimesError::Negative),
        (seconds(i64::MAX, 9, 1, 1), LifetimesError::TooLong),
        (seconds(39, i64::MAX, 1, 1), LifetimesError::TooLong),
    ] {
        assert_eq!(lifetimes.check(), Err(expected));
    }
    let text = LifetimesError::CaTooShort { least }.to_string();
    for part in ["--ca-lifetime", "39s", "--leaf-lifetime", "--ca-settle", "--max-clock-skew"] {
        assert!(text.contains(part), "{text}");
    }
}
