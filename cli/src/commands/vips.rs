// SPDX-License-Identifier: Apache-2.0
//! `vips`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::reading::{Source, tell_gaps};
use crate::{
    args::{Global, VipsArgs, VipsOutput},
    io::{
        lists::Depth,
        terminal::{Terminal, tell},
        watching::Changes,
    },
    picture::Picture,
    render::table::Table,
    run::Ending,
    subject::Subject,
    trace,
    vips::{Row, headings, rows},
};

/// Lists addresses, with `--watch` each row again that changed.
pub(crate) async fn run(global: &Global, args: &VipsArgs, terminal: Terminal) -> anyhow::Result<Ending> {
    let source = Source::open(global, &args.input).await?;
    let subject = Subject::parse(args.subject.as_deref(), source.namespace(global).as_deref())?;
    let mut changes = match (&source, args.watch) {
        (Source::Cluster(cluster), true) => Some(Changes::of(cluster)),
        _ => None,
    };
    let mut shown = Shown::new(args.output);
    let mut scope = None;
    loop {
        match (source.snapshot(Depth::Chains).await, shown.known.is_some()) {
            (Ok((snapshot, rules)), again) => {
                let picture = Picture::new(&snapshot, rules.as_ref());
                let traces = trace::all(&picture);
                let chosen = match subject.choose(&traces) {
                    Err(error) if !again => return Err(error),
                    chosen => chosen.unwrap_or_default(),
                };
                if !again {
                    tell_gaps(&snapshot);
                }
                terminal.write(&shown.see(rows(&chosen), snapshot.now)?)?;
                scope = snapshot.scope;
            }
            // What could not be read may be readable again.
            (Err(error), true) => tell(&format!("{error:#}")),
            (Err(error), false) => return Err(error),
        }
        let Some(changes) = &mut changes else { return Ok(Ending::Fine) };
        changes.next(scope.as_deref()).await?;
    }
}

/// What was written so far.
struct Shown {
    output: VipsOutput,
    table: Table,
    known: Option<BTreeMap<String, String>>,
}

impl Shown {
    fn new(output: VipsOutput) -> Self {
        Self { output, table: Table::new(headings(output == VipsOutput::Wide)), known: None }
    }

    /// All rows the first time, then those that changed, and the names of those that are gone.
    fn see(&mut self, mut rows: Vec<Row>, now: Timestamp) -> anyhow::Result<String> {
        let seen: BTreeMap<String, String> = rows.iter().map(|row| (identity(row), told(row))).collect();
        let mut text = String::new();
        let first = self.known.is_none();
        if let Some(known) = &self.known {
            rows.retain(|row| known.get(&identity(row)) != seen.get(&identity(row)));
            let gone = known.keys().filter(|key| !seen.contains_key(*key));
            text.extend(gone.map(|key| format!("{key}   gone\n")));
        }
        if first || !rows.is_empty() {
            text += &written(&rows, self.output, now, &mut self.table)?;
        }
        self.known = Some(seen);
        Ok(text)
    }
}

fn identity(row: &Row) -> String {
    row.address.map_or_else(|| row.services.join(","), |address| address.to_string())
}

/// What counts as a change: everything but the time.
fn told(row: &Row) -> String {
    row.columns(Timestamp::MIN, true).join(" ")
}

fn written(rows: &[Row], output: VipsOutput, now: Timestamp, table: &mut Table) -> anyhow::Result<String> {
    let wide = output == VipsOutput::Wide;
    Ok(match output {
        VipsOutput::Json => serde_json::to_string_pretty(rows)? + "\n",
        VipsOutput::Yaml => serde_yaml_ng::to_string(rows)?,
        VipsOutput::Name => {
            rows.iter().filter_map(|row| row.address).flat_map(|a| [a.to_string(), "\n".to_owned()]).collect()
        }
        VipsOutput::Table | VipsOutput::Wide if rows.is_empty() => "No addresses.\n".to_owned(),
        VipsOutput::Table | VipsOutput::Wide => {
            let cells: Vec<Vec<String>> = rows.iter().map(|row| row.columns(now, wide)).collect();
            table.lines(&cells)
        }
    })
}

#[cfg(test)]
mod tests;
