// SPDX-License-Identifier: Apache-2.0
use super::*;

fn with(text: Option<&str>) -> Metadata {
    let annotations = text.map(|text| (INJECTED_LABELS.to_owned(), text.to_owned())).into_iter().collect();
    Metadata { annotations, ..Metadata::default() }
}

fn labels(pairs: &[(&str, &str)]) -> LabelMap {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

#[test]
fn what_is_written_is_sorted_and_reads_back() {
    let memory = labels(&[("b/\"q\"", "2"), ("a", "1")]);
    let text = write(&memory);
    assert_eq!(text, r#"{"a":"1","b/\"q\"":"2"}"#);
    assert_eq!(read(INJECTED_LABELS, &with(Some(&text))), Some(Ok(memory)));
}

#[test]
fn the_old_memory_counts_only_when_the_new_object_has_none_that_can_be_read() {
    let (one, two) = (labels(&[("k", "1")]), labels(&[("k", "2")]));
    let unreadable = Some(Skipped { key: INJECTED_LABELS.into(), reason: SkipReason::Unreadable });
    let json = |value| Some(write(value));
    for (new, old, expected) in [
        (json(&one), json(&two), (one.clone(), None)),
        (None, json(&two), (two.clone(), None)),
        (Some("garbage".into()), json(&two), (two.clone(), unreadable.clone())),
        (Some("[1]".into()), None, (LabelMap::new(), unreadable.clone())),
        (Some("{\"k\":1}".into()), Some("{".into()), (LabelMap::new(), unreadable)),
        (Some("{}".into()), json(&two), (LabelMap::new(), None)),
        (None, None, (LabelMap::new(), None)),
    ] {
        let found = recall(INJECTED_LABELS, &with(new.as_deref()), Some(&with(old.as_deref())));
        assert_eq!(found, expected, "{new:?} {old:?}");
    }
}
