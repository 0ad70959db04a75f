// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::{
    fixtures::{broken, golden, now, object, objects, snapshot, story, traces},
    vips::RowState,
};
use serde_json::json;

const FORMATS: [(VipsOutput, &str); 5] = [
    (VipsOutput::Table, "txt"),
    (VipsOutput::Wide, "wide.txt"),
    (VipsOutput::Json, "json"),
    (VipsOutput::Yaml, "yaml"),
    (VipsOutput::Name, "name.txt"),
];

fn of(snapshot: &crate::snapshot::Snapshot) -> Vec<Row> {
    rows(&traces(snapshot).iter().collect::<Vec<_>>())
}

#[test]
fn rows_are_written_as_before() {
    let mut differences = Vec::new();
    for (name, snapshot) in [("story", snapshot(&objects())), ("broken", broken())] {
        for (output, extension) in FORMATS {
            let text =
                written(&of(&snapshot), output, now(), &mut Table::new(headings(output == VipsOutput::Wide)))
                    .unwrap();
            differences.extend(golden(&format!("{name}.vips.{extension}"), &text));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn states_are_those_of_the_documentation() {
    let state = |snapshot: &crate::snapshot::Snapshot| of(snapshot)[0].state;
    assert_eq!(state(&snapshot(&objects())), RowState::Announced);
    assert_eq!(state(&broken()), RowState::Silent);
    let pending = story(|o| object(o, "Service", "cilium-gateway-cd-arp-gw")["status"] = json!({}));
    assert_eq!(state(&pending), RowState::Pending);
    let doubtful = story(|o| object(o, "Gateway", "cd-arp-gw")["metadata"]["labels"]["team"] = json!("edge"));
    assert_eq!(state(&doubtful), RowState::Doubtful);
    let mut unknown = snapshot(&objects());
    unknown.leases = crate::snapshot::Listing::missing(crate::snapshot::Gap::Denied("list leases".into()));
    assert_eq!(state(&unknown), RowState::Unknown);
    let down = story(|o| {
        object(o, "Lease", "gateherald-node-worker-1")["spec"]["holderIdentity"] = json!("");
    });
    assert_eq!(state(&down), RowState::Silent);
}

#[test]
fn services_that_share_an_address_share_a_row() {
    let shared = story(|o| {
        let mut other = object(o, "Service", "cilium-gateway-cd-arp-gw").clone();
        other["metadata"]["name"] = json!("another");
        o.push(other);
    });
    let rows = of(&shared);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].services, ["prod/another", "prod/cilium-gateway-cd-arp-gw"]);
}
