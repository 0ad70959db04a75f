// SPDX-License-Identifier: Apache-2.0
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{broken, golden, object, objects, snapshot, story};

const FORMATS: [(FlowOutput, &str); 6] = [
    (FlowOutput::Tree, "txt"),
    (FlowOutput::Dot, "dot"),
    (FlowOutput::Mermaid, "mmd"),
    (FlowOutput::Json, "json"),
    (FlowOutput::Svg, "svg"),
    (FlowOutput::Html, "html"),
];

fn text(snapshot: &Snapshot, output: FlowOutput) -> String {
    let picture = Picture::new(snapshot, None);
    let traces = trace::all(&picture);
    written(&picture, &traces.iter().collect::<Vec<_>>(), output, Style { signs: true, ..Style::default() })
        .unwrap()
}

#[test]
fn every_format_writes_what_it_wrote_before() {
    let mut differences = Vec::new();
    for (name, snapshot) in [("story", snapshot(&objects())), ("broken", broken())] {
        for (output, extension) in FORMATS {
            // The page's own text is no result of this code; what it shows is in the JSON.
            if output != FlowOutput::Html {
                differences.extend(golden(&format!("{name}.{extension}"), &text(&snapshot, output)));
            }
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn a_terminal_gets_no_line_that_it_would_break() {
    let picture = broken();
    let picture = Picture::new(&picture, None);
    let traces = trace::all(&picture);
    for width in [40, 60, 100] {
        let style = Style { signs: true, width: Some(width), ..Style::default() };
        let folded = written(&picture, &traces.iter().collect::<Vec<_>>(), FlowOutput::Tree, style).unwrap();
        assert!(folded.lines().all(|line| line.chars().count() <= width), "{folded}");
        let words =
            |text: &str| text.replace(['│', '└', '├', '─'], "").split_whitespace().collect::<String>();
        assert_eq!(words(&folded), words(&text(&broken(), FlowOutput::Tree)));
    }
}

#[test]
fn no_format_depends_on_the_order_of_what_was_read() {
    let mut shuffled: Vec<Value> = objects();
    shuffled.reverse();
    shuffled.swap(1, 5);
    for (output, extension) in FORMATS {
        assert_eq!(text(&snapshot(&shuffled), output), text(&snapshot(&objects()), output), "{extension}");
    }
}

#[test]
fn pages_hold_no_markup_of_names_and_nothing_from_outside() {
    let evil = story(|o| {
        object(o, "Gateway", "cd-arp-gw")["metadata"]["labels"] = json!({ "mdhlabs-arp": "</script><b>" });
    });
    let page = text(&evil, FlowOutput::Html);
    assert!(!page.contains("</script><b>"));
    assert_eq!(page.matches("</script>").count(), 1);
    for outside in ["src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    let picture = text(&evil, FlowOutput::Svg);
    assert!(!picture.contains("<b>") && !picture.contains("href"));
}

#[test]
fn the_graph_has_an_edge_for_every_link_and_no_loose_ends() {
    for snapshot in [snapshot(&objects()), broken()] {
        let graph: Value = serde_json::from_str(&text(&snapshot, FlowOutput::Json)).unwrap();
        let ids: Vec<&str> =
            graph["boxes"].as_array().unwrap().iter().map(|b| b["id"].as_str().unwrap()).collect();
        let edges = graph["edges"].as_array().unwrap();
        for end in edges.iter().flat_map(|edge| [&edge["from"], &edge["to"]]) {
            assert!(ids.contains(&end.as_str().unwrap()), "{end}");
        }
        let kinds: std::collections::BTreeSet<&str> =
            edges.iter().map(|e| e["link"].as_str().unwrap()).collect();
        assert_eq!(kinds.len(), 9 - usize::from(!kinds.contains("pool")), "{kinds:?}");
    }
}
