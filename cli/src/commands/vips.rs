// SPDX-License-Identifier: Apache-2.0
//! `vips`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::reading::{Source, tell_gaps};
use crate::{
    args::{Global, VipsArgs, VipsOutput},
    io::{lists::Depth, terminal::Terminal, watching},
    picture::Picture,
    render::table::table,
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
        (Source::Cluster(cluster), true) => Some(watching::watch(cluster)),
        _ => None,
    };
    let mut known: Option<BTreeMap<String, String>> = None;
    loop {
        let (snapshot, rules) = source.snapshot(Depth::Chains).await?;
        if known.is_none() {
            tell_gaps(&snapshot);
        }
        let picture = Picture::new(&snapshot, rules.as_ref());
        let traces = trace::all(&picture);
        let mut rows = rows(&subject.choose(&traces)?);
        let seen: BTreeMap<String, String> = rows.iter().map(|row| (identity(row), told(row))).collect();
        let first = known.is_none();
        if let Some(known) = &known {
            rows.retain(|row| known.get(&identity(row)) != seen.get(&identity(row)));
            for gone in known.keys().filter(|key| !seen.contains_key(*key)) {
                terminal.write(&format!("{gone}   gone\n"))?;
            }
        }
        if first || !rows.is_empty() {
            terminal.write(&written(&rows, args.output, snapshot.now, first)?)?;
        }
        known = Some(seen);
        match &mut changes {
            None => return Ok(Ending::Fine),
            Some(changes) => changes.next().await,
        }
    }
}

fn identity(row: &Row) -> String {
    row.address.map_or_else(|| row.services.join(","), |address| address.to_string())
}

/// What counts as a change: everything but the time.
fn told(row: &Row) -> String {
    row.columns(Timestamp::MIN, true).join(" ")
}

fn written(rows: &[Row], output: VipsOutput, now: Timestamp, first: bool) -> anyhow::Result<String> {
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
            table(&if first { headings(wide) } else { Vec::new() }, &cells)
        }
    })
}

#[cfg(test)]
mod tests;
