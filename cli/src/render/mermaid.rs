// SPDX-License-Identifier: Apache-2.0
//! A graph in Mermaid's language, which forges and wikis draw.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{graph::Graph, trace::State};

/// The graph, down the page: so its names are legible in the column of a page.
pub(crate) fn mermaid(graph: &Graph) -> String {
    let mut text = String::from("flowchart TD\n");
    // Ids may hold nothing that Mermaid gives a meaning to.
    let ids: BTreeMap<&str, String> =
        graph.boxes.iter().enumerate().map(|(at, part)| (part.id.as_str(), format!("b{at}"))).collect();
    for (at, part) in graph.boxes.iter().enumerate() {
        let _ = writeln!(
            text,
            "  b{at}[\"{}<br/>{}\"]:::{}",
            part.kind.title(),
            plain(&part.name),
            class(part.state)
        );
    }
    for edge in &graph.edges {
        let (Some(from), Some(to)) = (ids.get(edge.from.as_str()), ids.get(edge.to.as_str())) else {
            continue;
        };
        let arrow = match edge.state {
            State::Good => "-->",
            State::Warning => "==>",
            State::Unknown | State::Waiting => "-.->",
            State::Broken => "--x",
        };
        let tells = matches!(edge.state, State::Broken | State::Warning);
        let label = if !tells || edge.says.is_empty() {
            String::new()
        } else {
            format!("|\"{}\"|", plain(&edge.says))
        };
        let _ = writeln!(text, "  {from} {arrow}{label} {to}");
    }
    text.push_str("  classDef good stroke:#2e7d32\n  classDef unknown stroke:#757575\n");
    text.push_str("  classDef warning stroke:#b26a00,stroke-width:2px\n  classDef broken stroke:#c62828,stroke-width:3px\n");
    text
}

const fn class(state: State) -> &'static str {
    match state {
        State::Good => "good",
        State::Unknown | State::Waiting => "unknown",
        State::Warning => "warning",
        State::Broken => "broken",
    }
}

fn plain(text: &str) -> String {
    text.replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;").replace('\n', " ")
}
