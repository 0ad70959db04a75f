// SPDX-License-Identifier: Apache-2.0
//! A graph as a picture, without anything from outside: light and dark as the reader's system is.

use std::fmt::Write as _;

use super::{escaped, folded, layout};
use crate::{
    finding::{Finding, Severity},
    graph::{Edge, Graph, Part, PartKind},
    trace::State,
};

const WIDTH: i64 = 264;
const HEIGHT: i64 = 44;
/// Between boxes of one stage.
const BESIDE: i64 = 24;
const MARGIN: i64 = 16;
const LINE: i64 = 18;
/// What sentences below a drawing need so that they are no column of single words.
const SENTENCE: i64 = 600;
/// What a character takes, in hundredths: that of a wide font, since the reader's is not known.
const CHARACTER: i64 = 725;
/// So many boxes beside each other are still legible in the column of a page.
const MOST_BESIDE: i64 = 4;

/// Without variables, which picture converters don't know.
const STYLE: &str = "\
text { font-family: system-ui, sans-serif; font-size: 12px; fill: #1c1c1c; }
.paper { fill: #ffffff; }
.box rect { fill: #fafafa; stroke-width: 1.5; }
.box .kind { fill: #6b6b6b; font-size: 10px; }
.edge path { fill: none; stroke-width: 1.5; }
.edge text { font-size: 18px; font-weight: bold; text-anchor: middle; }
.box .code { text-anchor: end; }
.box .code, .finding .code { font-weight: bold; }
.good rect, .good path { stroke: #2e7d32; }
.unknown rect, .unknown path, .waiting rect, .waiting path { stroke: #8a8a8a; }
.warning rect, .warning path { stroke: #b26a00; }
.broken rect, .broken path { stroke: #c62828; stroke-width: 2.5; }
.broken path, .waiting path { stroke-dasharray: 5 4; }
.edge.broken text, .broken .code { fill: #c62828; }
.edge.warning text, .warning .code { fill: #b26a00; }
@media (prefers-color-scheme: dark) {
text { fill: #ededed; } .paper { fill: #161616; } .box rect { fill: #222222; } .box .kind { fill: #a0a0a0; }
.good rect, .good path { stroke: #66bb6a; } .warning rect, .warning path { stroke: #ffb74d; }
.broken rect, .broken path { stroke: #ef5350; } .edge.broken text, .broken .code { fill: #ef5350; }
.edge.warning text, .warning .code { fill: #ffb74d; }
}";

/// The graph, and below it what is wrong and what mends it. A few chains run down the page, many run to the right.
pub(crate) fn svg(graph: &Graph) -> String {
    let sheet = Sheet::new(graph);
    let findings = findings(graph, sheet.width - 2 * MARGIN);
    let (width, top) = (sheet.width, sheet.height);
    let lines: usize = findings.iter().map(|finding| finding.lines.len()).sum();
    let rest = if findings.is_empty() { 0 } else { length(lines) * LINE + length(findings.len()) * LINE / 2 };
    let height = top + rest;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" aria-label=\"Gateherald: the chain from Gateways to interfaces\">\n<style>\n{STYLE}\n</style>\n\
         <rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n"
    );
    for (edge, (from, to)) in layout::edges(graph) {
        sheet.line(&mut text, from, to, edge);
    }
    for (at, part) in graph.boxes.iter().enumerate() {
        sheet.draw(&mut text, part, at);
    }
    let mut y = top + LINE / 2;
    for finding in &findings {
        y = finding.write(&mut text, y) + LINE / 2;
    }
    text.push_str("</svg>\n");
    text
}

/// Where everything stands, in pixels.
struct Sheet {
    /// Stages follow each other down the page.
    down: bool,
    /// The left upper corners of the boxes.
    corners: Vec<(i64, i64)>,
    width: i64,
    height: i64,
}

impl Sheet {
    fn new(graph: &Graph) -> Self {
        let beside = WIDTH + BESIDE;
        let down = layout::places(graph, beside);
        let extent = down.iter().map(|place| place.middle).max().unwrap_or_default();
        let runs_down = extent < MOST_BESIDE * beside;
        let corners: Vec<(i64, i64)> = if runs_down {
            down.iter().map(|at| (at.middle, at.stage * (HEIGHT + 28))).collect()
        } else {
            let right = layout::places(graph, HEIGHT + BESIDE);
            right.iter().map(|at| (at.stage * (WIDTH + 56), at.middle)).collect()
        };
        let right = corners.iter().map(|(x, _)| *x).max().unwrap_or_default();
        let drawn = right + WIDTH + 2 * MARGIN;
        let told = graph.boxes.iter().any(|part| !part.findings.is_empty());
        let width = if told { drawn.max(SENTENCE) } else { drawn };
        // In the middle of what the sentences need.
        let left = (width - drawn) / 2 + MARGIN;
        let bottom = corners.iter().map(|(_, y)| *y).max().unwrap_or_default();
        Self {
            down: runs_down,
            corners: corners.iter().map(|(x, y)| (x + left, y + MARGIN)).collect(),
            width,
            height: bottom + HEIGHT + 2 * MARGIN,
        }
    }

    fn line(&self, text: &mut String, from: usize, to: usize, edge: &Edge) {
        let ((x1, y1), (x2, y2)) = (self.corners[from], self.corners[to]);
        let (x1, y1, x2, y2) = if self.down {
            (x1 + WIDTH / 2, y1 + HEIGHT, x2 + WIDTH / 2, y2)
        } else {
            (x1 + WIDTH, y1 + HEIGHT / 2, x2, y2 + HEIGHT / 2)
        };
        let (middle_x, middle_y) = (x1.midpoint(x2), y1.midpoint(y2));
        let path = if self.down {
            format!("M{x1} {y1} C{x1} {middle_y} {x2} {middle_y} {x2} {y2}")
        } else {
            format!("M{x1} {y1} C{middle_x} {y1} {middle_x} {y2} {x2} {y2}")
        };
        let sign = match edge.state {
            State::Broken => "×",
            State::Warning => "!",
            State::Good | State::Unknown | State::Waiting => "",
        };
        let _ = write!(text, "<g class=\"edge {}\"><path d=\"{path}\"/>", class(edge.state));
        if !sign.is_empty() {
            let _ = write!(
                text,
                "<circle class=\"paper\" cx=\"{middle_x}\" cy=\"{middle_y}\" r=\"8\"/><text x=\"{middle_x}\" y=\"{}\">{sign}</text>",
                middle_y + 6
            );
        }
        let _ = writeln!(text, "<title>{}</title></g>", escaped(&edge.says));
    }

    fn draw(&self, text: &mut String, part: &Part, at: usize) {
        let (x, y) = self.corners[at];
        let says: Vec<String> =
            part.findings.iter().map(|finding| format!("{} {finding}", finding.code)).collect();
        let mut codes: Vec<String> = part.findings.iter().map(|finding| finding.code.to_string()).collect();
        codes.dedup();
        let (kind, name) = named(part);
        let _ = write!(
            text,
            "<g class=\"box {}\" id=\"{}\"><rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/>\
             <text class=\"kind\" x=\"{}\" y=\"{}\">{}</text><text x=\"{}\" y=\"{}\">{}</text>",
            class(part.state),
            escaped(&part.id),
            x + 10,
            y + 16,
            escaped(kind),
            x + 10,
            y + 33,
            escaped(&clipped(name)),
        );
        if !codes.is_empty() {
            let _ = write!(
                text,
                "<text class=\"code\" x=\"{}\" y=\"{}\">{}</text>",
                x + WIDTH - 10,
                y + 17,
                codes.join(" ")
            );
        }
        let _ = writeln!(
            text,
            "<title>{}</title></g>",
            escaped(&[vec![part.name.clone()], says].concat().join("\n"))
        );
    }
}

/// What a box says: the kind of its object and the name.
fn named(part: &Part) -> (&str, &str) {
    match part.kind {
        // Of these there are several kinds, so that their names begin with it.
        PartKind::Pool | PartKind::Policy => part.name.split_once('/'),
        _ => None,
    }
    .unwrap_or((part.kind.title(), &part.name))
}

/// What is wrong and what mends it, as lines.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    code: String,
    state: &'static str,
    lines: Vec<String>,
}

/// Everything that is wrong, once.
fn findings(graph: &Graph, width: i64) -> Vec<Told> {
    let told = |finding: &Finding| {
        let code = finding.code.to_string();
        let state = class(match finding.severity {
            Severity::Error => State::Broken,
            Severity::Warning => State::Warning,
        });
        // The code stands before the first line.
        let lines =
            [folded(&format!("{code} {finding}"), fit(width)), folded(&finding.mend, fit(width))].concat();
        Told { code, state, lines }
    };
    let mut all: Vec<Told> = graph.boxes.iter().flat_map(|part| &part.findings).map(told).collect();
    all.sort();
    all.dedup();
    all
}

impl Told {
    /// Where the next line would be.
    fn write(&self, text: &mut String, top: i64) -> i64 {
        let _ = write!(text, "<text class=\"finding {}\">", self.state);
        let mut y = top;
        for line in &self.lines {
            let _ = write!(text, "<tspan x=\"{MARGIN}\" y=\"{y}\">");
            match line.strip_prefix(&self.code) {
                Some(rest) if y == top => {
                    let _ = write!(text, "<tspan class=\"code\">{}</tspan>{}", self.code, escaped(rest));
                }
                _ => text.push_str(&escaped(line)),
            }
            text.push_str("</tspan>");
            y += LINE;
        }
        text.push_str("</text>\n");
        y
    }
}

/// How many characters are sure to fit.
fn fit(width: i64) -> usize {
    usize::try_from(width * 100 / CHARACTER).unwrap_or_default()
}

fn clipped(name: &str) -> String {
    let (count, fit) = (name.chars().count(), fit(WIDTH - 20));
    if count <= fit {
        return name.to_owned();
    }
    // The end of a name tells more than its middle.
    let head: String = name.chars().take(fit / 2 - 1).collect();
    let tail: String = name.chars().skip(count - fit / 2).collect();
    format!("{head}…{tail}")
}

/// A count as a length.
fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
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
