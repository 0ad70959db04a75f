// SPDX-License-Identifier: Apache-2.0
use super::*;

const KINDS: [Kind; 8] = [
    Kind::Injected,
    Kind::Updated,
    Kind::Removed,
    Kind::GatewayMissing,
    Kind::GatewayReplaced,
    Kind::AnnotationsFull,
    Kind::NotKept,
    Kind::Drifted,
];

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

#[test]
fn every_message_names_the_gateway_or_the_way_out_and_fits_an_event() {
    let longest = "n".repeat(253);
    let gateway = GatewayKey { namespace: "n".repeat(63), name: longest };
    let long = format!("{}/{}={}", "p".repeat(253), "n".repeat(63), "v".repeat(63));
    let changes = vec![long; 1000];
    for kind in KINDS {
        for gateway in [Some(&gateway), None] {
            for changes in [&changes[..], &changes[..1], &[]] {
                let message = Notice::new(&Metadata::default(), kind, gateway, changes).message;
                assert!(message.len() <= 1024, "{kind:?}: {} bytes", message.len());
            }
        }
    }
}

#[test]
fn lists_are_cut_with_the_number_of_what_is_left_out() {
    assert_eq!(listed(&["a=1".into(), "b=2".into()]), "a=1, b=2");
    let many: Vec<_> = (0..1000).map(|n| format!("key-{n}=value")).collect();
    let text = listed(&many);
    assert!(text.starts_with("key-0=value, ") && text.len() <= LIST_BYTES + 20, "{text}");
    let left = 1000 - text.matches('=').count();
    assert!(text.ends_with(&format!(" and {left} more")), "{text}");
    assert_eq!(listed(&["x".repeat(LIST_BYTES)]), "1 labels");
    assert_eq!(listed(&[]), "what Gateherald remembers");
}

#[test]
fn what_changed_shows_in_the_memory() {
    let on = |labels: &[(&str, &str)]| Metadata { labels: map(labels), ..Metadata::default() };
    let before = map(&[("a", "1"), ("b", "1"), ("c", "1")]);
    let after = map(&[("a", "1"), ("b", "2"), ("d", "1")]);
    let service = on(&[("a", "1"), ("b", "2"), ("d", "1")]);
    let expected = [
        (Kind::Injected, vec!["d=1".to_owned()]),
        (Kind::Updated, vec!["b=2".to_owned()]),
        (Kind::Removed, vec!["c".to_owned()]),
    ];
    assert_eq!(compare(&before, &after, &service), expected);
    assert_eq!(compare(&before, &before, &service), []);
    // A label that stays without being remembered is the user's, and was not removed.
    assert_eq!(compare(&before, &map(&[]), &on(&[("a", "1"), ("b", "9"), ("c", "1")])), []);
}

#[test]
fn warnings_are_what_somebody_should_look_at() {
    let quiet: Vec<_> = KINDS.into_iter().filter(|kind| !kind.is_warning()).collect();
    assert_eq!(quiet, [Kind::Injected, Kind::Updated, Kind::Removed]);
}
