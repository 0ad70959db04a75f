// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::lifetimes::Lifetimes;

fn now() -> Timestamp {
    "2025-03-01T12:00:00Z".parse().unwrap()
}

fn ca() -> Arc<Authority> {
    Arc::new(Authority::generate(now(), &Lifetimes::DEFAULT).unwrap())
}

fn both(role: Role) -> Slots {
    Slots { current: ca(), second: Some(Second { authority: ca(), role }) }
}

const NEW: Role = Role::Successor { published_at: None };

#[test]
fn both_slots_read_back_in_every_role() {
    for role in [NEW, Role::Successor { published_at: Some(now()) }, Role::Predecessor { drop_after: now() }]
    {
        let slots = both(role);
        assert_eq!(Slots::read(&slots.write()).unwrap(), slots);
    }
}

#[test]
fn one_slot_is_enough() {
    let slots = Slots { second: None, ..both(NEW) };
    let data = slots.write();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["ca.crt", "ca.key"]);
    assert_eq!(Slots::read(&data).unwrap(), slots);
}

#[test]
fn broken_data_names_the_key_and_yields_the_ca_that_is_whole() {
    for (key, bytes, expected) in [
        ("ca.crt", None, "ca.crt is missing"),
        ("ca.key", None, "ca.key is missing"),
        ("next-ca.key", None, "next-ca.key is missing"),
        ("ca.key", Some(&b"\xff"[..]), "ca.key is not text"),
        ("ca.crt", Some(b"garbage"), "ca.crt and ca.key cannot be used"),
        ("next-published-at", Some(b"yesterday"), "next-published-at is not a time"),
    ] {
        let slots = both(Role::Successor { published_at: Some(now()) });
        let mut data = slots.write();
        match bytes {
            Some(bytes) => data.insert(key.into(), ByteString(bytes.to_vec())),
            None => data.remove(key),
        };
        assert_eq!(Slots::read(&data).unwrap_err().to_string(), expected, "{key}");
        let whole = if key.starts_with("ca") { slots.second.unwrap().authority } else { slots.current };
        assert_eq!(Slots::salvage(&data), Some(Slots { current: whole, second: None }), "{key}");
    }
    assert_eq!(Slots::salvage(&Data::new()), None);
}
