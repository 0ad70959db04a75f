// SPDX-License-Identifier: Apache-2.0
//! `flow`.

use jiff::Timestamp;

use super::reading::{Source, tell_gaps};
use crate::{
    args::{FlowArgs, FlowOutput, Global},
    graph,
    io::{
        lists::Depth,
        terminal::{Terminal, tell},
        watching::Changes,
    },
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
        (Source::Cluster(cluster), true) => Some(Changes::of(cluster)),
        _ => None,
    };
    let mut shown: Option<String> = None;
    let mut scope = None;
    loop {
        let looked = source.snapshot(Depth::Chains).await.and_then(|(snapshot, rules)| {
            let picture = Picture::new(&snapshot, rules.as_ref());
            Ok((show(&picture, &subject, args, terminal.style)?, snapshot))
        });
        match (looked, &mut changes) {
            (Ok((Shown { text, ending, .. }, snapshot)), None) => {
                tell_gaps(&snapshot);
                terminal.write(&text)?;
                return Ok(ending);
            }
            (Ok((Shown { text, ageless, .. }, snapshot)), Some(_)) => {
                if shown.is_none() {
                    tell_gaps(&snapshot);
                }
                if shown.as_ref() != Some(&ageless) {
                    terminal.replace(&text)?;
                }
                (shown, scope) = (Some(ageless), snapshot.scope);
            }
            // What was there may come again.
            (Err(error), Some(_)) if shown.is_some() => {
                tell(&format!("{error:#}"));
                shown = Some(String::new());
            }
            (Err(error), _) => return Err(error),
        }
        if let Some(changes) = &mut changes {
            changes.next(scope.as_deref()).await?;
        }
    }
}

/// What there is to see.
struct Shown {
    text: String,
    /// The same but for how long something has been so: what counts as a change.
    ageless: String,
    ending: Ending,
}

fn show(picture: &Picture<'_>, subject: &Subject, args: &FlowArgs, style: Style) -> anyhow::Result<Shown> {
    let traces = trace::all(picture);
    let mut chosen = subject.choose(&traces)?;
    if args.broken {
        chosen.retain(|trace| trace.state() > State::Unknown);
    }
    let broken = chosen.iter().any(|trace| trace.state() == State::Broken);
    let ending = if broken { Ending::SomethingIsWrong } else { Ending::Fine };
    let text = written(picture, &chosen, args.output, style)?;
    let ageless = match args.output {
        FlowOutput::Tree => tree(&chosen, Timestamp::MIN, style),
        _ => text.clone(),
    };
    Ok(Shown { text, ageless, ending })
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
