// SPDX-License-Identifier: Apache-2.0
//! Where boxes stand: one stage per kind, and in it beside what leads there and where it leads, so that a chain is a line if
//! it can be.

use std::collections::BTreeMap;

use crate::graph::{Edge, Graph};

/// Where a box stands: its stage from the first one, and its middle from the outermost middle, in the unit of the pitch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) stage: i64,
    pub(super) middle: i64,
}

/// The places by the box's index in the graph; in a stage middles are `pitch` apart or more.
pub(super) fn places(graph: &Graph, pitch: i64) -> Vec<Place> {
    let stages = stages(graph);
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); graph.boxes.len()];
    let mut after = before.clone();
    for (_, (from, to)) in edges(graph) {
        before[to].push(from);
        after[from].push(to);
    }
    let mut middles: Vec<Option<i64>> = vec![None; graph.boxes.len()];
    // First beside what leads there, which also gives the order; then beside where it leads, in that order.
    let mut ordered = Vec::with_capacity(stages.len());
    for stage in &stages {
        let mut wishes: Vec<(i64, usize)> =
            stage.iter().map(|at| (mean(&before[*at], &middles).unwrap_or(i64::MAX), *at)).collect();
        wishes.sort_unstable();
        let start = middles.iter().flatten().min().copied().unwrap_or_default();
        let mut last = start - pitch;
        for (wish, _) in &mut wishes {
            // Without a wish, beside the one before.
            *wish = if *wish == i64::MAX { last + pitch } else { *wish };
            last = *wish;
        }
        settle(&wishes, pitch, &mut middles);
        ordered.push(wishes.iter().map(|(_, at)| *at).collect::<Vec<_>>());
    }
    for stage in ordered.iter().rev() {
        let wish = |at: &usize| mean(&after[*at], &middles).or(middles[*at]).unwrap_or_default();
        let wishes: Vec<(i64, usize)> = stage.iter().map(|at| (wish(at), *at)).collect();
        settle(&wishes, pitch, &mut middles);
    }
    let first = middles.iter().flatten().min().copied().unwrap_or_default();
    let mut places = vec![Place { stage: 0, middle: 0 }; graph.boxes.len()];
    for (stage, here) in (0..).zip(&ordered) {
        for at in here {
            places[*at] = Place { stage, middle: middles[*at].unwrap_or_default() - first };
        }
    }
    places
}

/// The edges, with the indices of their boxes.
pub(super) fn edges(graph: &Graph) -> impl Iterator<Item = (&Edge, (usize, usize))> {
    let index: BTreeMap<&str, usize> =
        graph.boxes.iter().enumerate().map(|(at, part)| (part.id.as_str(), at)).collect();
    graph.edges.iter().filter_map(move |edge| {
        Some((edge, (*index.get(edge.from.as_str())?, *index.get(edge.to.as_str())?)))
    })
}

/// The boxes of each stage that has any.
fn stages(graph: &Graph) -> Vec<Vec<usize>> {
    let mut stages: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, part) in graph.boxes.iter().enumerate() {
        stages.entry(part.kind.column()).or_default().push(at);
    }
    stages.into_values().collect()
}

fn mean(of: &[usize], middles: &[Option<i64>]) -> Option<i64> {
    let known: Vec<i64> = of.iter().filter_map(|at| middles[*at]).collect();
    let count = i64::try_from(known.len()).ok().filter(|count| *count > 0)?;
    Some(known.iter().sum::<i64>().div_euclid(count))
}

/// Puts boxes in this order as near to their wishes as the pitch allows: neighbours that are too near to each other move
/// apart around the mean of their wishes.
fn settle(wishes: &[(i64, usize)], pitch: i64, middles: &mut [Option<i64>]) {
    // Sum of the wishes for a group's first box, and how many boxes are in it.
    let mut groups: Vec<(i64, i64)> = Vec::new();
    for (wish, _) in wishes {
        let (mut sum, mut count) = (*wish, 1);
        while let Some((above, boxes)) = groups.last().copied() {
            if sum.div_euclid(count) >= above.div_euclid(boxes) + boxes * pitch {
                break;
            }
            groups.pop();
            sum = above + sum - count * boxes * pitch;
            count += boxes;
        }
        groups.push((sum, count));
    }
    let mut boxes = wishes.iter();
    for (sum, count) in groups {
        for (nth, (_, at)) in (0..count).zip(boxes.by_ref()) {
            middles[*at] = Some(sum.div_euclid(count) + nth * pitch);
        }
    }
}

#[cfg(test)]
mod tests;
