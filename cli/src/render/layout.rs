// SPDX-License-Identifier: Apache-2.0
//! Where boxes stand: one column per kind, and in it beside what leads there, so that a chain is a line if it can be.

use std::collections::BTreeMap;

use crate::graph::{Graph, Part};

/// Columns from the left and rows from the top, both from 0, by the box's index in the graph.
pub(super) fn places(graph: &Graph) -> Vec<(usize, usize)> {
    let index: BTreeMap<&str, usize> =
        graph.boxes.iter().enumerate().map(|(at, part)| (part.id.as_str(), at)).collect();
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); graph.boxes.len()];
    for edge in &graph.edges {
        if let (Some(from), Some(to)) = (index.get(edge.from.as_str()), index.get(edge.to.as_str())) {
            before[*to].push(*from);
        }
    }
    let columns = used_columns(&graph.boxes);
    let mut rows: Vec<Option<usize>> = vec![None; graph.boxes.len()];
    for column in &columns {
        let mut here: Vec<usize> =
            (0..graph.boxes.len()).filter(|at| graph.boxes[*at].kind.column() == *column).collect();
        // In tenths of a row, so that ties between neighbours stay in order.
        let wish = |at: &usize| {
            let known: Vec<usize> = before[*at].iter().filter_map(|from| rows[*from]).collect();
            if known.is_empty() { None } else { Some(known.iter().sum::<usize>() * 10 / known.len()) }
        };
        let wishes: BTreeMap<usize, Option<usize>> = here.iter().map(|at| (*at, wish(at))).collect();
        here.sort_by_key(|at| (wishes[at].unwrap_or(usize::MAX), *at));
        let mut next = 0;
        for at in here {
            let row = wishes[&at].map_or(next, |wished| next.max(wished / 10));
            rows[at] = Some(row);
            next = row + 1;
        }
    }
    let column = |part: &Part| columns.iter().position(|c| *c == part.kind.column()).unwrap_or_default();
    graph.boxes.iter().zip(rows).map(|(part, row)| (column(part), row.unwrap_or_default())).collect()
}

fn used_columns(boxes: &[Part]) -> Vec<usize> {
    let mut columns: Vec<usize> = boxes.iter().map(|part| part.kind.column()).collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}
