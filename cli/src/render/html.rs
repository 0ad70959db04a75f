// SPDX-License-Identifier: Apache-2.0
//! A graph as one page without anything from outside: search, only what has problems, click or key for details.
//!
//! The page draws from a [`State`] that it is given, so that a server can send it new ones.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::Serialize;

use crate::{graph::Graph, timeline::Change, vips::Row};

const PAGE: &str = include_str!("html/page.html");

/// What the page shows.
#[derive(Debug, Serialize)]
pub(crate) struct State<'a> {
    /// When it was read.
    pub(crate) now: Timestamp,
    pub(crate) graph: &'a Graph,
    pub(crate) vips: &'a [Row],
    /// Who had what when, if that was watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeline: Option<&'a VecDeque<Change>>,
}

/// The page of one state.
pub(crate) fn html(state: &State<'_>) -> serde_json::Result<String> {
    page(&serde_json::to_string(state)?, None)
}

/// The page of a state as JSON; `live` is where it gets further ones from.
pub(crate) fn page(state: &str, live: Option<&str>) -> serde_json::Result<String> {
    // Inside a script element only this ends it.
    let state = state.replace('<', "\\u003c");
    let live = serde_json::to_string(&live)?;
    // The state comes last: what it holds is no place for anything.
    Ok(PAGE.replacen("\"@LIVE@\"", &live, 1).replacen("\"@STATE@\"", &state, 1))
}
