// SPDX-License-Identifier: Apache-2.0
use super::*;

fn now() -> Timestamp {
    "2025-03-01T12:00:00Z".parse().unwrap()
}

fn both() -> Slots {
    let next =
        Next { authority: Authority::generate(now()).unwrap(), published_at: Some(now()), drop_after: None };
    Slots { current: Authority::generate(now()).unwrap(), next: Some(next) }
}

#[test]
fn both_slots_read_back() {
    let slots = both();
    let again = Slots::read(&slots.write()).unwrap();
    let certificates = |slots: &Slots| -> Vec<_> {
        slots.authorities().map(|authority| authority.certificate().clone()).collect()
    };
    assert_eq!(certificates(&again), certificates(&slots));
    let next = again.next.unwrap();
    assert_eq!((next.published_at, next.drop_after), (Some(now()), None));
}

#[test]
fn one_slot_is_enough() {
    let slots = Slots { next: None, ..both() };
    let data = slots.write();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["ca.crt", "ca.key"]);
    assert!(Slots::read(&data).unwrap().next.is_none());
}

#[test]
fn broken_data_names_the_key() {
    for (key, bytes, expected) in [
        ("ca.crt", None, "ca.crt is missing"),
        ("ca.key", None, "ca.key is missing"),
        ("next-ca.key", None, "next-ca.key is missing"),
        ("ca.key", Some(&b"\xff"[..]), "ca.key is not text"),
        ("ca.crt", Some(b"garbage"), "ca.crt and ca.key cannot be used"),
        ("next-published-at", Some(b"yesterday"), "next-published-at is not a time"),
    ] {
        let mut data = both().write();
        match bytes {
            Some(bytes) => data.insert(key.into(), ByteString(bytes.to_vec())),
            None => data.remove(key),
        };
        assert_eq!(Slots::read(&data).unwrap_err().to_string(), expected, "{key}");
    }
}
