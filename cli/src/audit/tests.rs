// SPDX-License-Identifier: Apache-2.0
use super::*;

const LINE: &str = r#"{"target":"audit","version":1,"time":"2026-01-01T12:00:00.123Z","uid":"u1","user":"cilium-operator",
"operation":"CREATE","dryRun":false,"service":"prod/web","gateway":"prod/cd-arp-gw","outcome":"injected",
"injected":{"mdhlabs-arp":"enable"},"updated":{},"removed":[{"key":"old","reason":"gateway-lacks"}],
"skipped":[{"key":"helm.sh/chart","reason":"denied"}],"microseconds":41}"#;

#[test]
fn other_lines_of_the_log_are_no_records() {
    assert!(parse("starting").is_none() && parse(r#"{"level":"INFO","target":"webhook"}"#).is_none());
    assert!(parse(&LINE.replace('\n', "")).is_some());
}

#[test]
fn a_record_is_one_row() {
    let record = parse(&LINE.replace('\n', "")).unwrap();
    let row = "2026-01-01T12:00:00 prod/web CREATE prod/cd-arp-gw injected +mdhlabs-arp=enable,-old helm.sh/chart:denied \
               cilium-operator";
    assert_eq!(columns(&record).join(" "), row);
    assert_eq!(columns(&record).len(), headings().len());
}

#[test]
fn filters_take_full_names_and_short_ones() {
    let record = parse(&LINE.replace('\n', "")).unwrap();
    let wants = |filter: Filter| filter.wants(&record);
    assert!(wants(Filter::default()));
    assert!(wants(Filter { service: Some("web".into()), ..Filter::default() }));
    assert!(wants(Filter { gateway: Some("prod/cd-arp-gw".into()), ..Filter::default() }));
    assert!(!wants(Filter { gateway: Some("dev/cd-arp-gw".into()), ..Filter::default() }));
    assert!(!wants(Filter { namespace: Some("dev".into()), ..Filter::default() }));
    assert!(!wants(Filter { outcomes: vec!["lookup-failed".into()], ..Filter::default() }));
    let dry = Value::Object(
        record
            .as_object()
            .unwrap()
            .clone()
            .into_iter()
            .map(|(k, v)| if k == "dryRun" { (k, true.into()) } else { (k, v) })
            .collect(),
    );
    assert!(!Filter::default().wants(&dry) && Filter { dry_runs: true, ..Filter::default() }.wants(&dry));
}

#[test]
fn records_of_several_replicas_are_sorted_by_time() {
    let record = |time: &str, uid: &str| serde_json::json!({ "time": time, "uid": uid });
    let mut records = [record("2", "a"), record("1", "b"), record("1", "a")];
    sort(&mut records);
    let order: Vec<String> = records.iter().map(|r| format!("{}{}", r["time"], r["uid"])).collect();
    assert_eq!(order, ["\"1\"\"a\"", "\"1\"\"b\"", "\"2\"\"a\""]);
}
