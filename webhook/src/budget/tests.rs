// SPDX-License-Identifier: Apache-2.0
use super::*;

#[test]
fn durations_are_read_as_go_prints_them() {
    let ms = |count| Some(Duration::from_millis(count));
    for (text, expected) in [
        ("3s", ms(3000)),
        ("1m30s", ms(90_000)),
        ("500ms", ms(500)),
        ("1.5s", ms(1500)),
        ("1h", ms(3_600_000)),
        ("", None),
        ("3", None),
        ("s", None),
        ("-3s", None),
        ("0s", None),
        ("3d", None),
        ("1.2.3s", None),
        ("99999999999999999999h", None),
    ] {
        assert_eq!(duration(text), expected, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lookup_leaves_the_answer_its_time() {
    let now = Instant::now();
    let lookup = |query| Budget::of(query, now).lookup_deadline(now) - now;
    for (query, expected) in [
        (Some("timeout=3s"), 1000),
        (Some("a=b&timeout=1s"), 500),
        (Some("timeout=400ms"), 0),
        (Some("timeout=nonsense"), 1000),
        (None, 1000),
    ] {
        assert_eq!(lookup(query), Duration::from_millis(expected), "{query:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_the_first_list_leaves_time_for_another_replica() {
    let now = Instant::now();
    let wait = |query| Budget::of(Some(query), now).sync_deadline() - now;
    assert_eq!(wait("timeout=3s"), Duration::from_secs(1));
    assert_eq!(wait("timeout=1s"), Duration::from_millis(500));
}
