// SPDX-License-Identifier: Apache-2.0
use super::*;

fn config(duration_seconds: u32, millis: u64) -> Config {
    let renew_period = Duration::from_millis(millis);
    let (on_outage, rebalance) = (OnOutage::Hold, Rebalance::Off);
    Config { node: "n".into(), duration_seconds, renew_period, on_outage, rebalance, probe_new: true }
}

#[test]
fn times_that_cannot_be_safe_are_refused_with_the_flags_that_would_do() {
    for (duration, period, parts) in [
        (4, 1_300, &["--lease-duration 4s", "--renew-period 1.3s", "to 5s", "to 1.2s"][..]),
        (1, 251, &["--lease-duration 1s", "margin of 250ms", "to 2s", "to 250ms"]),
        (40, 12_001, &["margin of 4s", "to 41s", "to 12s"]),
        (3600, 1_100_000, &["shorten --renew-period to 1080s"]),
        (4, 0, &["--renew-period 0ns", "at least 50ms"]),
        (4, 49, &["--renew-period 49ms", "at least 50ms"]),
        (0, 1_000, &["--lease-duration 0s", "between 1s and 3600s"]),
        (3601, 1_000, &["--lease-duration 3601s", "between 1s and 3600s"]),
    ] {
        let text = config(duration, period).validate().unwrap_err().to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{duration} s, {period} ms: {text}");
    }
    assert!(!config(3600, 1_100_000).validate().unwrap_err().to_string().contains("lengthen"));
}

#[test]
fn what_a_refusal_proposes_is_accepted() {
    for duration in 1..60 {
        for period in (50..25_000).step_by(131) {
            let Err(ConfigError::TooShort { remedy, .. }) = config(duration, period).validate() else {
                continue;
            };
            let shorter = Config { renew_period: remedy.period, ..config(duration, 0) };
            assert_eq!(shorter.validate(), Ok(()), "{duration} s, {period} ms: {remedy}");
            let seconds = remedy.seconds.unwrap();
            assert_eq!(config(seconds, period).validate(), Ok(()), "{duration} s, {period} ms: {remedy}");
            assert!(config(seconds - 1, period).validate().is_err(), "{seconds} s is not the least");
        }
    }
}

/// One lost renewal never silences: three attempts end before the deadline, and the deadline before others' count.
#[test]
fn what_is_accepted_leaves_room_for_a_lost_renewal_and_for_the_margin() {
    for duration in 1..=60 {
        for period in (50..25_000).step_by(50) {
            let config = config(duration, period);
            if config.validate().is_ok() {
                assert!(config.renew_period * 3 <= config.freshness());
                assert!(config.freshness() + Duration::from_millis(250) <= config.duration());
                assert!(config.hedge_after() * 4 <= config.renew_period);
            }
        }
    }
}
