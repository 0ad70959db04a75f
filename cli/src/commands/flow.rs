// SPDX-License-Identifier: Apache-2.0
//! `flow`.

use jiff::Timestamp;

use super::reading::{Source, tell_gaps};
use crate::{
    args::{FlowArgs, FlowOutput, Global},
    graph,
    io::{lists::Depth, terminal::Terminal, watching},
    picture::Picture,
    render::{self, Style},
    run::Ending,
    snapshot::Snapshot,
    subject::Subject,
    trace::{self, State, Trace},
    vips,
};

/// Shows chains, with `--watch` until somebody stops it.
pub(crate) async fn run(global: &Global, args: &FlowArgs, terminal: Terminal) -> anyhow::Result<Ending> {
    let source = Source::open(global, &args.input).await?;
    let subject = Subject::parse(args.subject.as_deref(), source.namespace(global).as_deref())?;
    if let (Source::Cluster(cluster), true) = (&source, args.web) {
        return super::web::run(&source, cluster, &subject, args.listen, terminal).await;
    }
    let mut changes = match (&source, args.watch) {
        (Source::Cluster(cluster), true) => Some(watching::watch(cluster)),
        _ => None,
    };
    let mut shown = String::new();
    loop {
        let (snapshot, rules) = source.snapshot(Depth::Chains).await?;
        if shown.is_empty() {
            tell_gaps(&snapshot);
        }
        let picture = Picture::new(&snapshot, rules.as_ref());
        let (text, ending) = show(&picture, &subject, args, terminal.style)?;
        match &mut changes {
            None => {
                terminal.write(&text)?;
                return Ok(ending);
            }
            Some(changes) => {
                if text != shown {
                    terminal.replace(&text)?;
                    shown = text;
                }
                changes.next().await;
            }
        }
    }
}

fn show(
    picture: &Picture<'_>,
    subject: &Subject,
    args: &FlowArgs,
    style: Style,
) -> anyhow::Result<(String, Ending)> {
    let traces = trace::all(picture);
    let mut chosen = subject.choose(&traces)?;
    if args.broken {
        chosen.retain(|trace| trace.state() > State::Unknown);
    }
    let broken = chosen.iter().any(|trace| trace.state() == State::Broken);
    let ending = if broken { Ending::SomethingIsWrong } else { Ending::Fine };
    Ok((written(picture, &chosen, args.output, style)?, ending))
}

fn written(
    picture: &Picture<'_>,
    traces: &[&Trace],
    output: FlowOutput,
    style: Style,
) -> anyhow::Result<String> {
    let Snapshot { now, .. } = *picture.snapshot;
    if output == FlowOutput::Tree {
        return Ok(tree(traces, now, style));
    }
    let graph = graph::of(picture, traces);
    Ok(match output {
        FlowOutput::Tree => String::new(),
        FlowOutput::Dot => render::dot::dot(&graph),
        FlowOutput::Mermaid => render::mermaid::mermaid(&graph),
        FlowOutput::Json => serde_json::to_string_pretty(&graph)? + "\n",
        FlowOutput::Svg => render::svg::svg(&graph),
        FlowOutput::Html => {
            let rows = vips::rows(traces);
            render::html::html(&render::html::State { now, graph: &graph, vips: &rows, timeline: None })?
        }
    })
}

fn tree(traces: &[&Trace], now: Timestamp, style: Style) -> String {
    if traces.is_empty() {
        return "Nothing: no Service of a Gateway, and none that has or wants an address.\n".to_owned();
    }
    render::tree::tree(traces, now, style)
}

#[cfg(test)]
mod tests;
