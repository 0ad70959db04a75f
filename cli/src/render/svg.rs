// SPDX-License-Identifier: Apache-2.0
//! A graph as a picture, without anything from outside: light and dark as the reader's system is.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{escaped, layout};
use crate::{
    graph::{Graph, Part},
    trace::State,
};

const WIDTH: usize = 212;
const HEIGHT: usize = 44;
const GAP_X: usize = 56;
const GAP_Y: usize = 28;
const MARGIN: usize = 16;
/// Characters that fit into a box.
const FIT: usize = 26;

/// Without variables, which picture converters don't know.
const STYLE: &str = "\
text { font-family: system-ui, sans-serif; font-size: 12px; fill: #1c1c1c; }
.paper { fill: #ffffff; }
.box rect { fill: #fafafa; stroke-width: 1.5; }
.box .kind { fill: #6b6b6b; font-size: 10px; }
.edge path { fill: none; stroke-width: 1.5; }
.edge text { font-size: 14px; font-weight: bold; text-anchor: middle; }
.good rect, .good path { stroke: #2e7d32; }
.unknown rect, .unknown path, .waiting rect, .waiting path { stroke: #8a8a8a; }
.warning rect, .warning path { stroke: #b26a00; }
.broken rect, .broken path { stroke: #c62828; stroke-width: 2.5; }
.broken path, .waiting path { stroke-dasharray: 5 4; }
.edge.broken text, .mend .code { fill: #c62828; }
.edge.warning text { fill: #b26a00; }
.mend .code { font-weight: bold; }
@media (prefers-color-scheme: dark) {
text { fill: #ededed; } .paper { fill: #161616; } .box rect { fill: #222222; } .box .kind { fill: #a0a0a0; }
.good rect, .good path { stroke: #66bb6a; } .warning rect, .warning path { stroke: #ffb74d; }
.broken rect, .broken path { stroke: #ef5350; } .edge.broken text, .mend .code { fill: #ef5350; }
.edge.warning text { fill: #ffb74d; }
}";

/// The graph, and below it what mends its broken links.
pub(crate) fn svg(graph: &Graph) -> String {
    let places = layout::places(graph);
    let columns = places.iter().map(|(column, _)| column + 1).max().unwrap_or(1);
    let rows = places.iter().map(|(_, row)| row + 1).max().unwrap_or(1);
    let mends = mends(graph);
    let width = 2 * MARGIN + columns * WIDTH + (columns - 1) * GAP_X;
    let top = 2 * MARGIN + rows * (HEIGHT + GAP_Y);
    let height = top + mends.len() * 20;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" aria-label=\"Gateherald: the chain from Gateways to interfaces\">\n<style>\n{STYLE}\n</style>\n\
         <rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n"
    );
    let index: BTreeMap<&str, usize> =
        graph.boxes.iter().enumerate().map(|(at, part)| (part.id.as_str(), at)).collect();
    for edge in &graph.edges {
        if let (Some(from), Some(to)) = (index.get(edge.from.as_str()), index.get(edge.to.as_str())) {
            line(&mut text, places[*from], places[*to], edge.state, &edge.says);
        }
    }
    for (part, place) in graph.boxes.iter().zip(&places) {
        draw(&mut text, part, *place);
    }
    for (at, (code, mend)) in mends.iter().enumerate() {
        let y = top + at * 20;
        let _ = writeln!(
            text,
            "<text class=\"mend\" x=\"{MARGIN}\" y=\"{y}\"><tspan class=\"code\">{code}</tspan> {}</text>",
            escaped(mend)
        );
    }
    text.push_str("</svg>\n");
    text
}

fn corner((column, row): (usize, usize)) -> (usize, usize) {
    (MARGIN + column * (WIDTH + GAP_X), MARGIN + row * (HEIGHT + GAP_Y))
}

fn line(text: &mut String, from: (usize, usize), to: (usize, usize), state: State, says: &str) {
    let ((x1, y1), (x2, y2)) = (corner(from), corner(to));
    let (x1, y1, y2) = (x1 + WIDTH, y1 + HEIGHT / 2, y2 + HEIGHT / 2);
    let bend = GAP_X / 2;
    let path = format!("M{x1} {y1} C{} {y1} {} {y2} {x2} {y2}", x1 + bend, x2.saturating_sub(bend));
    let sign = match state {
        State::Broken => "×",
        State::Warning => "!",
        State::Good | State::Unknown | State::Waiting => "",
    };
    let _ = write!(text, "<g class=\"edge {}\"><path d=\"{path}\"/>", class(state));
    if !sign.is_empty() {
        let _ = write!(text, "<text x=\"{}\" y=\"{}\">{sign}</text>", x2 - bend, y1.midpoint(y2) + 5);
    }
    let _ = writeln!(text, "<title>{}</title></g>", escaped(says));
}

fn draw(text: &mut String, part: &Part, place: (usize, usize)) {
    let (x, y) = corner(place);
    let says: Vec<String> =
        part.findings.iter().map(|finding| format!("{} {finding}", finding.code)).collect();
    let _ = writeln!(
        text,
        "<g class=\"box {}\" id=\"{}\"><rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/>\
         <text class=\"kind\" x=\"{}\" y=\"{}\">{}</text><text x=\"{}\" y=\"{}\">{}</text><title>{}</title></g>",
        class(part.state),
        escaped(&part.id),
        x + 10,
        y + 16,
        part.kind.title(),
        x + 10,
        y + 33,
        escaped(&clipped(&part.name)),
        escaped(&[vec![part.name.clone()], says].concat().join("\n")),
    );
}

/// Code and sentence of everything that mends something, once.
fn mends(graph: &Graph) -> Vec<(String, String)> {
    let all = graph.boxes.iter().flat_map(|part| &part.findings);
    let mut mends: Vec<(String, String)> = all.map(|f| (f.code.to_string(), f.mend.clone())).collect();
    mends.sort();
    mends.dedup();
    mends
}

fn clipped(name: &str) -> String {
    let count = name.chars().count();
    if count <= FIT {
        return name.to_owned();
    }
    // The end of a name tells more than its middle.
    let head: String = name.chars().take(FIT / 2 - 1).collect();
    let tail: String = name.chars().skip(count - FIT / 2).collect();
    format!("{head}…{tail}")
}

const fn class(state: State) -> &'static str {
    match state {
        State::Good => "good",
        State::Unknown => "unknown",
        State::Waiting => "waiting",
        State::Warning => "warning",
        State::Broken => "broken",
    }
}
