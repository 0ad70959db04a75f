// SPDX-License-Identifier: Apache-2.0
//! A graph in Graphviz's language.

use std::fmt::Write as _;

use crate::{graph::Graph, trace::State};

/// The graph, left to right.
pub(crate) fn dot(graph: &Graph) -> String {
    let mut text = String::from(
        "digraph gateherald {\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n",
    );
    for part in &graph.boxes {
        let _ = writeln!(
            text,
            "  {} [label={}, color={}];",
            quoted(&part.id),
            quoted(&format!("{}\n{}", part.kind.title(), part.name)),
            quoted(colour(part.state))
        );
    }
    for edge in &graph.edges {
        let style = if matches!(edge.state, State::Broken | State::Waiting) { "dashed" } else { "solid" };
        let label = if tells(edge.state) { edge.says.as_str() } else { "" };
        let _ = writeln!(
            text,
            "  {} -> {} [label={}, color={}, style={style}];",
            quoted(&edge.from),
            quoted(&edge.to),
            quoted(label),
            quoted(colour(edge.state))
        );
    }
    text.push_str("}\n");
    text
}

/// What is good needs no words, and what waits says only what it waits for.
const fn tells(state: State) -> bool {
    matches!(state, State::Broken | State::Warning)
}

const fn colour(state: State) -> &'static str {
    match state {
        State::Good => "#2e7d32",
        State::Unknown | State::Waiting => "#757575",
        State::Warning => "#b26a00",
        State::Broken => "#c62828",
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
